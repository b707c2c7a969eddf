"""What aggregates come to for rows: a number each, before it is standardised."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from shortlist._typing import Array, Columns, Doubles, Longs
from shortlist.features.ground import Ground, Key, Par, par_of
from shortlist.features.keys import numbers, numeric
from shortlist.features.log import Standing
from shortlist.features.running import NONE, Spans
from shortlist.specs.aggregates import ACTIVITY, ITEM, POPULARITY, USER, Aggregate, Context
from shortlist.specs.features import AsOf

DAY = 86_400


class Sought(NamedTuple):
    """The m keys of n rows: their codes, own entries and times, and the row of each (None: one key a row)."""

    coded: Longs
    own: Longs
    times: Longs
    row: Longs | None


@dataclass(frozen=True, eq=False)
class Rows:
    """n rows with an item each; int64. mine: the log of their users, everyone: that of all others (often one
    and the same). What figures share is kept while they are made."""

    at: Standing
    items: Longs
    mine: Ground
    everyone: Ground
    cache: dict[Any, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.items)

    def ground(self, by: tuple[str, ...] | str) -> Ground:
        """The events that a key can have."""
        return self.mine if USER in by or by == USER else self.everyone

    def counts(self, name: str, as_of: AsOf) -> Longs:
        """The "popularity" of the items or "activity" of the users, without the rows themselves."""
        at = (name, as_of)
        if at not in self.cache:
            counts = self.mine.counts(name, self.at.users, self.items, self.at.times, as_of)
            strange = name == POPULARITY and self.mine is not self.everyone
            own = (self.at.places >= 0) & (as_of == "leave-one-out") & (not strange)
            self.cache[at] = counts - own
        found: Longs = self.cache[at]
        return found

    def sought(self, key: Key, ground: Ground, as_of: AsOf) -> Sought:
        """The rows' keys in a ground."""
        at = ("sought", key, ground is self.mine, as_of)
        if at not in self.cache:
            self.cache[at] = self._sought(key, ground, as_of)
        found: Sought = self.cache[at]
        return found

    def _sought(self, key: Key, ground: Ground, as_of: AsOf) -> Sought:
        counts = {name: self.counts(name, as_of) for name in (POPULARITY, ACTIVITY) if name in key.by}
        strange = ground is not self.mine
        keys = ground.keys(key, self.mine.user_table, self.at.users, self.items, counts)
        running = ground.running(key)
        row, times, flat = None, self.at.times, keys[:, 0]
        if keys.shape[1] > 1:
            used = keys != NONE
            row = np.nonzero(used)[0]
            times, flat = times[row], keys[used]
        coded = running.coded(flat)
        own = np.full(len(flat), NONE)
        if as_of == "leave-one-out" and not strange and (self.at.places >= 0).any():
            slots = np.where(self.at.places[:, None] >= 0, running.slots[self.at.places], NONE)
            own = running.owned(coded, slots[:, 0] if row is None else slots[used])
        return Sought(coded, own, times, row)

    def spans(self, spec: Aggregate, key: Key, ground: Ground) -> Spans:
        """The entries under the rows' keys that an aggregate counts."""
        at = ("spans", key, ground is self.mine, spec.as_of, spec.window, spec.last)
        if at not in self.cache:
            coded, own, times, _ = self.sought(key, ground, spec.as_of)
            running = ground.running(key)
            self.cache[at] = running.spans(coded, times, own, spec.as_of, spec.window, spec.last)
        found: Spans = self.cache[at]
        return found

    def pooled(self, values: Array, row: Longs | None) -> Doubles:
        """Sums over the keys of each row, float64 [n]."""
        if row is None:
            return values.astype(np.float64)
        return np.bincount(row, values, len(self)).astype(np.float64)


def aggregate(spec: Aggregate, rows: Rows) -> Doubles:
    """The statistic of the events each row shares its key with, float64 [n]."""
    par = par_of(spec)
    count, total = _tally(spec, spec.by, par, rows)
    if spec.apart:  # all events, less those of the item, less those of the user, which share some
        for more, sign in (((ITEM,), -1), ((USER,), -1), ((ITEM, USER), 1)):
            some, part = _tally(spec, (*spec.by, *more), par, rows)
            count, total = count + sign * some, total + sign * part
    return stated(spec, count, total)


def stated(spec: Aggregate, count: Doubles, total: Doubles) -> Doubles:
    """The statistic of so many events with a sum of residuals, or of their squares; any shape."""
    if spec.statistic == "count":
        return np.log1p(count) / 3
    weight = count + spec.shrink
    if spec.statistic == "mean":
        return np.divide(total, weight, out=np.zeros(weight.shape), where=weight > 0)
    squares = np.maximum(total, 0) + spec.shrink
    return np.sqrt(np.divide(squares, weight, out=np.zeros(weight.shape), where=weight > 0))


def _tally(spec: Aggregate, by: tuple[str, ...], par: Par, rows: Rows) -> tuple[Doubles, Doubles]:
    """Number of events and sum of their residuals, or of the squares, under the rows' keys."""
    key, ground = Key.of(by, spec.bins, spec.as_of), rows.ground(spec.by)
    row = rows.sought(key, ground, spec.as_of).row
    spans = rows.spans(spec, key, ground)
    count = rows.pooled(spans.counts, row)
    if not spec.rated:
        return count, count
    totals = ground.totals(key, par, spec.as_of, spec.statistic == "spread")
    return count, rows.pooled(totals.over(spans), row)


def context(spec: Context, rows: Rows) -> Doubles:
    """Where each row stands, float64 [n]; NaN where a column has no number."""
    times = rows.at.times
    if spec.what == "column":
        return _column(spec, rows)
    if spec.what == "time":
        return times.astype(np.float64)
    if spec.what == "hour_sine":
        return np.sin(2 * np.pi * (times % DAY) / DAY)
    if spec.what == "hour_cosine":
        return np.cos(2 * np.pi * (times % DAY) / DAY)
    if spec.what == "gap":
        return _gap(spec, rows)
    start, stop = rows.mine.log.ranges(rows.at, "row")
    if spec.what == "position":
        return np.log1p((stop - start).astype(np.float64)) / 5
    return np.log1p(_away(times, rows.mine.log.times, np.where(stop > start, start, NONE))) / 10


def _gap(spec: Context, rows: Rows) -> Doubles:
    place = rows.mine.log.past(rows.at, spec.as_of, spec.last)
    nth = place[:, spec.last - 1] if place.shape[1] >= spec.last else np.full(len(rows), NONE)
    return np.log1p(_away(rows.at.times, rows.mine.log.times, nth)) / 5


def _away(times: Longs, others: Longs, places: Longs) -> Longs:
    """Seconds between times and events, 0 where there is no event."""
    return np.where(places >= 0, np.abs(times - np.append(others, 0)[places]), 0)


def _column(spec: Context, rows: Rows) -> Doubles:
    tables = (rows.mine.user_table, rows.at.users), (rows.mine.item_table, rows.items)
    table, places = next((table, places) for table, places in tables if spec.column in table.columns)
    key = ("column", spec.column, spec.equals)
    cached = rows.mine.cache
    if key not in cached:
        cached[key] = column_values(spec, table.columns)
    values: Doubles = cached[key][table.rows(places)]
    return values


def column_values(spec: Context, columns: Columns) -> Doubles:
    """A column as numbers, the last an unknown row's, [n + 1]."""
    column = columns[spec.column]
    if not spec.equals:
        return np.append(numbers(column), np.nan)
    if numeric(column):
        return np.append(numbers(column) == float(spec.equals), 0.0)
    same = np.asarray(column) == spec.equals
    return np.append(same.any(1) if same.ndim == 2 else same, 0.0).astype(np.float64)
