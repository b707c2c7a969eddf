"""HTTP/1.1 on one connection, whose client may be slow, rude or hostile.

The parser is llhttp, strict; what it refuses, and what is too long or too late, is answered with problem
details after the answers to what came before it, and then the connection is closed in a way that lets the
client read the answer. Requests of one connection are answered one after the other.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any
from urllib.parse import unquote

import httptools

from shortlist.server.connections import Connections
from shortlist.server.exchange import Exchange
from shortlist.server.logs import log_fault
from shortlist.server.problems import MEDIA_TYPE, Trouble

_FULL = Trouble(503, "there are too many connections", retry_after=2)
_STOPS = Trouble(503, "the server is stopping", retry_after=5)
_FAULT = Trouble(500, "a fault inside the server")
_LATE = Trouble(408, "the head of the request did not come in time")
_BAD = Trouble(400, "this is no valid HTTP/1.1 request")
_CLOSE = ((b"connection", b"close"),)
_VERSIONS = frozenset({"1.0", "1.1"})


class Connection(asyncio.Protocol):
    """A connection. reading: the request that is being read; now: the one that is being answered; queue:
    those that wait for it; newest: the last of all. last_words: said after all answers, before closing."""

    def __init__(self, shared: Connections) -> None:
        self.shared = shared
        self.transport: Any = None
        self.parser: Any = None
        self.reading: Exchange | None = None
        self.now: Exchange | None = None
        self.newest: Exchange | None = None
        self.queue: deque[Exchange] = deque()
        self.full: asyncio.Future[None] | None = None
        self.last_words: Trouble | None = None
        self.deaf = False  # nothing that comes is looked at any more
        self.paused = self.in_head = self.ended = False
        self.thrown_away = self.head_size = 0
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []

    # The socket's side

    def connection_made(self, transport: Any) -> None:
        """Take a place, if there is one."""
        self.transport = transport
        if self.shared.enter(self):
            self.shared.idle[self] = self.shared.loop.time()
            return
        self.deaf = True
        self._say(_FULL)
        transport.close()

    def data_received(self, data: bytes) -> None:
        """Bytes, of which the parser makes requests."""
        if self.deaf:
            self.thrown_away += len(data)
            if self.thrown_away > self.shared.limits.linger_bytes:
                self.cut()
            return
        if self.parser is None:
            self.parser = httptools.HttpRequestParser(self)
        older = self.in_head
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:  # to what is not spoken here: answered as if it were not asked
            self._no_more()
        except httptools.HttpParserError:
            if not self.deaf:
                self._refuse(_BAD)
        if self.in_head and not self.deaf:
            if self.shared.idle.pop(self, None) is not None or self not in self.shared.heads:
                self.shared.heads[self] = self.shared.loop.time()
            if older:  # of the first piece the parser has told what is in it
                self.head_size += len(data)
                if self.head_size > self.shared.limits.head_bytes:
                    self._refuse(self._too_long())

    def eof_received(self) -> bool:
        """The client sends no more; it may still read what it asked for."""
        if self.now is None or self.reading is not None or self.transport.is_closing():
            return False
        self.ended = self.deaf = True
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is there any more."""
        self.shared.leave(self)
        self.deaf, self.parser = True, None
        for exchange in (self.now, self.reading, *self.queue):
            if exchange is not None:
                exchange.gone = True
                exchange.wake()
        self.queue.clear()
        self.resume_writing()

    def pause_writing(self) -> None:
        """The client does not take what it is sent."""
        self.full = self.shared.loop.create_future()
        self.shared.stuck[self] = (self.shared.loop.time(), self.unread())

    def resume_writing(self) -> None:
        """It does again."""
        self.shared.stuck.pop(self, None)
        if self.full is not None and not self.full.done():
            self.full.set_result(None)
        self.full = None

    # The parser's side

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        if self.deaf:
            raise ValueError
        self.in_head, self.head_size, self.url, self.headers = True, 0, b"", []

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        self.url += url
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        self.headers.append((name.lower(), value))
        self._count(len(name) + len(value) + 4)

    def on_headers_complete(self) -> None:
        """All of the head is there: the request can be looked at."""
        self.in_head = False
        self.shared.idle.pop(self, None)
        self.shared.heads.pop(self, None)
        exchange = Exchange(self, self._scope(), self._keeps_alive(), self._expects())
        exchange.scope["exchange"] = exchange
        self.reading = self.newest = exchange
        if self.now is None:
            self._begin(exchange)
        else:
            self.queue.append(exchange)
            self.pause()

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        if self.reading is not None:
            self.reading.add(data)

    def on_message_complete(self) -> None:
        """The request is there."""
        exchange, self.reading = self.reading, None
        if exchange is not None:
            exchange.complete = True
            exchange.wake()
            if not exchange.keep_alive:
                self.deaf = True

    def _count(self, num: int) -> None:
        self.head_size += num
        limits = self.shared.limits
        if self.head_size > limits.head_bytes or len(self.headers) > limits.headers:
            self._refuse(self._too_long())
            raise ValueError

    def _too_long(self) -> Trouble:
        limits = self.shared.limits
        if not self.headers and len(self.url) > limits.head_bytes // 2:
            return Trouble(414, f"the address has more than {limits.head_bytes:,} bytes")
        return Trouble(
            431, f"a request has at most {limits.headers} headers and {limits.head_bytes:,} bytes of them"
        )

    def _keeps_alive(self) -> bool:
        return self.parser.get_http_version() == "1.1" and bool(self.parser.should_keep_alive())

    def _expects(self) -> bool:
        return any(n == b"expect" and v.lower() == b"100-continue" for n, v in self.headers)

    def _scope(self) -> dict[str, Any]:
        """What the application is told. ValueError, and last words, for what cannot be told."""
        version = self.parser.get_http_version()
        if version not in _VERSIONS:
            self._refuse(Trouble(505, "HTTP/1.1 and HTTP/1.0 are spoken here"))
            raise ValueError
        hosts = [value for name, value in self.headers if name == b"host"]
        if len(hosts) > 1 or (version == "1.1" and not hosts):
            self._refuse(Trouble(400, "a request has one Host header"))
            raise ValueError
        target, headers = self.url, self.headers
        if not target.startswith((b"/", b"*")):  # of a proxy: http://host/path
            parsed = httptools.parse_url(target)
            if parsed.schema not in (b"http", b"https") or not parsed.host:
                raise ValueError
            port = b":%d" % parsed.port if parsed.port else b""
            headers = [(n, v) for n, v in headers if n != b"host"] + [(b"host", parsed.host + port)]
            target = (parsed.path or b"/") + (b"?" + parsed.query if parsed.query else b"")
        path, _, query = target.partition(b"?")
        text = path.decode("ascii")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": version,
            "method": self.parser.get_method().decode("ascii"),
            "scheme": "http",
            "root_path": "",
            "path": unquote(text) if "%" in text else text,
            "raw_path": path,
            "query_string": query,
            "headers": headers,
        }

    # Answers

    def _begin(self, exchange: Exchange) -> None:
        self.now = exchange
        task = self.shared.loop.create_task(self._run(exchange))
        self.shared.tasks.add(task)
        task.add_done_callback(self.shared.tasks.discard)

    async def _run(self, exchange: Exchange) -> None:
        trouble = None
        try:
            await self.shared.app(exchange.scope, exchange.receive, exchange.send)
        except asyncio.CancelledError:  # the time is up that requests have when the server stops
            trouble = _STOPS
        except Exception as error:
            log_fault("request failed", error)
            trouble = _FAULT
        if exchange.finished:
            return
        if exchange.started:  # half an answer is none
            self.cut()
        elif not exchange.gone:
            self._answer(exchange, trouble or _FAULT)
        elif self.last_words is not None and not self.transport.is_closing():
            exchange.gone = False
            self._answer(exchange, self.last_words)

    def _answer(self, exchange: Exchange, trouble: Trouble) -> None:
        body = trouble.body()
        lengths = ((b"content-type", MEDIA_TYPE), (b"content-length", b"%d" % len(body)))
        exchange.head = (trouble.status, (*lengths, *trouble.headers, *_CLOSE))
        self.last_words = None
        exchange.put(body)

    def answered(self, exchange: Exchange) -> None:
        """An answer is on its way: the next request, if there is to be one."""
        self.now = None
        if not exchange.keep_alive:
            self._depart(at_once=exchange.complete and not self.paused)
        elif self.queue:
            self._begin(self.queue.popleft())
        elif self.last_words is not None:
            self._say(self.last_words)
            self._depart()
        elif self.ended:
            self._close()
        else:
            self.resume()
            if self.in_head:
                self.shared.heads.setdefault(self, self.shared.loop.time())
            else:
                self.shared.idle[self] = self.shared.loop.time()

    def _refuse(self, trouble: Trouble) -> None:
        """Say what is wrong after everything else that is to be said, and hear nothing more."""
        self.deaf, self.in_head = True, False
        self.shared.idle.pop(self, None)
        self.shared.heads.pop(self, None)
        self.last_words = trouble
        if self.reading is not None:  # its body is broken
            self.reading.gone = True
            self.reading.wake()
            self.reading = None
        elif self.now is None:
            self._say(trouble)
            self._depart()

    def _no_more(self) -> None:
        self.deaf = True
        if self.newest is not None:
            self.newest.keep_alive = False

    def _say(self, trouble: Trouble) -> None:
        """An answer to what is no request."""
        exchange = Exchange(self, {"method": "GET", "http_version": "1.1"}, False, False)
        body = trouble.body()
        lengths = ((b"content-type", MEDIA_TYPE), (b"content-length", b"%d" % len(body)))
        exchange.head = (trouble.status, (*lengths, *trouble.headers, *_CLOSE))
        self.write(exchange._head(False) + body)

    # Leaving

    def _depart(self, at_once: bool = False) -> None:
        """Close. Bytes that nobody read would make the kernel take back what was sent, so they are read for
        a while and thrown away."""
        self.deaf = True
        if self.transport.is_closing():
            return
        if at_once or self.ended:
            self._close()
            return
        self.resume()
        self.transport.write_eof()
        self.shared.leaving[self] = self.shared.loop.time()

    def _close(self) -> None:
        """Close once everything is taken; not for ever."""
        self.transport.close()
        if left := self.unread():
            self.shared.stuck[self] = (self.shared.loop.time(), left)

    def head_is_late(self) -> None:
        """A head takes too long."""
        self._refuse(_LATE)

    def hang_up(self) -> None:
        """Close what is idle."""
        self.deaf = True
        self._close()

    def cut(self) -> None:
        """Close without waiting for anything to be taken."""
        self.deaf = True
        self.transport.abort()

    def shutdown(self) -> None:
        """The server stops. Who was idle may have a request on the way: there is a moment left for it."""
        self.shared.stop()

    # Flow

    def write(self, data: bytes) -> None:
        """Send, if anybody is there."""
        if not self.transport.is_closing():
            self.transport.write(data)

    def unread(self) -> int:
        """Bytes the client has not taken."""
        return int(self.transport.get_write_buffer_size())

    def pause(self) -> None:
        """Read nothing more for now."""
        if not self.paused and not self.transport.is_closing():
            self.paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self.paused and not self.transport.is_closing():
            self.paused = False
            self.transport.resume_reading()
