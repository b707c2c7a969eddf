"""What a store of events promises, whatever it is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import msgspec

from shortlist.server.events.event import Event, Impression, fault_of, fault_of_impression

PAGE = 10_000
"""Rows read at once."""


class Rejected(msgspec.Struct, frozen=True, order=True):
    """An event of a batch that was not kept: its index there, the field, and what is wrong with it."""

    index: int
    field: str
    why: str


@dataclass(frozen=True)
class Outcome:
    """What became of a batch: so many are new, so many were known by their id; the rest is not kept."""

    accepted: int = 0
    repeated: int = 0
    rejected: tuple[Rejected, ...] = ()


@dataclass(frozen=True)
class Batch:
    """Events and impressions that are written together, wholly or not at all, and were checked."""

    events: Sequence[Event] = ()
    impressions: Sequence[Impression] = ()

    def __len__(self) -> int:
        return len(self.events) + len(self.impressions)


class Stored(NamedTuple):
    """An event and its place in the order in which events were kept; a later one has a greater sequence."""

    sequence: int
    event: Event


class Shown(NamedTuple):
    """An impression and its place in the order of impressions."""

    sequence: int
    impression: Impression


class Forgotten(NamedTuple):
    """How much of a user was deleted."""

    events: int
    impressions: int


class Stats(msgspec.Struct, frozen=True):
    """What is in a store. kinds: events of each type; first, last: their earliest and latest timestamp;
    bytes: on disk; version: of its schema; durable: whether an acknowledged event survives the loss of
    power."""

    place: str
    kind: str
    version: int
    events: int
    users: int
    items: int
    impressions: int
    kinds: dict[str, int]
    first: int | None
    last: int | None
    bytes: int
    durable: bool


class Store(Protocol):
    """Events of users, kept in the order they came.

    Every event that `append` or `write` speaks of as accepted or repeated is on disk (fsync) when they
    return. Several threads and several processes may use one store. All methods raise StoreError.
    """

    @property
    def place(self) -> str:
        """Where it is, without secrets."""
        ...

    def append(self, events: Sequence[Event]) -> Outcome:
        """Keep events; each id once. All of them are kept together, but for those that are rejected: for a
        bad value, and for an id under which another user, item or type is known."""
        ...

    def write(self, batches: Sequence[Batch]) -> list[Outcome]:
        """Keep checked batches in one transaction, with one fsync; an outcome each."""
        ...

    def since(self, sequence: int, limit: int = PAGE) -> list[Stored]:
        """The next events after a sequence (0: from the first), in order. What is kept later comes later."""
        ...

    def of_user(self, user_id: str, limit: int = PAGE) -> list[Stored]:
        """A user's last events, the last kept first."""
        ...

    def last(self) -> int:
        """The sequence of the last event; 0 where there is none."""
        ...

    def impressions(self, sequence: int = 0, limit: int = PAGE) -> list[Shown]:
        """The next impressions after a sequence, in order."""
        ...

    def version(self) -> Any:
        """A value that is another one whenever anything was kept or forgotten, by whichever process."""
        ...

    def epoch(self) -> int:
        """How often users were forgotten."""
        ...

    def forget(self, user_id: str) -> Forgotten:
        """Delete everything of a user."""
        ...

    def count(self) -> int:
        """How many events there are."""
        ...

    def stats(self) -> Stats:
        """What there is; reads everything once."""
        ...

    def check(self) -> None:
        """Read everything and raise StoreCorrupted where it is damaged."""
        ...

    def close(self) -> None:
        """Let go of it; what was acknowledged stays."""
        ...


def checked(
    events: Sequence[Event], now: float | None = None
) -> tuple[list[Event], list[int], list[Rejected]]:
    """The good events, the index of each, and what is wrong with the others."""
    good, places, rejected = [], [], []
    for index, event in enumerate(events):
        if fault := fault_of(event, now):
            rejected.append(Rejected(index, fault.field, fault.why))
        else:
            good.append(event)
            places.append(index)
    return good, places, rejected


def in_batch(written: Outcome, places: Sequence[int], rejected: Sequence[Rejected]) -> Outcome:
    """An outcome of the good events as that of the batch they came in."""
    late = [Rejected(places[found.index], found.field, found.why) for found in written.rejected]
    return Outcome(written.accepted, written.repeated, tuple(sorted([*rejected, *late])))


def append_to(store: Store, events: Sequence[Event]) -> Outcome:
    """`append` of any store."""
    good, places, rejected = checked(events)
    written = store.write([Batch(good)])[0] if good else Outcome()
    return in_batch(written, places, rejected)


def require_sound(impressions: Sequence[Impression]) -> None:
    """ValueError for an impression that cannot be kept: the server itself made it."""
    for shown in impressions:
        if fault := fault_of_impression(shown):
            raise ValueError(f"impression {shown.request_id!r}: {fault.field}: {fault.why}")


def taken_by_another(index: int, event: Event, known: tuple[str, str, str]) -> Rejected | None:
    """What is wrong with an event whose id is known, if it is another event's."""
    if (event.user_id, event.item_id, event.event) == known:
        return None
    return Rejected(index, "event_id", f"{event.event_id!r} is the id of another event: give each its own")
