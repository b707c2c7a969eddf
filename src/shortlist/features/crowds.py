"""What a log says of its items as of any second, looked up by how many of an item's events are earlier.

An item with n events is in one of n + 1 *states*, whatever the second is: as many of its events as are
earlier count. What depends on the item's events alone is tabled by state once; what also depends on what the
asking user is like, such as the mean of users of one sex, is tabled by state for every such value when it is
first asked for. NumPy only.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from shortlist._typing import Array, Doubles, Floats, Ints, Longs
from shortlist.features.figures import stated
from shortlist.features.ground import Ground, Key, par_of
from shortlist.features.kept import Kept
from shortlist.features.keys import numbers
from shortlist.features.running import UNIT, Clock, Running
from shortlist.specs.aggregates import ITEM, USER, Affinity, Aggregate

OF_ITEMS = Key((ITEM,), 0, "row")
MOST = 1 << 24
"""Numbers of what is tabled for values of users that are held at once."""
SHELVED = 1 << 23
"""Numbers of a table of all items' first entries by seconds: 32 MB, of which what is filled is held."""
MOST_ONCE = 1 << 16
_FEWEST = 64  # rows of such a table, at least


class Found(NamedTuple):
    """Where b queries of k items each stand among the events of items; int64 [b, k]: rows of `Places.first`,
    states, numbers of earlier events."""

    item: Longs
    state: Longs
    earlier: Longs


class Shelf(NamedTuple):
    """The first entry of every item that is not of one of so many first seconds: table int32 [R, N + 1], the
    row of each number of seconds, and numbers that were asked for once. Rows are added, never changed."""

    table: Ints
    rows: dict[int, int]
    once: set[int]

    @classmethod
    def of(cls, width: int) -> Shelf:
        return cls(np.empty((SHELVED // width, width), np.int32), {}, set())


@dataclass(eq=False)
class Places:
    """Events by item and then by time. codes int64 [E]: item * span + second, ascending; first int64 [N + 2]:
    where each item's begin, and those of one that has none."""

    codes: Longs
    clock: Clock
    first: Longs
    _shelf: Shelf | None = field(default=None, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    @classmethod
    def of(cls, codes: Longs, clock: Clock, num_items: int) -> Places:
        first = np.searchsorted(codes, np.arange(num_items + 1) * clock.span)
        return cls(codes, clock, np.append(first, len(codes)).astype(np.int64))

    @property
    def num_states(self) -> int:
        return len(self.codes) + len(self.first) - 1

    def known(self, items: Longs) -> Longs:
        """Items, as rows of `first`."""
        nobody = len(self.first) - 2
        return np.where((items >= 0) & (items < nobody), items, nobody)

    def find(self, items: Longs, times: Longs) -> Found:
        """Of items [b, k] as of times [b]."""
        item = self.known(items)
        stop = self.before(item, self.clock.before(times))
        return Found(item, stop + item, stop - self.first[item])

    def before(self, item: Longs, seconds: Longs) -> Longs:
        """The first entry of each item [b, k] that is not of one of so many first seconds [b]. Of a number of
        seconds that is asked for again, those of all items are kept."""
        if len(self.first) * _FEWEST > SHELVED or len(self.codes) >= 2**31:
            return self._searched(item, seconds)
        table, found = self._shelved(seconds.tolist())
        rows = np.array(found)
        new = np.flatnonzero(rows < 0)
        if len(new) == len(rows):
            return self._searched(item, seconds)
        at = item + rows[:, None] * table.shape[1]
        out: Longs = table.reshape(-1).take(at, mode="wrap").astype(np.int64)
        if len(new):
            out[new] = self._searched(item[new], seconds[new])
        return out

    def _searched(self, item: Longs, seconds: Longs) -> Longs:
        """In order, which is faster by far."""
        coded = (item * self.clock.span + seconds[:, None]).reshape(-1)
        order = np.argsort(coded)
        out = np.empty(len(order), np.int64)
        out[order] = np.searchsorted(self.codes, coded[order])
        return out.reshape(item.shape)

    def _shelved(self, seconds: list[int]) -> tuple[Ints, list[int]]:
        """The row of each number of seconds in a table, -1: none."""
        shelf = self._shelf
        if shelf is not None:
            found = [shelf.rows.get(number, -1) for number in seconds]
            if min(found) >= 0:
                return shelf.table, found
        with self._lock:
            shelf = self._shelf
            if shelf is None or len(shelf.rows) + len(seconds) > len(shelf.table):
                shelf = self._shelf = Shelf.of(len(self.first) - 1)
            items = np.arange(len(self.first) - 1) * self.clock.span
            for number in dict.fromkeys(seconds):
                if number in shelf.rows:
                    continue
                if number in shelf.once:
                    row = len(shelf.rows)
                    shelf.table[row] = np.searchsorted(self.codes, items + number)
                    shelf.rows[number] = row
                elif len(shelf.once) < MOST_ONCE:
                    shelf.once.add(number)
                else:
                    shelf.once.clear()
            return shelf.table, [shelf.rows.get(number, -1) for number in seconds]

    def states(self) -> tuple[Longs, Longs, Longs]:
        """Each state's item, and where its events start and end."""
        sizes = np.diff(self.first) + 1
        item = np.repeat(np.arange(len(sizes)), sizes)
        return item, self.first[:-1][item], np.arange(len(item)) - item


@dataclass(frozen=True, eq=False)
class Crowd:
    """The events of a ground by item."""

    ground: Ground
    running: Running
    places: Places
    _kept: Kept[Floats] = field(default_factory=lambda: Kept(MOST), repr=False)

    @classmethod
    def of(cls, ground: Ground) -> Crowd | None:
        """None where there are more items and seconds than fit into one number."""
        running = ground.running(OF_ITEMS)
        if running.keys is not None:
            return None
        return cls(ground, running, Places.of(running.codes, running.clock, ground.num_items))

    def spans(self, found: Found, times: Longs, window: float) -> tuple[Longs, Longs]:
        """First and last entry of the events of a window before times [b]; [b, k] each."""
        reach = np.int64(min(window, 2.0**61))
        start = self.places.before(found.item, self.running.clock.before(times - reach))
        return start, found.state - found.item

    def past(self, items: Longs, times: Longs) -> tuple[Doubles, Longs]:
        """Sum of ratings above the mean, and number, of the events of m items before m times."""
        item = self.places.known(items)
        coded = item * self.running.clock.span + self.running.clock.before(times)
        stop, start = np.searchsorted(self.running.codes, coded), self.places.first[item]
        sums = self.ground.totals(OF_ITEMS, "rating", "row", False).sums
        return (sums[stop] - sums[start]) / UNIT, stop - start

    def over(self, spec: Aggregate, start: Longs, stop: Longs) -> Doubles:
        """An aggregate by item_id of the entries [start, stop)."""
        count = (stop - start).astype(np.float64)
        if not spec.rated:
            return stated(spec, count, count)
        sums = self.ground.totals(OF_ITEMS, par_of(spec), "row", spec.statistic == "spread").sums
        return stated(spec, count, (sums[stop] - sums[start]) / UNIT)

    @cached_property
    def _spans(self) -> tuple[Longs, Longs]:
        return self.places.states()[1:]

    def by_state(self, spec: Aggregate) -> Doubles:
        """An aggregate by item_id of all earlier events, by state."""
        return self.over(spec, *self._spans)

    # What depends on the user who asks

    def asked(self, column: int, spec: Aggregate | Affinity, value: Hashable, scaled: Scale) -> Floats:
        """A figure for users of one value, by state: float32 [S]. column: of the figure. value: of an
        aggregate the codes of the users' columns in its key, of an affinity the number its users are compared
        by."""
        found = self._kept.get((column, value))
        if found is not None:
            return found
        weights = self._alike(spec, value)
        figure = self._weighed(spec, weights)
        return self._kept.put((column, value), scaled(figure), self.places.num_states)

    def _alike(self, spec: Aggregate | Affinity, value: Hashable) -> Doubles:
        """How much each entry counts."""
        ground, table = self.ground, self.ground.user_table
        rows = table.rows(ground.users[self.running.events])
        if isinstance(spec, Affinity):
            apart = (numbers(table.columns[spec.near]) - value) / spec.width  # type: ignore[operator]
            known: Doubles = np.append(np.nan_to_num(np.exp(-0.5 * apart * apart)), 0.0)
            return known[rows]
        assert isinstance(value, tuple)
        alike = np.ones(len(rows), np.bool_)
        for at, code in zip(user_columns(spec, ground), value, strict=True):
            alike &= (table.codes[at][:, 0][rows] == code) & (code >= 0)
        return alike.astype(np.float64)

    def _weighed(self, spec: Aggregate | Affinity, weights: Doubles) -> Doubles:
        start, stop = self._spans
        counts = _sums(weights)
        count = counts[stop] - counts[start]
        par = "users" if isinstance(spec, Affinity) else par_of(spec)
        if isinstance(spec, Aggregate) and not spec.rated:
            return stated(spec, count, count)
        values = self.ground.residuals(par, "row")[self.running.events]
        square = isinstance(spec, Aggregate) and spec.statistic == "spread"
        totals = _sums(weights * (values * values if square else values))
        total = totals[stop] - totals[start]
        if isinstance(spec, Aggregate):
            return stated(spec, count, total)
        weight = count + spec.shrink
        mean: Doubles = np.divide(total, weight, out=np.zeros(len(total)), where=weight > 0)
        return mean


@dataclass(frozen=True, eq=False)
class Scale:
    """Figures as a model reads them: standardised, within the limit, 0 where they are not known."""

    centre: float | Array
    scale: float | Array
    limit: float

    def of(self, column: int) -> Scale:
        """Of one figure."""
        return Scale(
            float(np.asarray(self.centre)[column]), float(np.asarray(self.scale)[column]), self.limit
        )

    def __call__(self, figures: Array) -> Floats:
        scaled = (figures - self.centre) / self.scale
        np.minimum(scaled, self.limit, out=scaled)  # np.clip takes longer on the little there is
        np.maximum(scaled, -self.limit, out=scaled)
        out: Floats = scaled.astype(np.float32)
        np.copyto(out, 0, where=np.isnan(out))
        return out


def user_columns(spec: Aggregate, ground: Ground) -> tuple[tuple[str, int], ...]:
    """The users' columns in the key of an aggregate, as their table codes them."""
    own = Key.of(tuple(name for name in spec.by if name not in (USER, ITEM)), spec.bins, "row")
    return own.within(ground.user_table)


def _sums(values: Doubles) -> Doubles:
    return np.concatenate([[0.0], np.cumsum(values)])
