"""One route as an ASGI application: guarded, answered, counted, logged."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec

from shortlist.errors import ShortlistError, did_you_mean
from shortlist.server.exchange import Exchange
from shortlist.server.guards import USE, Headers
from shortlist.server.logs import LOG, log_fault
from shortlist.server.parameters import Parameter
from shortlist.server.problems import MEDIA_TYPE, Trouble, of_error, of_json
from shortlist.server.wire import LONGEST_ID

if TYPE_CHECKING:
    from shortlist.server.service import Service

JSON = b"application/json"
_ENCODE = msgspec.json.Encoder().encode


Of = TypeVar("Of")
Answer = TypeVar("Answer", covariant=True)


class Reply(NamedTuple, Generic[Answer]):
    """What is sent back. Answer: what its body is made of, which the OpenAPI document tells of a route by the
    type its handler returns."""

    body: bytes
    status: int = 200
    kind: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()

    @staticmethod
    def of(answer: Of, status: int = 200) -> Reply[Of]:
        """An answer as JSON."""
        return Reply(_ENCODE(answer), status)


@dataclass(eq=False, slots=True)
class Call:
    """One request on its way."""

    service: Service
    scope: dict[str, Any]
    headers: Headers
    body: bytes
    id: str
    parameters: tuple[Parameter, ...] = ()

    def json(self, decoder: msgspec.json.Decoder[Of]) -> Of:
        """The body, decoded. Trouble."""
        try:
            return decoder.decode(self.body)
        except (msgspec.MsgspecError, RecursionError, ValueError) as error:
            raise of_json(error) from None

    def query(self) -> dict[str, list[str]]:
        """What stands behind "?". Trouble for what is none of the parameters, for one that is given twice and
        is no list, and for what is no UTF-8."""
        known = {one.name: one for one in self.parameters}
        out: dict[str, list[str]] = {}
        try:
            text = self.scope["query_string"].decode("ascii")
            pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=20_000)
        except ValueError:
            raise Trouble(400, "the query string cannot be read", pointer="") from None
        for name, value in pairs:
            if name not in known:
                said = f"there is no parameter {name!r}"
                raise Trouble(422, said, pointer=f"/{name}", hint=did_you_mean(name, known))
            out.setdefault(name, []).append(value)
        for name, values in out.items():
            if len(values) > 1 and not known[name].many:
                raise known[name].wrong(f"{name} is given {len(values)} times")
        return out

    def identity(self, before: str, after: str = "") -> str:
        """The id in the path between two texts, whatever characters it has. Trouble."""
        raw = self.scope.get("raw_path") or self.scope["path"].encode()
        raw = raw.split(b"?")[0]
        part = raw[len(before) : len(raw) - len(after)]
        try:
            found = unquote_to_bytes(part).decode()
        except UnicodeDecodeError:
            raise Trouble(400, "the id in the path is no UTF-8") from None
        if not found or len(found) > LONGEST_ID:
            raise Trouble(422 if found else 404, f"an id has 1 to {LONGEST_ID} characters")
        return found


Handler = Callable[[Call], Awaitable[Reply[Any]]]


@dataclass(frozen=True, eq=False)
class Endpoint:
    """A handler behind the guards. parameters: what may stand behind "?"; role: of whoever may ask ("":
    anybody); counted: whether it takes one of the places there are."""

    name: str
    handler: Handler
    service: Service
    parameters: tuple[Parameter, ...] = ()
    role: str = USE
    takes_body: bool = False
    counted: bool = True

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        began = perf_counter()
        headers: Headers = dict(scope["headers"])
        identity = _request_id(headers) or self.service.new_id()
        guard, entered = self.service.guard, False
        try:
            if self.role or self.counted:  # who asks how the server is need not know its name
                guard.require(headers, self.role)
            if self.counted and self.takes_body:
                guard.look()
            body = await self._body(scope, headers, receive) if self.takes_body else b""
            if self.counted:  # whoever is slow to ask takes nobody's place
                guard.enter()
                entered = True
            reply = await self.handler(Call(self.service, scope, headers, body, identity, self.parameters))
        except Trouble as trouble:
            reply = self._refused(trouble, identity)
        except ShortlistError as error:
            found = of_error(error)
            if found.status == 500:
                log_fault("request failed", error, route=self.name, request_id=identity)
            reply = self._refused(found, identity)
        except ConnectionError:
            return
        except Exception as error:
            log_fault("request failed", error, route=self.name, request_id=identity)
            reply = Reply(Trouble(500, "a fault inside the server").body(identity), 500, MEDIA_TYPE)
        finally:
            if entered:
                guard.leave()
        await _send(send, reply, identity)
        seconds = perf_counter() - began
        self.service.board.answered(self.name, reply.status, seconds)
        self.service.logged(self.name, scope, reply, seconds, identity)

    def _refused(self, trouble: Trouble, identity: str) -> Reply[Any]:
        if trouble.private:
            line = {"event": "store", "detail": trouble.private, "route": self.name, "request_id": identity}
            LOG.error(json.dumps(line))
        return Reply(trouble.body(identity), trouble.status, MEDIA_TYPE, trouble.headers)

    async def _body(self, scope: Any, headers: Headers, receive: Any) -> bytes:
        """The body, which in most requests has come with the head."""
        guard = self.service.guard
        guard.allow_body(headers)
        body = scope["exchange"].whole() if "exchange" in scope else None
        if body is None:
            return await guard.body(receive)
        if len(body) > guard.settings.body_bytes:
            raise guard.too_long()
        return bytes(body)


async def _send(send: Any, reply: Reply[Any], identity: str) -> None:
    headers = [
        (b"content-type", reply.kind),
        (b"content-length", b"%d" % len(reply.body)),
        (b"x-request-id", identity.encode("latin-1")),
        *reply.headers,
    ]
    exchange = getattr(send, "__self__", None)
    if type(exchange) is Exchange:  # a connection of ours takes an answer whole, where nobody stands between
        exchange.answer(reply.status, headers, reply.body)
        return
    try:
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})
    except (ConnectionError, RuntimeError) as error:  # uvloop's word for a client that went away
        LOG.debug("request %s: the client went away: %s", identity, error)


def _request_id(headers: Headers) -> str:
    """The id a request brings, if it is one that may be written to a log."""
    given = headers.get(b"x-request-id", b"")
    if not given or len(given) > 128 or not given.isascii():
        return ""
    text = given.decode("ascii")
    return text if text.replace("-", "").replace("_", "").isalnum() else ""
