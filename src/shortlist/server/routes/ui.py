"""The explorer: the static files of `server/ui`, each at its own path below `/`, the page itself at `/`.

The files are no secret and are given to everybody; what they show, they ask the other routes for, with the
key that a person gives them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from shortlist.server.endpoint import Reply
from shortlist.server.problems import MEDIA_TYPE, Trouble

if TYPE_CHECKING:
    from shortlist.server.service import Service

NAME = "explorer"
"""What its requests are counted as."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
KINDS = {
    "html": b"text/html; charset=utf-8",
    "css": b"text/css; charset=utf-8",
    "js": b"text/javascript; charset=utf-8",
    "svg": b"image/svg+xml",
}
_HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_PAGE = "index.html"


class File(NamedTuple):
    """A file as it is sent. tag: its ETag, which changes when the file does."""

    body: bytes
    kind: bytes
    tag: bytes


def read_files() -> dict[str, File]:
    """Path below the server's root -> file, for every file of the explorer that a browser asks for."""
    found: dict[str, File] = {}
    for path, file in _walk(files("shortlist.server").joinpath("ui"), "/"):
        if (kind := KINDS.get(path.rpartition(".")[2])) is not None:
            body = file.read_bytes()
            tag = b'"%s"' % sha256(body).hexdigest()[:32].encode()
            found["/" if path == f"/{_PAGE}" else path] = File(body, kind, tag)
    return found


class Explorer:
    """An ASGI application that sends the files, and leaves every other path to another application.

    A browser keeps a file and asks each time whether it changed (`no-cache` and an ETag), so that a page does
    not mix files of two versions; most answers are an empty 304.
    """

    def __init__(self, service: Service, otherwise: Callable[[Any, Any, Any], Awaitable[None]]) -> None:
        self.service, self.otherwise = service, otherwise
        self.files = read_files()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        file = self.files.get(scope["path"]) if scope["type"] == "http" else None
        if file is None:
            await self.otherwise(scope, receive, send)
            return
        began, headers = perf_counter(), dict(scope["headers"])
        try:
            self.service.guard.require(headers, "")
            reply = _answer(file, scope["method"], headers)
        except Trouble as trouble:
            reply = Reply(trouble.body(), trouble.status, MEDIA_TYPE, trouble.headers)
        length = file.body if reply.status == 304 else reply.body  # a 304 tells the length it stands for
        told = ((b"content-type", reply.kind), (b"content-length", b"%d" % len(length)))
        await send(
            {"type": "http.response.start", "status": reply.status, "headers": [*told, *reply.headers]}
        )
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else reply.body})
        seconds = perf_counter() - began
        self.service.board.answered(NAME, reply.status, seconds)
        self.service.logged(NAME, scope, reply, seconds, "")


def _answer(file: File, method: str, headers: dict[bytes, bytes]) -> Reply[Any]:
    if method not in ("GET", "HEAD"):
        raise Trouble(405, "this path takes GET, HEAD", headers=((b"allow", b"GET, HEAD"),))
    told = ((b"etag", file.tag), (b"cache-control", b"no-cache"), *_HEADERS)
    known = [tag.strip().removeprefix(b"W/") for tag in headers.get(b"if-none-match", b"").split(b",")]
    if file.tag in known or b"*" in known:
        return Reply(b"", 304, file.kind, told)
    return Reply(file.body, 200, file.kind, told)


def _walk(folder: Traversable, path: str) -> list[tuple[str, Traversable]]:
    found: list[tuple[str, Traversable]] = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _walk(entry, f"{path}{entry.name}/")
        else:
            found.append((path + entry.name, entry))
    return found
