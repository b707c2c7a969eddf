"""Who may ask, how much, and how many at one time."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import Any

from shortlist.errors import ShortlistError
from shortlist.server.problems import Trouble
from shortlist.server.settings import LOOPBACK, Settings

Headers = Mapping[bytes, bytes]
USE, ADMIN = "use", "admin"
_CLOSE = ((b"connection", b"close"),)
_FORWARDED = frozenset(
    {b"forwarded", b"via", b"x-forwarded-for", b"x-real-ip"}
)  # a proxy brought it from elsewhere
_HOST = re.compile(rb"(?:\[([0-9a-f]*:[0-9a-f:.]+)\]|([a-z0-9._-]+))(?::[0-9]*)?")
_HELD = 64  # bodies of the greatest length that may be on their way at one time


@dataclass(frozen=True)
class Keys:
    """API keys, of which only hashes are known: sha256 of 256 random bits, which nobody can guess.

    hashes: (role, name, sha256) of each.
    """

    hashes: tuple[tuple[str, str, bytes], ...]

    @classmethod
    def read(cls, path: Path) -> Keys:
        """A file of lines `role name sha256`, as `add_key` writes them. ShortlistError for other lines."""
        found = []
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            parts = line.split()
            if not parts or parts[0].startswith("#"):
                continue
            if len(parts) != 3 or parts[0] not in (USE, ADMIN) or not _is_hash(parts[2]):
                raise ShortlistError(
                    f"{path}, line {number}: expected 'use' or 'admin', a name and a sha256",
                    hint="shortlist key writes such a line",
                )
            found.append((parts[0], parts[1], bytes.fromhex(parts[2])))
        if not found:
            raise ShortlistError(f"{path} holds no key", hint=f"shortlist key --file {path} --name NAME")
        return cls(tuple(found))

    def role(self, headers: Headers) -> str | None:
        """The role of whoever sent these headers; None: no key, or none of these. All keys are compared, each
        in the same time whatever differs."""
        given = headers.get(b"x-api-key", b"")
        authorization = headers.get(b"authorization", b"")
        if not given and authorization[:7].lower() == b"bearer ":
            given = authorization[7:].strip()
        digest, role = sha256(given).digest(), None
        for of_key, _, known in self.hashes:
            if compare_digest(digest, known):
                role = of_key
        return role


def add_key(path: Path, name: str, role: str = USE) -> str:
    """A new key, of which only the hash is written to a file that its owner alone may read."""
    if not name or len(name.split()) != 1:
        raise ShortlistError(f"the name of a key is one word, got {name!r}")
    key = secrets.token_urlsafe(32)
    line = f"{role} {name} {sha256(key.encode()).hexdigest()}\n"
    with open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "ab+") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - 1))
        if file.read(1) not in (b"", b"\n"):  # somebody's editor left out the last line's end
            line = "\n" + line
        file.write(line.encode())
    return key


def _is_hash(text: str) -> bool:
    try:
        return len(bytes.fromhex(text)) == 32
    except ValueError:
        return False


@dataclass(eq=False)
class Guard:
    """What stands before every request. inside: requests that are being answered; held: bytes of bodies that
    have not wholly come."""

    settings: Settings
    keys: Keys | None = None
    inside: int = 0
    held: int = 0
    hosts: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        own = self.settings.local and self.keys is None and not self.settings.open
        named = self.settings.hosts or (tuple(LOOPBACK) if own else ())
        self.hosts = frozenset(host.lower() for host in named)

    def look(self) -> None:
        """Trouble 503 where there is no place among those that are answered."""
        if self.inside >= self.settings.concurrency:
            raise Trouble(503, f"{self.inside} requests are being answered already", retry_after=1)

    def enter(self) -> None:
        """Take a place. Trouble 503 where there is none."""
        self.look()
        self.inside += 1

    def leave(self) -> None:
        """Give the place back."""
        self.inside -= 1

    def require(self, headers: Headers, role: str) -> None:
        """Trouble where whoever sent these headers may not do what needs a role ("": anybody may)."""
        if self.hosts and (host := _host(given := headers.get(b"host", b""))) not in self.hosts:
            name = host or given.decode("latin-1")
            raise Trouble(421, f"this server is not {name!r}", hint="shortlist serve --allow-host NAME")
        if not role or self.keys is None:
            own = self.settings.local and not self.settings.open and not _FORWARDED & headers.keys()
            if role == ADMIN and not own:
                raise Trouble(403, "without keys nobody is an administrator", hint="serve with --keys FILE")
            return
        found = self.keys.role(headers)
        if found is None:
            raise Trouble(
                401,
                "a key is needed: Authorization: Bearer KEY",
                headers=((b"www-authenticate", b"Bearer"),),
            )
        if role == ADMIN and found != ADMIN:
            raise Trouble(403, "this key may not administrate")

    def allow_body(self, headers: Headers) -> None:
        """Trouble 413, 415 where headers speak of a body that is too long, or no JSON."""
        kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
        if kind != b"application/json":
            raise Trouble(415, "the body must be application/json")
        if headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
            plain = ((b"accept-encoding", b"identity"),)
            raise Trouble(415, "the body must be sent as it is, without a content encoding", headers=plain)
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or len(length) > 18 or int(length) > self.settings.body_bytes:
            raise self.too_long()

    async def body(self, receive: Any) -> bytes:
        """A body of bounded length, in bounded time. Trouble 408, 413, 503; ConnectionError where the client
        went away."""
        try:
            async with asyncio.timeout(self.settings.body_seconds):
                return await self._pieces(receive)
        except TimeoutError:
            raise Trouble(408, "the body did not come in time", headers=_CLOSE) from None

    async def _pieces(self, receive: Any) -> bytes:
        parts: list[bytes] = []
        size = 0
        try:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ConnectionError
                part = message.get("body", b"")
                parts.append(part)
                size += len(part)
                self.held += len(part)
                if size > self.settings.body_bytes:
                    raise self.too_long()
                if self.held > _HELD * self.settings.body_bytes:
                    raise Trouble(503, "too many long bodies come at one time", retry_after=1, headers=_CLOSE)
                if not message.get("more_body", False):
                    return parts[0] if len(parts) == 1 else b"".join(parts)
        finally:
            self.held -= size

    def too_long(self) -> Trouble:
        """What is said of a body that is."""
        return Trouble(413, f"a body has at most {self.settings.body_bytes:,} bytes", headers=_CLOSE)


def _host(given: bytes) -> str:
    """The name of a Host header, without the port; "" of what is no name with or without a port."""
    found = _HOST.fullmatch(given.lower())
    return (found[1] or found[2]).decode() if found else ""
