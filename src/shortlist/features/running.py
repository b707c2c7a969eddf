"""Running sums: what any key's events of a span of time add up to, by two binary searches and a difference.

Entries are sorted by key, second and place, one whole number for the first two. Sums are of whole multiples
of 2^-28, so that what a span adds up to depends on its own events alone, to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from shortlist._typing import Array, Doubles, Longs
from shortlist.specs.features import AsOf

UNIT = 2.0**28
"""Steps that values are rounded to, in one."""

LARGEST = 2**62
"""Codes must be smaller."""

NONE = -1
"""A key that no event has; a slot of a matrix of keys that is not used."""


class Spans(NamedTuple):
    """Entries [start, stop) of m keys, and where their row's own entry is, -1: none. int64 [m] each."""

    start: Longs
    stop: Longs
    own: Longs

    @property
    def holds_own(self) -> Array:
        return (self.own >= self.start) & (self.own < self.stop)

    @property
    def counts(self) -> Longs:
        """How many entries there are but the own."""
        return self.stop - self.start - self.holds_own


RANKED = 1 << 22
"""Events, up to which it is kept where each stands among the seconds."""


def distinct(values: Array) -> Array:
    """Ascending, each once. NumPy's own way first loads its masked arrays, which takes longer."""
    ordered = np.sort(values, axis=None)
    kept = np.ones(len(ordered), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=kept[1:])
    return ordered[kept]


@dataclass(frozen=True, eq=False)
class Clock:
    """The distinct seconds of a log: times become their ranks, so that any key fits beside them.

    times: what it was made of, where `ranks` are kept, and asked for most often."""

    seconds: Longs
    times: Longs | None = None

    @classmethod
    def of(cls, times: Longs) -> Clock:
        return cls(distinct(times), times if len(times) <= RANKED else None)

    @cached_property
    def ranks(self) -> Longs:
        """How many seconds are earlier than each of `times`."""
        return np.searchsorted(self.seconds, np.zeros(0, np.int64) if self.times is None else self.times)

    @property
    def span(self) -> int:
        return len(self.seconds) + 1

    def before(self, times: Longs) -> Longs:
        """How many seconds are earlier."""
        if times is self.times:
            return self.ranks
        return np.searchsorted(self.seconds, times, side="left")

    def until(self, times: Longs) -> Longs:
        """How many seconds are not later."""
        return np.searchsorted(self.seconds, times, side="right")


@dataclass(frozen=True, eq=False)
class Running:
    """E entries of events under keys, in the order of (key, second, place).

    events int64 [E] the event of each entry, times int64 [E + 1], codes int64 [E] (key * span + second),
    slots int64 [T, L]: the entry of each event's l-th key, -1 where it has none. keys: the distinct keys,
    where they are too large for a code and are coded by rank.
    """

    clock: Clock
    codes: Longs
    events: Longs
    times: Longs
    slots: Longs
    keys: Longs | None

    @classmethod
    def of(cls, keys: Longs, size: int, times: Longs, clock: Clock) -> Running:
        """keys int64 [T, L] below `size`, -1 unused, of T events in the order of their log."""
        used = keys != NONE
        flat = keys[used]
        distinct = np.unique(flat) if size * clock.span >= LARGEST else None
        ranks = flat if distinct is None else np.searchsorted(distinct, flat)
        event = np.nonzero(used)[0]
        codes = ranks * clock.span + clock.before(times)[event]
        order = np.argsort(codes, kind="stable")
        slots = np.full(keys.shape, NONE, np.int64)
        places = np.empty(len(flat), np.int64)
        places[order] = np.arange(len(flat))
        slots[used] = places
        return cls(clock, codes[order], event[order], np.append(times[event[order]], 0), slots, distinct)

    def coded(self, keys: Longs) -> Longs:
        """Keys [m] times the span; a key that nothing has becomes negative."""
        if self.keys is not None:
            found = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
            keys = np.where(self.keys[found] == keys, found, NONE) if len(self.keys) else keys * 0 + NONE
        return keys * self.clock.span

    def find(self, coded: Longs, second: Array | int) -> Longs:
        """The first entry of the key that is not of an earlier second."""
        return np.searchsorted(self.codes, coded + second)

    def owned(self, coded: Longs, slots: Longs) -> Longs:
        """The slots [m] that hold an entry of the key sought, else -1."""
        if not len(self.codes):
            return np.full(len(coded), NONE)
        key = self.codes[slots] // self.clock.span * self.clock.span
        return np.where((slots != NONE) & (key == coded), slots, NONE)

    def spans(self, coded: Longs, times: Longs, own: Longs, as_of: AsOf, window: float, last: int) -> Spans:
        """The entries that count for m keys, each sought from a time [m]; own: as `owned` gives them."""
        reach, clock = np.int64(min(window, 2.0**61)), self.clock
        start = self.find(coded, clock.before(times - reach) if window else 0)
        if as_of == "row":
            stop = self.find(coded, clock.before(times))
            return Spans(np.maximum(start, stop - last) if last else start, stop, own)
        stop = self.find(coded, clock.until(times + reach) if window else clock.span - 1)
        if last:
            centre = np.where(own != NONE, own, self.find(coded, clock.before(times)))
            start, stop = self._nearest(start, stop, centre, times, own != NONE, last)
        return Spans(start, stop, own)

    def own_spans(self) -> Spans | None:
        """What `spans` finds for the events themselves, each under its key and as of its row, without a
        search; None where an event has no key or several."""
        if self.slots.shape[1] != 1 or not len(self.slots) or self.slots.min() < 0:
            return None
        own = self.slots[:, 0]
        keys, codes = self.codes // self.clock.span, self.codes
        return Spans(_begins(keys)[own], _begins(codes)[own], np.full(len(own), NONE))

    def _nearest(
        self, start: Longs, stop: Longs, centre: Longs, times: Longs, skip: Array, last: int
    ) -> tuple[Longs, Longs]:
        """The `last` entries nearest in time around `centre`, itself apart where `skip`: by seconds, then by
        steps, then the earlier. How many lie on the left is a binary search, for nearness falls outwards."""
        right = stop - centre - skip
        taken = np.minimum(last, centre - start + right)
        low, high = np.maximum(0, taken - right), np.minimum(taken, centre - start)
        end = len(self.events)
        while (open_ := low < high).any():
            middle = (low + high) // 2
            before, after = centre - 1 - middle, centre + skip + taken - 1 - middle
            away = times - self.times[np.clip(before, 0, end)]
            ahead = self.times[np.clip(after, 0, end)] - times
            steps = centre - before, after - centre
            nearer = (away < ahead) | ((away == ahead) & (steps[0] <= steps[1]))
            low = np.where(open_ & nearer, middle + 1, low)
            high = np.where(open_ & ~nearer, middle, high)
        return centre - low, centre + skip + (taken - low)

    def totals(self, values: Doubles) -> Totals:
        """Running sums of T events' values, which are rounded to the unit."""
        whole = np.rint(values * UNIT).astype(np.int64)[self.events]
        return Totals(whole, np.concatenate([[0], np.cumsum(whole)]))


@dataclass(frozen=True, eq=False)
class Totals:
    """values int64 [E] of entries, in units of 2^-28, and their sums from the first on, int64 [E + 1]. Sums
    may wrap around; their differences are right up to 2^35."""

    values: Longs
    sums: Longs

    def over(self, spans: Spans) -> Doubles:
        """What each span adds up to without its own entry, float64 [m]."""
        total = self.sums[spans.stop] - self.sums[spans.start]
        if (held := np.flatnonzero(spans.holds_own)).size:
            total[held] -= self.values[spans.own[held]]
        return total / UNIT


def _begins(ordered: Longs) -> Longs:
    """Where the run of equals that each entry is in begins."""
    place = np.arange(len(ordered))
    place[1:][ordered[1:] == ordered[:-1]] = 0
    return np.maximum.accumulate(place)
