"""One request and its answer on a connection: what the application receives and sends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shortlist.server.protocol import Connection

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HELD = 1 << 18  # bytes of a body that are kept before the application asks for them
_LINES = {one.value: f"HTTP/1.1 {one.value} {one.phrase}\r\n".encode() for one in HTTPStatus}
_NO_BODY = frozenset({204, 304})
_CLOSE = b"connection: close\r\n"


class Exchange:
    """A request that is being read, and the answer to it. complete: the request has wholly come; gone: nobody
    waits for the answer, or the request is broken; finished: all of the answer was handed to the socket."""

    __slots__ = (
        "chunked",
        "complete",
        "connection",
        "expects",
        "finished",
        "gone",
        "head",
        "keep_alive",
        "parts",
        "scope",
        "size",
        "started",
        "told",
        "waiter",
    )

    def __init__(
        self, connection: Connection, scope: dict[str, Any], keep_alive: bool, expects: bool
    ) -> None:
        self.connection, self.scope, self.keep_alive, self.expects = connection, scope, keep_alive, expects
        self.parts: list[bytes] = []
        self.size = 0
        self.complete = self.told = self.gone = False
        self.started = self.finished = self.chunked = False
        self.head: tuple[int, Sequence[tuple[bytes, bytes]]] | None = None
        self.waiter: asyncio.Future[None] | None = None

    # What comes

    def add(self, data: bytes) -> None:
        """A part of the body."""
        if self.finished or self.gone:
            return
        self.parts.append(data)
        self.size += len(data)
        if self.size > HELD:
            self.connection.pause()
        self.wake()

    def wake(self) -> None:
        """Tell whoever waits that something changed."""
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    async def receive(self) -> dict[str, Any]:
        """As ASGI has it."""
        connection = self.connection
        if self.expects:
            self.expects = False
            if not self.complete and not self.started and not self.gone:
                connection.write(CONTINUE)
        while not (self.gone or self.finished or self.parts or (self.complete and not self.told)):
            connection.resume()
            self.waiter = connection.shared.loop.create_future()
            try:
                await self.waiter
            finally:
                self.waiter = None
        if self.gone or self.finished:
            return {"type": "http.disconnect"}
        body = self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
        self.parts, self.size, self.told = [], 0, self.complete
        return {"type": "http.request", "body": body, "more_body": not self.complete}

    def whole(self) -> bytes | None:
        """The body, if all of it is here and nobody has had any of it."""
        if not self.complete or self.told or self.gone:
            return None
        self.told = True
        body = self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
        self.parts = []
        return body

    # What goes

    async def send(self, message: dict[str, Any]) -> None:
        """As ASGI has it; head and body of a short answer leave in one write."""
        if self.gone or self.finished:
            return
        if message["type"] == "http.response.start":
            self.head = (message["status"], message["headers"])
            return
        self.put(message.get("body", b""), more=message.get("more_body", False))
        if self.connection.full is not None and not self.finished:
            await self.connection.full

    def answer(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        """All of an answer at once."""
        if not (self.gone or self.finished):
            self.head = (status, headers)
            self.put(body)

    def put(self, body: bytes, *, more: bool = False) -> None:
        """A part of the answer's body, behind its head."""
        connection, data = self.connection, b""
        if not self.started:
            self.started = True
            data = self._head(more)
        if self.scope["method"] != "HEAD" and self.head is not None and self.head[0] not in _NO_BODY:
            if not self.chunked:
                data += body
            else:
                data += b"%x\r\n%b\r\n" % (len(body), body) if body else b""
                data += b"" if more else b"0\r\n\r\n"
        connection.write(data)
        if not more:
            self.finished = True
            self.scope.pop("exchange", None)  # each would hold the other until a search for cycles
            connection.answered(self)

    def _head(self, more: bool) -> bytes:
        assert self.head is not None
        status, headers = self.head
        parts, lengths = [_LINES[status]], False
        for name, value in headers:
            parts += (name, b": ", value, b"\r\n")
            if name == b"connection":
                self.keep_alive = False
            elif name == b"content-length":
                lengths = True
        if more and not lengths:
            self.chunked = self.scope["http_version"] == "1.1"
            self.keep_alive = self.keep_alive and self.chunked
            parts.append(b"transfer-encoding: chunked\r\n" if self.chunked else b"")
        stops = self.connection.shared.draining and not self.connection.queue
        if stops or not self.complete:  # what is not read yet is not waited for
            self.keep_alive = False
        if not self.keep_alive and (b"connection", b"close") not in headers:
            parts.append(_CLOSE)
        parts += (self.connection.shared.date, b"\r\n")
        return b"".join(parts)
