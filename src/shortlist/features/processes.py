"""Gaussian processes: what a user's residuals lead to expect at an item and a time. NumPy only.

A window of a user's events is factorised once and answers for all rows that see events of it. As of "row",
the Cholesky factor of the events in order of time holds the factor of every past, so a row's mean is the part
of one product that lies before its second. "leave-one-out" the means of all events come from the inverse.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from shortlist._typing import Array, Doubles, Floats, Longs
from shortlist.features.affinities import units
from shortlist.features.covariances import Points, covariance
from shortlist.features.factors import Factors
from shortlist.features.figures import Rows
from shortlist.features.ground import Ground
from shortlist.features.keys import numbers
from shortlist.features.log import Standing
from shortlist.specs.aggregates import POPULARITY, Process

STEP = 64
"""Rows of a triangular system solved at a time."""

KEPT = 1 << 24
"""Numbers of factorised windows that are kept with their log."""


class Window(NamedTuple):
    """Events of a user, solved. "row": the Cholesky factor of their covariance and its solution for the
    residuals; "leave-one-out": the inverse, where events of it are asked for, and the weights."""

    first: int
    points: Points
    matrix: Floats
    vector: Floats

    @property
    def size(self) -> int:
        """About how many numbers it holds."""
        columns = sum(part.size for part in self.points if part is not None)
        return self.matrix.size + self.vector.size + columns


@dataclass(frozen=True, eq=False)
class Events:
    """The events of a ground as a process sees them: residuals and log1p of popularity float32 [T], and by
    item, the last for an unknown one, unit vectors of tags and numbers; factors [G, N + 1, d] and each
    user's group."""

    spec: Process
    ground: Ground
    residuals: Floats
    popular: Floats
    tags: Floats | None
    near: Doubles | None
    factors: Floats | None
    groups: Longs

    @classmethod
    def of(cls, spec: Process, ground: Ground, factors: Factors | None) -> Events:
        log = ground.log
        counts = ground.counts(POPULARITY, ground.users, log.items, log.times, spec.as_of)
        counts = counts - (spec.as_of == "leave-one-out" and ground.behind is None)
        strange = factors is None or ground.behind is not None
        return cls(
            spec,
            ground,
            ground.residuals("items", spec.as_of).astype(np.float32),
            np.log1p(counts).astype(np.float32),
            *_of_items(spec, ground.behind or ground),
            None if factors is None else factors.table,
            np.zeros(0, np.int64) if strange or factors is None else factors.groups,
        )

    def points(self, user: int, items: Array, times: Longs, popular: Floats) -> Points:
        """How a user's events or rows compare."""
        places = self.ground.item_table.rows(items.astype(np.int64))
        factors = None
        if self.factors is not None:
            group = self.groups[user] if user < len(self.groups) else 0  # any will do for a new user
            factors = self.factors[group][np.minimum(items, self.factors.shape[1] - 1)]
        tags = None if self.tags is None else self.tags[places]
        near = None if self.near is None else self.near[places]
        return Points(tags, near, popular, factors, times)

    def among(self, user: int, places: Longs) -> Points:
        """How events of the log compare."""
        log = self.ground.log
        return self.points(user, log.items[places], log.times[places], self.popular[places])

    def windows(self, at: Standing) -> tuple[Longs, Longs]:
        """The window [first, last) of each row, events of the log; as of "row" told by what is earlier."""
        log, half = self.ground.log, self.spec.most // 2
        begin, end = log.ranges(at, "leave-one-out")
        cut = log.ranges(at, "row")[1]
        if self.spec.as_of == "row":
            first = begin + np.maximum(0, (cut - begin) // half - 1) * half
        else:
            place = np.where((at.places >= begin) & (at.places < end), at.places, cut)
            first = begin + np.maximum(0, (place - begin) // half * half - half // 2)
            first = np.maximum(begin, np.minimum(first, end - 2 * half))
        return first, np.minimum(first + 2 * half, end)

    def solve(self, user: int, first: int, last: int, within: bool) -> Window:
        """within: whether rows are events of it."""
        places = np.arange(first, last)
        points, residuals = self.among(user, places), self.residuals[first:last]
        matrix = covariance(self.spec, points, points)
        matrix[np.diag_indices(len(matrix))] += np.float32(self.spec.noise)
        if self.spec.as_of == "row":
            lower: Floats = np.linalg.cholesky(matrix)
            return Window(first, points, lower, forward(lower, residuals[:, None])[:, 0])
        if not within:
            return Window(first, points, matrix[:0], np.linalg.solve(matrix, residuals))
        inverse: Floats = np.linalg.inv(matrix)
        return Window(first, points, inverse, inverse @ residuals)

    def kept(self, user: int, first: int, last: int) -> Window:
        """The same for rows that are no events of it, kept with the log."""
        kept: dict[int, Window] = self.ground.cache.setdefault(("windows", self.spec), {})
        found = kept.get(first)
        if found is None:
            found = self.solve(user, first, last, False)
            if sum(w.size for w in list(kept.values())) + found.size > KEPT:
                kept.clear()
            kept[first] = found
        return found


def _of_items(spec: Process, ground: Ground) -> tuple[Floats | None, Doubles | None]:
    """Unit vectors of tags and numbers in widths, by item; kept with the log that has the items' means."""
    if (key := ("items", spec.tags, spec.near, spec.width)) not in ground.cache:
        table = ground.item_table
        near = np.append(numbers(table.columns[spec.near]), np.nan) / spec.width if spec.near else None
        ground.cache[key] = units(spec.tags, table) if spec.tags else None, near
    found: tuple[Floats | None, Doubles | None] = ground.cache[key]
    return found


def process(spec: Process, rows: Rows, factors: Factors | None) -> Doubles:
    """The posterior mean of each row, float64 [n]; 0 where it sees nothing. A row with a place is the event
    of the log there."""
    ground, at = rows.mine, rows.at
    if (key := ("process", spec)) not in ground.cache:
        ground.cache[key] = Events.of(spec, ground, factors)
    events: Events = ground.cache[key]
    out, own = np.zeros(len(rows)), np.flatnonzero(at.places >= 0)
    if len(own):
        out[own] = _of_events(events, at.places[own])
    popular = np.log1p(rows.counts(POPULARITY, spec.as_of)).astype(np.float32)
    begin, stop = ground.log.ranges(at, spec.as_of)
    asked = np.flatnonzero((at.places < 0) & (stop > begin))
    first, last = events.windows(at.rows(asked))
    for some in _alike(first):
        these = asked[some]
        user = int(at.users[these[0]])
        window = events.kept(user, int(first[some[0]]), int(last[some[0]]))
        points = events.points(user, rows.items[these], at.times[these], popular[these])
        out[these] = _expected(spec, window, points, stop[these] - window.first)
    return out


def _alike(values: Longs) -> Iterator[Longs]:
    """Rows of equal values."""
    order = np.argsort(values, kind="stable")
    if len(order):
        yield from np.split(order, np.flatnonzero(np.diff(values[order])) + 1)


def _of_events(events: Events, places: Longs) -> Doubles:
    """The means of events of the log; all of a user's are had at once and kept."""
    ground = events.ground
    if (key := ("means", events.spec)) not in ground.cache:
        ground.cache[key] = np.full(len(ground.log), np.nan)
    means: Doubles = ground.cache[key]
    log = ground.log
    users = np.unique(ground.users[places[np.isnan(means[places])]])
    if len(users):
        spots = np.flatnonzero(np.isin(ground.users, users))
        at = Standing(ground.users[spots], log.times[spots], spots)
        begin, stop = log.ranges(at, events.spec.as_of)
        first, last = events.windows(at)
        blind = stop == begin if events.spec.as_of == "row" else stop == begin + 1
        means[spots[blind]] = 0
        for some in _alike(np.where(blind, -1, first)):
            if not blind[some[0]]:
                user, window = int(at.users[some[0]]), (int(first[some[0]]), int(last[some[0]]))
                means[spots[some]] = _within(events, user, window, spots[some], stop[some])
    found: Doubles = means[places]
    return found


def _within(events: Events, user: int, span: tuple[int, int], places: Longs, stop: Longs) -> Array:
    """Means of events of one user that share a window."""
    first, last = span
    window = events.solve(user, first, last, True)
    inside, spot = places < last, places - first
    if events.spec.as_of == "leave-one-out":
        precision = window.matrix.diagonal()[spot].copy()
        window.matrix[np.diag_indices(len(window.matrix))] = 0  # their own residual is no part of it
        return -(window.matrix[spot] @ events.residuals[first:last]) / precision
    means = np.empty(len(places), np.float32)
    means[inside] = _before(window.matrix[spot[inside]], stop[inside] - first) @ window.vector
    if not inside.all():  # of a second that the window does not hold
        others = events.among(user, places[~inside])
        means[~inside] = _expected(events.spec, window, others, stop[~inside] - first)
    return means


def _expected(spec: Process, window: Window, points: Points, cuts: Longs) -> Floats:
    """Means of rows that are no events of the window; as of "row" they see the first `cuts` of it."""
    shared = covariance(spec, window.points, points)
    if spec.as_of == "leave-one-out":
        return window.vector @ shared
    most = int(cuts.max())
    solved = forward(window.matrix[:most, :most], shared[:most])
    return _before(solved.T, cuts) @ window.vector[:most]


def _before(values: Floats, cuts: Longs) -> Floats:
    """Each row's first entries, zeros for the others."""
    return np.where(np.arange(values.shape[1]) < cuts[:, None], values, np.float32(0))


def forward(lower: Floats, right: Floats) -> Floats:
    """Solve lower @ x = right, [n, m], by blocks of a lower triangle."""
    out = right.copy()
    for start in range(0, len(lower), STEP):
        stop = start + STEP
        out[start:stop] = np.linalg.solve(lower[start:stop, start:stop], out[start:stop])
        out[stop:] -= lower[stop:, start:stop] @ out[start:stop]
    return out
