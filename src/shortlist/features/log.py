"""The log: every known event of every user, in the order of time, and how far back a row may look.

A row stands somewhere in the log: it has a user, a time and, where it is an event of the log itself, a place.
What of the log it may see is its `as_of`:

    "row"            the user's events of an earlier second; the only kind that serving can use
    "leave-one-out"  all events of the user but the row's own, later ones included: on a random split this
                     sees the future of the training period
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from shortlist._typing import Array, Bools, Floats, Ints, Longs
from shortlist.specs.features import AsOf

_FEW = 56  # ranges, up to which each is searched by itself, which is quicker
NOWHERE = -1
"""Place of a row that is no event of the log; user of a row whose user the log does not know."""


class Standing(NamedTuple):
    """Where n rows stand: users int64 [n] (-1 unknown), times int64 [n], places int64 [n] in the log (-1: the
    row is no event of it)."""

    users: Longs
    times: Longs
    places: Longs

    @classmethod
    def of(cls, users: Array, times: Array, places: Array | None = None) -> Standing:
        own = np.full(len(users), NOWHERE, np.int64) if places is None else np.asarray(places, np.int64)
        return cls(np.asarray(users, np.int64), np.asarray(times, np.int64), own)

    def of_nobody(self, chosen: Bools) -> Standing:
        """The same but for some rows (bool [n]), which stand nowhere."""
        users, places = (np.where(chosen, NOWHERE, own) for own in (self.users, self.places))
        return Standing(users, self.times, places)

    def rows(self, chosen: Any) -> Standing:
        """Where some of them stand."""
        return Standing(self.users[chosen], self.times[chosen], self.places[chosen])


@dataclass(frozen=True, eq=False)
class Log:
    """T events, by user and then by time, as they came where times are equal.

    indptr int64 [U + 1]: user u's events are those at indptr[u]:indptr[u + 1]. items int32 [T], catalogue
    positions. times int64 [T], seconds (zeros where there are none). ratings float32 [T] or None.
    """

    indptr: Longs
    items: Ints
    times: Longs
    ratings: Floats | None = None

    @classmethod
    def of(
        cls, users: Array, items: Array, times: Array | None, ratings: Array | None, num_users: int
    ) -> tuple[Log, Longs]:
        """The log of n rows, and each row's place in it, int64 [n]."""
        clock = np.zeros(len(users), np.int64) if times is None else np.asarray(times, np.int64)
        order = np.lexsort((clock, users))
        counts = np.bincount(users, minlength=num_users)
        places = np.empty(len(users), np.int64)
        places[order] = np.arange(len(users))
        log = cls(
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            np.asarray(items, np.int32)[order],
            clock[order],
            None if ratings is None else np.asarray(ratings, np.float32)[order],
        )
        return log, places

    @property
    def num_users(self) -> int:
        return len(self.indptr) - 1

    def __len__(self) -> int:
        return len(self.items)

    @property
    def users(self) -> Longs:
        """The user of each event, int64 [T]."""
        return np.repeat(np.arange(self.num_users), np.diff(self.indptr))

    @property
    def repeats(self) -> bool:
        """Whether a user has an item more than once."""
        pairs = self.users * (int(self.items.max(initial=0)) + 1) + self.items
        pairs.sort()
        return bool((np.diff(pairs) == 0).any())

    def ranges(self, at: Standing, as_of: AsOf) -> tuple[Longs, Longs]:
        """Each row's visible events [start, stop) in the log; with "leave-one-out" its own is inside."""
        known = (at.users >= 0) & (at.users < self.num_users)
        user = np.where(known, at.users, 0)
        start = self.indptr[:-1][user] if self.num_users else np.zeros_like(user)
        stop = self.indptr[1:][user] if self.num_users else np.zeros_like(user)
        if as_of == "row":
            stop = self._first_at(start, stop, at.times)
        return np.where(known, start, 0), np.where(known, stop, 0)

    def _first_at(self, start: Longs, stop: Longs, times: Longs) -> Longs:
        """The first event in [start, stop) that is not earlier than a time: a binary search in each range."""
        if len(start) <= _FEW:
            each = zip(start.tolist(), stop.tolist(), times.tolist(), strict=True)
            found = [first + int(self.times[first:last].searchsorted(time)) for first, last, time in each]
            return np.array(found, np.int64)
        low, high = start.copy(), stop.copy()
        while (open_ := low < high).any():
            middle = (low + high) // 2
            earlier = open_ & (self.times[np.minimum(middle, len(self.times) - 1)] < times)
            low = np.where(earlier, middle + 1, low)
            high = np.where(open_ & ~earlier, middle, high)
        return low

    def past(self, at: Standing, as_of: AsOf, length: int) -> Longs:
        """Places of each row's `length` events nearest in time, nearest first; int64 [n, length], -1: none.

        "row": the most recent; of one second the one that came last. "leave-one-out": the nearest on either
        side, by time and then by place; without times, by place.
        """
        start, stop = self.ranges(at, as_of)
        if as_of == "row":
            places = stop[:, None] - 1 - np.arange(length)
            return np.where(places >= start[:, None], places, NOWHERE)
        return self._nearest(at, start, stop, length)

    def _nearest(self, at: Standing, start: Longs, stop: Longs, length: int) -> Longs:
        centre = np.where(at.places >= 0, at.places, self._first_at(start, stop, at.times))
        window = centre[:, None] + np.arange(-length, length + 1)
        seen = (window >= start[:, None]) & (window < stop[:, None]) & (window != at.places[:, None])
        times = self.times[np.clip(window, 0, max(0, len(self) - 1))] if len(self) else np.zeros_like(window)
        away = np.abs(times - at.times[:, None])
        steps = np.abs(window - centre[:, None])
        far = np.iinfo(np.int64).max
        # one key: seconds first, then steps; both fit beside each other
        key = np.where(seen, away * (2 * length + 2) + steps, far)
        order = np.argsort(key, axis=1, kind="stable")[:, :length]
        places = np.take_along_axis(window, order, axis=1)
        return np.where(np.take_along_axis(seen, order, axis=1), places, NOWHERE)

    def every(self, at: Standing, as_of: AsOf, length: int) -> Longs:
        """Places of all events each row sees, of the last `length` where there are more; int64 [n, any], -1:
        none. "row": the latest first."""
        start, stop = self.ranges(at, as_of)
        # as of the row an earlier event of the same item may stand for its own, and is seen
        own = (at.places >= start) & (at.places < stop) & (as_of == "leave-one-out")
        width = min(length, int((stop - start - own).max(initial=1)))
        places = stop[:, None] - 1 - np.arange(max(1, width))
        if as_of == "leave-one-out":  # step over the own one
            places = places - (own[:, None] & (places <= at.places[:, None]))
        return np.where(places >= start[:, None], places, NOWHERE)

    def counted(self, at: Standing, as_of: AsOf) -> Longs:
        """How many events each row sees, int64 [n]."""
        start, stop = self.ranges(at, as_of)
        own = (at.places >= start) & (at.places < stop)
        return stop - start - own

    def mask(self, at: Standing, as_of: AsOf, num_items: int) -> Bools:
        """True [n, num_items] at items of the events each row sees; the rows are no events themselves."""
        start, stop = self.ranges(at, as_of)
        counts = stop - start
        row = np.repeat(np.arange(len(counts)), counts)
        place = np.arange(len(row)) + np.repeat(start - np.cumsum(counts) + counts, counts)
        mask = np.zeros((len(counts), num_items), np.bool_)
        mask[row, self.items[place]] = True
        return mask

    def first_places(self) -> Longs:
        """Places of the first event of every user with every item, ascending."""
        pairs = self.users * (int(self.items.max(initial=0)) + 1) + self.items
        return np.sort(np.unique(pairs, return_index=True)[1]).astype(np.int64)

    def firsts(self) -> Log:
        """The log without repeats."""
        kept = self.first_places()
        counts = np.bincount(self.users[kept], minlength=self.num_users)
        return Log(
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            self.items[kept],
            self.times[kept],
            None if self.ratings is None else self.ratings[kept],
        )

    def find(self, users: Longs, items: Longs, times: Longs) -> Longs:
        """The place of each (user, item, time) among the events, int64 [n]; -1 where there is none."""
        rows = Standing.of(users, times)
        at = self.ranges(rows, "row")[1].copy()  # the first event of that second
        end = self.ranges(rows, "leave-one-out")[1]
        found = np.full(len(users), NOWHERE, np.int64)
        while True:
            inside = (found < 0) & (at < end)
            place = np.minimum(at, max(0, len(self) - 1))
            inside[inside] &= self.times[place[inside]] == times[inside]
            if not inside.any():
                return found
            same = inside.copy()
            same[inside] &= self.items[place[inside]] == items[inside]
            found[same] = at[same]
            at = np.where(inside, at + 1, end)
