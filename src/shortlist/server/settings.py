"""What a server is told when it starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, kw_only=True)
class Side:
    """A bundle that answers, and the share of users it answers (shares are relative to each other)."""

    name: str
    path: Path
    share: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a server serves.

    sides: bundles, of which every user has one; salt: another one splits users anew. events: path or address
    of the store, "" for none; impressions: also keep what was shown; ignored: types of events that say
    nothing, none for those that count 0 in a bundle's recipe. keys: file of hashed keys; open: take requests
    from elsewhere without keys. hosts: names a request may be addressed to, empty for any; origins: pages
    that may ask (CORS). body_bytes, seconds, concurrency: of a request, how long it may wait, how many
    there may be at one time. batch: queries answered at once. watch: seconds between looks at the bundles on
    disk, 0 for none. explorer: the page at `/`. log: "all", "problems" or "none"; log_ids: also paths, which
    hold ids. drain: seconds between telling that it stops and stopping; grace: seconds that requests then
    have.
    """

    sides: tuple[Side, ...]
    salt: str = ""
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    events: str = ""
    impressions: bool = False
    ignored: tuple[str, ...] = ()
    keys: Path | None = None
    open: bool = False
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    body_bytes: int = 1 << 20
    body_seconds: float = 10.0
    seconds: float = 5.0
    concurrency: int = 1_000
    batch: int = 64
    watch: float = 1.0
    explorer: bool = True
    log: str = "problems"
    log_ids: bool = False
    drain: float = 0.0
    grace: float = 10.0

    @property
    def local(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in LOOPBACK
