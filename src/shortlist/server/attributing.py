"""Which of the items a user was shown led to an event: impressions and events of a store, joined."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from shortlist._typing import Bools, Doubles, Longs
from shortlist.errors import RequestError, did_you_mean
from shortlist.server.events.event import Event, Impression
from shortlist.server.events.store import Store

DAY = 86_400


@dataclass(frozen=True)
class Success:
    """What counts as a success: an event on an item at most `window` seconds after it was shown to that user
    (of several times, the last one before the event gets it). kinds: types of events that count, empty: all;
    least_rating: of events with such a rating or a better one alone. An item shown once counts once."""

    kinds: tuple[str, ...] = ()
    least_rating: float | None = None
    window: int = DAY

    def counts(self, event: Event) -> bool:
        """Whether an event may be one."""
        if self.kinds and event.event not in self.kinds:
            return False
        if event.weight == 0 and not self.kinds:
            return False
        return self.least_rating is None or (event.rating is not None and event.rating >= self.least_rating)

    @property
    def sentence(self) -> str:
        """It in words."""
        kinds = " or ".join(map(repr, self.kinds))
        what = f"an event {kinds}" if self.kinds else "any event"
        rated = "" if self.least_rating is None else f" with a rating of at least {self.least_rating:g}"
        return f"{what}{rated} on a shown item, at most {_hours(self.window)} after it was shown"


def _hours(seconds: int) -> str:
    for size, name in ((DAY, "day"), (3600, "hour"), (60, "minute")):
        if seconds % size == 0:
            count = seconds // size
            return f"{count} {name}{'' if count == 1 else 's'}"
    return f"{seconds} seconds"


@dataclass(frozen=True, eq=False)
class Exposed:
    """Users of a store who were shown something. users: int64 [U], which side each had, -1: more than one
    (they are in no comparison); impressions, shown, successes: float64 [U], of each user. sides: names;
    versions: of each side, impressions by version of its bundle; crossed: how many users had more than one
    side. counted: events that may be successes, whether an item was shown or not; notes: what else is to be
    known of them."""

    sides: tuple[str, ...]
    users: Longs
    impressions: Doubles
    shown: Doubles
    successes: Doubles
    versions: dict[str, dict[str, int]]
    crossed: int
    counted: int
    notes: tuple[str, ...] = ()


@dataclass(eq=False)
class _Numbers:
    """Numbers for users and items, in the order they come."""

    users: dict[str, int] = field(default_factory=dict)
    items: dict[str, int] = field(default_factory=dict)

    def of_user(self, user_id: str) -> int:
        return self.users.setdefault(user_id, len(self.users))

    def of_item(self, item_id: str) -> int:
        return self.items.setdefault(item_id, len(self.items))


class _Shown(NamedTuple):
    """What was shown, in columns. items: user, item, time, a row for each item; impressions: user, side."""

    sides: dict[str, int]
    versions: list[Counter[str]]
    items: tuple[array[int], ...]
    impressions: tuple[array[int], ...]


def exposed(store: Store, success: Success, *, since: int | None = None, until: int | None = None) -> Exposed:
    """What users were shown from `since` to before `until`, and what it led to. Reads the store once, and
    holds 24 bytes for every item shown. Raises StoreError, and RequestError where nothing was shown, and
    where no event is of a type that counts."""
    numbers = _Numbers()
    shown = _shown(_impressions(store, since, until), numbers)
    if not shown.sides:
        raise RequestError(
            f"{store.place} holds no impressions of that time",
            hint="they are kept with: shortlist serve --events STORE --impressions",
        )
    acted, counted, kinds = _events(store, success, numbers)
    notes = _notes(store, success, counted, kinds)
    items = [np.frombuffer(column, np.int64) for column in shown.items]
    hit = credited(items, acted, success.window)
    user, side = (np.frombuffer(column, np.int64) for column in shown.impressions)
    num = len(numbers.users)
    own = _own_side(user, side, num)
    return Exposed(
        sides=tuple(shown.sides),
        users=own,
        impressions=_count(user, num),
        shown=_count(items[0], num),
        successes=_count(items[0][hit], num),
        versions=dict(zip(shown.sides, map(dict, shown.versions), strict=True)),
        crossed=int((own < 0).sum()),
        counted=counted,
        notes=notes,
    )


def _shown(impressions: Iterator[Impression], numbers: _Numbers) -> _Shown:
    sides: dict[str, int] = {}
    versions: list[Counter[str]] = []
    items = tuple(array("q") for _ in range(3))
    users = tuple(array("q") for _ in range(2))
    for impression in impressions:
        side = sides.setdefault(impression.variant, len(sides))
        if side == len(versions):
            versions.append(Counter())
        versions[side][impression.bundle] += 1
        user = numbers.of_user(impression.user_id)
        _append(users, (user, side))
        for item in dict.fromkeys(impression.items):
            _append(items, (user, numbers.of_item(item), impression.timestamp))
    return _Shown(sides, versions, items, users)


def _append(columns: tuple[array[int], ...], row: tuple[int, ...]) -> None:
    for column, value in zip(columns, row, strict=True):
        column.append(value)


def _impressions(store: Store, since: int | None, until: int | None) -> Iterator[Impression]:
    after = 0
    while page := store.impressions(after):
        for _, impression in page:
            early = since is not None and impression.timestamp < since
            if not early and (until is None or impression.timestamp < until):
                yield impression
        after = page[-1].sequence


def _notes(store: Store, success: Success, counted: int, kinds: set[str]) -> tuple[str, ...]:
    """What is to be known of events that count. RequestError where there is none of any type wanted."""
    never = [kind for kind in success.kinds if kind not in kinds]
    told = [f"{store.place} holds no event of type {kind!r}" for kind in never]
    hints = [did_you_mean(kind, sorted(kinds)) or "it holds no event at all" for kind in never]
    if never and len(never) == len(success.kinds):
        raise RequestError(told[0], hint=hints[0])
    if not counted:
        return ("no event counts as a success",)
    return tuple(f"{said}: {hint}" for said, hint in zip(told, hints, strict=True))


def _events(store: Store, success: Success, numbers: _Numbers) -> tuple[list[Longs], int, set[str]]:
    """User, item and time of events that may be successes, of what was shown; how many there are; and the
    types of all events."""
    columns, counted, after = tuple(array("q") for _ in range(3)), 0, 0
    kinds: set[str] = set()
    while page := store.since(after):
        for _, event in page:
            kinds.add(event.event)
            if not success.counts(event):
                continue
            counted += 1
            user, item = numbers.users.get(event.user_id), numbers.items.get(event.item_id)
            if user is not None and item is not None:
                _append(columns, (user, item, event.timestamp))
        after = page[-1].sequence
    return [np.frombuffer(column, np.int64) for column in columns], counted, kinds


def credited(shown: list[Longs], acted: list[Longs], window: int) -> Bools:
    """Which rows of what was shown (user, item, time, ...) got an event (user, item, time): bool [n].

    An event goes to the last time its item was shown to its user, up to that second, if that is at most
    `window` seconds before.
    """
    num = len(shown[0])
    hit = np.zeros(num, np.bool_)
    if not num or not len(acted[0]):
        return hit
    user, item, time = (np.concatenate([shown[k], acted[k]]) for k in range(3))
    event = np.arange(len(user)) >= num
    order = np.lexsort((event, time, item, user))  # of one second, what was shown comes first
    user, item, time, event = user[order], item[order], time[order], event[order]
    last = np.maximum.accumulate(np.where(event, -1, np.arange(len(order))))
    known = event & (last >= 0)
    before = np.maximum(last, 0)
    same = (user == user[before]) & (item == item[before]) & (time - time[before] <= window)
    hit[order[before[known & same]]] = True
    return hit


def _own_side(user: Longs, side: Longs, num: int) -> Longs:
    """The side each of `num` users had; -1: more than one."""
    least, most = np.full(num, np.iinfo(np.int64).max), np.full(num, -1)
    np.minimum.at(least, user, side)
    np.maximum.at(most, user, side)
    return np.where(least == most, least, -1)


def _count(user: Longs, num: int) -> Doubles:
    """How many rows each of `num` users has."""
    return np.bincount(user, minlength=num).astype(np.float64)
