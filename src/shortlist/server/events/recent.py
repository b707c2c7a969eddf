"""What users did since, read from the store when asked for and kept in memory, within bounds."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import lru_cache
from sys import intern
from time import monotonic
from typing import Any, NamedTuple

import msgspec

from shortlist.server.events.store import PAGE, Store, Stored

MOST_USERS, MOST_ACTS = 100_000, 200_000
"""Users, and events of all of them (about 100 bytes each), that are held."""
OF_ONE = 10_000
"""Events of one user that count: the last ones."""


class Act(msgspec.Struct, frozen=True, gc=False):
    """What of an event a recommendation reads, in about a hundred bytes."""

    item_id: str
    timestamp: int
    rating: float | None
    event: str
    weight: float | None


class _User(NamedTuple):
    last: int
    acts: tuple[Act, ...]


@dataclass(eq=False)
class Recent:
    """The last events of users in the order they were kept; of every user that was asked for, until it is
    pushed out by others.

    `refresh` takes in what this process and others wrote since; a user who is not held is read when asked
    for.
    every: seconds between looks at the store (0: at every refresh; for a store over the network about 0.2).
    Threads may share it.
    """

    store: Store
    most_users: int = MOST_USERS
    most_acts: int = MOST_ACTS
    of_one: int = OF_ONE
    every: float = 0.0
    _users: OrderedDict[str, _User] = field(default_factory=OrderedDict, init=False, repr=False)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._held = 0
        self._version: Any = self.store.version()
        self._epoch = self.store.epoch()
        self._sequence = self.store.last()
        self._looked = monotonic()

    def __len__(self) -> int:
        """How many users are held."""
        return len(self._users)

    def refresh(self) -> bool:
        """Take in what was written since the last time; whether there was anything."""
        if self.every and monotonic() - self._looked < self.every:
            return False
        with self._lock:
            self._looked = monotonic()
            version = self.store.version()  # before reading: what comes meanwhile makes another one
            if version == self._version:
                return False
            if (epoch := self.store.epoch()) != self._epoch:
                self._users.clear()  # somebody was forgotten; who, the store no longer knows
                self._held, self._epoch = 0, epoch
            while news := self.store.since(self._sequence):
                for stored in news:
                    self._take(stored)
                self._sequence = news[-1].sequence
                if len(news) < PAGE:
                    break
            self._version = version
            self._bound()
            return True

    def of(self, user_id: str) -> tuple[Act, ...]:
        """A user's last events, in the order they were kept; the same tuple until there are more."""
        with self._lock:
            found = self._users.get(user_id)
            if found is None:
                found = self._read(user_id)
                self._users[user_id] = found
                self._held += len(found.acts)
                self._bound()
            else:
                self._users.move_to_end(user_id)
            return found.acts

    def drop(self, user_id: str) -> None:
        """Hold nothing of a user."""
        with self._lock:
            if (found := self._users.pop(user_id, None)) is not None:
                self._held -= len(found.acts)

    def _read(self, user_id: str) -> _User:
        stored = self.store.of_user(user_id, self.of_one)[::-1]
        last = stored[-1].sequence if stored else 0
        return _User(last, tuple(map(_act, stored)))

    def _take(self, stored: Stored) -> None:
        known = self._users.get(stored.event.user_id)
        if known is None or stored.sequence <= known.last:  # read when asked for, or read with it already
            return
        acts = (*known.acts, _act(stored))[-self.of_one :]
        self._held += len(acts) - len(known.acts)
        self._users[stored.event.user_id] = _User(stored.sequence, acts)

    def _bound(self) -> None:
        while len(self._users) > 1 and (len(self._users) > self.most_users or self._held > self.most_acts):
            _, gone = self._users.popitem(last=False)
            self._held -= len(gone.acts)


def _act(stored: Stored) -> Act:
    e = stored.event
    rating = None if e.rating is None else _number(e.rating)
    return Act(intern(e.item_id), e.timestamp, rating, intern(e.event), e.weight)


@lru_cache(256)
def _number(rating: float) -> float:
    """The same object for the same rating, of which there are few."""
    return rating
