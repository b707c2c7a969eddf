"""What aggregates say of a user as of a time, whatever the item; what the user's events are. NumPy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from shortlist._typing import Bools, Columns, Doubles, Floats, Longs
from shortlist.features.crowds import Crowd, user_columns
from shortlist.features.figures import DAY, column_values, stated
from shortlist.features.ground import SHRINK, Ground, Key, par_of
from shortlist.features.keys import Table, level, numbers
from shortlist.features.log import Log
from shortlist.features.running import UNIT, Running
from shortlist.features.tastes import Story, Tales, Taste
from shortlist.specs.aggregates import ACTIVITY, POPULARITY, Affinity, Aggregate, Context

_FAR = 2.0**61

Asking = tuple[Any, ...]
"""Of each figure that depends on what the user is like, the value it is made for."""


class Person(NamedTuple):
    """A user at a time. figures float32 [F], standardised, of those that depend on neither item nor its
    events; heights float32 [L, P], of those by popularity alone."""

    figures: Floats
    heights: Floats
    taste: Taste
    asking: Asking

    @property
    def size(self) -> int:
        """Numbers that are held, the taste's among them, which lives as long as this does."""
        return int(self.figures.size + self.heights.size) + self.taste.size


@dataclass(frozen=True, eq=False)
class Stories:
    """The stories of a ground's users."""

    log: Log
    crowd: Crowd
    residuals: Doubles
    above: Doubles
    popular: Longs

    @classmethod
    def of(cls, ground: Ground, crowd: Crowd) -> Stories:
        log = ground.log
        none = np.zeros(len(log))
        rated = ground.above is not None
        return cls(
            Log(*map(np.asarray, (log.indptr, log.items, log.times))),  # which may be mapped files
            crowd,
            ground.residuals("items", "row") if rated else none,
            ground.above if ground.above is not None else none,
            ground.counts(POPULARITY, ground.users, log.items, log.times, "row"),
        )

    def known(self, user: int, time: int) -> Story:
        """What a user of the log did before a time."""
        log = self.log
        start = stop = 0
        if 0 <= user < log.num_users:
            start, end = int(log.indptr[user]), int(log.indptr[user + 1])
            stop = start + int(np.searchsorted(log.times[start:end], time))
        items = log.items[start:stop].astype(np.int64)
        part = slice(start, stop)
        return Story(items, log.times[part], self.above[part], self.residuals[part], self.popular[part])

    def told(self, logs: Sequence[Log], mean: float, times: Sequence[int]) -> list[Story]:
        """The same of the only users of other logs, whose ratings are all there."""
        stops = [int(log.times.searchsorted(time)) for log, time in zip(logs, times, strict=True)]
        both = list(zip(logs, stops, strict=True))
        items = np.concatenate([log.items[:stop] for log, stop in both]).astype(np.int64)
        clock = np.concatenate([log.times[:stop] for log, stop in both])
        total, count = self.crowd.past(items, clock)
        usual = np.where(count > 0, total / (count + SHRINK), 0.0)
        found, start = [], 0
        for log, stop in both:
            own = slice(start, start := start + stop)
            above = residuals = np.zeros(stop)
            if log.ratings is not None:
                above = log.ratings[:stop].astype(np.float64) - mean
                residuals = above - usual[own]
            found.append(Story(items[own], clock[own], above, residuals, count[own]))
        return found


@dataclass(frozen=True, eq=False)
class Owns:
    """Aggregates by user_id alone: their m columns and, of each, its window, how many last events, which sum,
    its shrink, and whether it is a mean or a spread."""

    columns: Longs
    reaches: Longs
    lasts: Longs
    sums: Longs
    shrink: Doubles
    means: Bools
    spreads: Bools

    @classmethod
    def of(cls, specs: list[tuple[int, Aggregate]]) -> Owns:
        chosen = [spec for _, spec in specs]
        return cls(
            np.array([column for column, _ in specs], np.int64),
            np.array([int(min(s.window or _FAR, _FAR)) for s in chosen], np.int64),
            np.array([s.last or int(_FAR) for s in chosen], np.int64),
            np.array([2 * (s.statistic == "spread") + (s.of == "rating") for s in chosen], np.int64),
            np.array([s.shrink for s in chosen], np.float64),
            np.array([s.statistic == "mean" for s in chosen], np.bool_),
            np.array([s.statistic == "spread" for s in chosen], np.bool_),
        )

    def figures(self, tales: Tales, times: Longs) -> Doubles:
        """As of times [n]: float64 [n, m]."""
        first, clock = tales.first, tales.times
        seconds = np.maximum(times[:, None] - self.reaches, -(2**62))
        begins = [
            clock[start:stop].searchsorted(own)
            for start, stop, own in zip(first.tolist(), first[1:].tolist(), seconds, strict=False)
        ]
        start = np.maximum(np.stack(begins) + first[:-1, None], first[1:, None] - self.lasts)
        values = np.stack([tales.residuals, tales.above])
        sums = np.zeros((4, len(clock) + 1), np.int64)
        sums[:2, 1:], sums[2:, 1:] = np.rint(values * UNIT), np.rint(values * values * UNIT)
        np.cumsum(sums, axis=1, out=sums)
        count = (first[1:, None] - start).astype(np.float64)
        total = (sums[self.sums, first[1:, None]] - sums[self.sums, start]) / UNIT
        means, spreads = self.means, self.spreads
        out: Doubles = np.log1p(count) / 3
        weight = count + self.shrink
        np.divide(total, weight, out=out, where=means & (weight > 0))
        out[(means | spreads) & (weight <= 0)] = 0
        some = spreads & (weight > 0)
        out[some] = np.sqrt((np.maximum(total, 0) + self.shrink)[some] / weight[some])
        return out


def pooled(spec: Aggregate, ground: Ground, keys: Longs, times: Longs) -> Doubles:
    """An aggregate by neither user nor item, of keys as of times, which go together."""
    key = Key.of(spec.by, spec.bins, "row")
    running: Running = ground.running(key)
    clock, coded = running.clock, keys * running.clock.span
    reach = np.int64(min(spec.window, 2.0**61))
    stop = running.find(coded, clock.before(times))
    start = running.find(coded, clock.before(times - reach) if spec.window else 0)
    start = np.maximum(start, stop - spec.last) if spec.last else start
    count = (stop - start).astype(np.float64)
    if not spec.rated:
        return stated(spec, count, count)
    sums = ground.totals(key, par_of(spec), "row", spec.statistic == "spread").sums
    return stated(spec, count, (sums[stop] - sums[start]) / UNIT)


def pooled_key(spec: Aggregate, tales: Tales) -> Longs:
    """The keys of users: how active each is, or none."""
    return level(tales.sizes) if ACTIVITY in spec.by else np.zeros(len(tales.sizes), np.int64)


def heights(spec: Aggregate, ground: Ground, levels: int, times: Longs) -> Doubles:
    """An aggregate by popularity alone, of the first levels as of times [m]: [m, levels]."""
    return pooled(spec, ground, np.arange(levels), times[:, None])


def standing(spec: Context, tales: Tales, times: Longs) -> Doubles:
    """A context that is no column, of users as of times [m]."""
    if spec.what == "time":
        return times.astype(np.float64)
    if spec.what == "hour_sine":
        return np.asarray(np.sin(2 * np.pi * (times % DAY) / DAY))
    if spec.what == "hour_cosine":
        return np.asarray(np.cos(2 * np.pi * (times % DAY) / DAY))
    first, num = tales.first[:-1], tales.sizes
    if spec.what == "position":
        return np.asarray(np.log1p(num) / 5)
    last = spec.last if spec.what == "gap" else num
    some = (num >= last) & (num > 0)
    then = np.append(tales.times, 0)[np.where(some, first + num - last, -1)]
    return np.asarray(np.log1p(np.where(some, np.abs(times - then), 0)) / (5 if spec.what == "gap" else 10))


class Looks(NamedTuple):
    """What is made of a face: the numbers of its columns, and the values its figures are made for."""

    numbers: tuple[float, ...]
    asking: Asking


class Face(NamedTuple):
    """What a user is like: a table of columns, as `table` codes them, and the row in it (-1: nobody's)."""

    columns: Columns
    codes: dict[tuple[str, int], Longs]
    row: int

    @classmethod
    def of(cls, table: Table, row: int) -> Face:
        return cls(table.columns, table.codes, row if 0 <= row < len(table) else -1)

    def asking(self, spec: Aggregate | Affinity, ground: Ground) -> Any:
        """The value that a figure is made for."""
        if isinstance(spec, Affinity):
            return self._value(spec.near)
        return tuple(int(self.codes[at][self.row, 0]) for at in user_columns(spec, ground))

    def number(self, spec: Context) -> float:
        """A column's number."""
        own = slice(self.row, self.row + 1) if self.row >= 0 else slice(0, 0)
        return float(column_values(spec, {spec.column: self.columns[spec.column][own]})[0])

    def _value(self, name: str) -> float:
        own = slice(self.row, self.row + 1)
        return float(numbers(self.columns[name][own])[0]) if self.row >= 0 else float("nan")
