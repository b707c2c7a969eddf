"""All connections of a process, by what they wait for, and how long each may.

Every kind of waiting has one length, so a dict that is added to at its end is in the order in which times run
out: nothing is sorted, no request has a timer of its own, and a look at the first of each kind is enough.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shortlist.server.protocol import Connection

App = Callable[[Any, Any, Any], Awaitable[None]]
_LAST_CHANCE = 1.0  # seconds in which a request may still come over an idle connection of a server that stops


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a client may do with a connection.

    connections: how many there may be at one time; one more takes the place of the one that is idle for
    longest, and where none is idle it is told to come again. head_bytes, headers, head_seconds: of a
    request's line and headers. idle_seconds: between requests, and before the first. write_seconds: without
    taking anything of an answer. linger_seconds, linger_bytes: what is still read, and thrown away, after the
    last answer, so that the client can read that answer. sweep: seconds between looks.
    """

    connections: int = 16_000
    head_bytes: int = 32_768
    headers: int = 100
    head_seconds: float = 10.0
    idle_seconds: float = 75.0
    write_seconds: float = 30.0
    linger_seconds: float = 2.0
    linger_bytes: int = 1 << 24
    sweep: float = 0.25


class Connections:
    """What the connections of a process share: the application, limits, and who waits for what. draining:
    answers say that the connection closes; stopping: idle ones close soon. counts: how many connections each
    process has (-1: it lets nobody in), of which this one is the process `worker`; coming: those that are
    about to enter."""

    def __init__(
        self,
        app: App,
        limits: Limits | None = None,
        everyone: set[Any] | None = None,
        tasks: set[Any] | None = None,
        counts: memoryview[int] | None = None,
        worker: int = 0,
    ) -> None:
        self.app, self.limits = app, limits or Limits()
        self.everyone: set[Connection] = set() if everyone is None else everyone
        self.tasks: set[asyncio.Task[None]] = set() if tasks is None else tasks
        self.counts: memoryview[int] | list[int] = [-1] if counts is None else counts
        self.worker, self.coming = worker, 0
        self.loop = asyncio.get_running_loop()
        self.draining = self.stopping = False
        self.idle: dict[Connection, float] = {}
        self.heads: dict[Connection, float] = {}
        self.leaving: dict[Connection, float] = {}
        self.stuck: dict[Connection, tuple[float, int]] = {}
        self.date = _date()
        self._sweeping: asyncio.TimerHandle | None = None
        self._looked = 0.0  # when the last sweep was

    def enter(self, connection: Connection) -> bool:
        """Let a connection in; False where there is no place for it."""
        if len(self.everyone) >= self.limits.connections and not self._make_room():
            return False
        self.everyone.add(connection)
        if self._sweeping is None:
            self.date, self._looked = _date(), self.loop.time()
            self._sweeping = self.loop.call_later(self.limits.sweep, self._sweep)
        return True

    def count(self) -> int:
        """How many there are, told the other processes."""
        own = len(self.everyone) + self.coming
        if self.counts[self.worker] >= 0:
            self.counts[self.worker] = own
        return own

    def leave(self, connection: Connection) -> None:
        """Forget a connection."""
        self.everyone.discard(connection)
        self.count()
        for waiting in (self.idle, self.heads, self.leaving, self.stuck):
            waiting.pop(connection, None)

    def stop(self) -> None:
        """Answers say that the connection closes; who is idle has a last chance from now on."""
        if not self.stopping:
            self.draining = self.stopping = True
            self.idle = dict.fromkeys(self.idle, self.loop.time())

    def _make_room(self) -> bool:
        longest = next(iter(self.idle), None)
        if longest is None:
            return False
        self.leave(longest)
        longest.hang_up()
        return True

    def _sweep(self) -> None:
        """End what had waited too long when this was last looked at: what has come since has been read by
        now, also where this process was held up, while timers run before sockets are read."""
        limits = self.limits
        now, self._looked = self._looked, self.loop.time()
        idle = min(_LAST_CHANCE, limits.idle_seconds) if self.stopping else limits.idle_seconds
        for connection in _older(self.idle, now - idle):
            connection.hang_up()
        for connection in _older(self.heads, now - limits.head_seconds):
            connection.head_is_late()
        for connection in _older(self.leaving, now - limits.linger_seconds):
            if left := connection.unread():
                self.stuck.setdefault(connection, (now, left))
                del self.leaving[connection]
            else:
                connection.cut()
        for connection, (since, before) in list(self.stuck.items()):
            left = connection.unread()
            if left < before:  # something was taken
                self.stuck[connection] = (now, left)
            elif now - since >= limits.write_seconds:
                connection.cut()
        self.date = _date()
        self._sweeping = self.loop.call_later(limits.sweep, self._sweep) if self.everyone else None


def _older(waiting: dict[Connection, float], than: float) -> list[Connection]:
    found = []
    for connection, since in waiting.items():
        if since > than:
            break
        found.append(connection)
    return found


def _date() -> bytes:
    return b"date: " + formatdate(usegmt=True).encode() + b"\r\n"
