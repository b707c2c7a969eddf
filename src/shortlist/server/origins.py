"""Which pages of other origins may ask (CORS): those that were named, to the letter, and no others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from shortlist.server.connections import App
from shortlist.server.problems import MEDIA_TYPE, Trouble

_VARY = (b"vary", b"Origin")
_PREFLIGHT = (
    (b"access-control-allow-methods", b"GET, POST"),
    (b"access-control-allow-headers", b"Authorization, Content-Type, X-API-Key, X-Request-Id"),
    (b"access-control-max-age", b"600"),
)
_SHOWN = (b"access-control-expose-headers", b"Retry-After, X-Request-Id")


class Origins:
    """An application before another one: it answers preflights, and tells browsers who may read an answer.
    "*" allows every origin; a key is a header that a page sends itself, so cookies are never involved."""

    def __init__(self, app: App, allowed: Iterable[str]) -> None:
        self.app = app
        self.allowed = frozenset(origin.encode() for origin in allowed)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        told = self._told(headers.get(b"origin"))
        if scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
            await _preflight(send, told)
            return

        async def sent(message: Any) -> None:
            if message["type"] == "http.response.start":
                shown = (*told, _SHOWN) if told else ()
                message = {**message, "headers": [*message["headers"], *shown, _VARY]}
            await send(message)

        await self.app(scope, receive, sent)

    def _told(self, origin: bytes | None) -> tuple[tuple[bytes, bytes], ...]:
        if origin is None:
            return ()
        if b"*" in self.allowed:
            return ((b"access-control-allow-origin", b"*"),)
        return ((b"access-control-allow-origin", origin),) if origin in self.allowed else ()


async def _preflight(send: Any, told: tuple[tuple[bytes, bytes], ...]) -> None:
    if told:
        headers = [*told, *_PREFLIGHT, _VARY]
        await send({"type": "http.response.start", "status": 204, "headers": headers})
        await send({"type": "http.response.body", "body": b""})
        return
    body = Trouble(403, "pages of this origin may not ask", hint="shortlist serve --cors ORIGIN").body()
    headers = [(b"content-type", MEDIA_TYPE), (b"content-length", b"%d" % len(body)), _VARY]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})
