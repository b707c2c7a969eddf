"""What a user's own events make of items they were never seen with, for all kinds of items at once. NumPy
only.

Items of equal values in the columns that a figure reads are of one *kind*: a user's figure is made for each
kind, each level of popularity or each number of events, and then looked up for any item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from shortlist._typing import Array, Doubles, Floats, Longs
from shortlist.features.affinities import units
from shortlist.features.crowds import Scale
from shortlist.features.figures import stated
from shortlist.features.ground import Ground, Key
from shortlist.features.keys import level, numbers
from shortlist.specs.aggregates import POPULARITY, USER, Affinity, Aggregate

MOST_KINDS = 1536
"""Kinds, and numbers of events, that are weighed each with each ahead: 9 MB."""
MOST_CODES = 1 << 14
"""Values of a key that a user's events are counted by."""


class Story(NamedTuple):
    """n events of one user in order of time, all of them seen: item positions, times, the global mean less
    and the items' own mean less (float64), and how many events their items had then."""

    items: Longs
    times: Longs
    above: Doubles
    residuals: Doubles
    popular: Longs


class Taste(NamedTuple):
    """A user's figures, standardised: by kind [C, F], by level of popularity [L, G], by number of events
    of the item [M, H]."""

    kinds: Floats
    levels: Floats
    counts: Floats

    @property
    def size(self) -> int:
        return int(self.kinds.size + self.levels.size + self.counts.size)


@dataclass(frozen=True, eq=False)
class Keyed:
    """An aggregate by user_id and columns of the items: the codes int64 [N + 1, L] of every item's keys,
    those of every kind, -1 unused, and how many codes there are."""

    spec: Aggregate
    items: Longs
    kinds: Longs
    size: int

    def figures(self, story: Story) -> Doubles:
        """By kind, float64 [C]."""
        codes = self.items[story.items]
        flat = np.where(codes < 0, self.size, codes).reshape(-1)
        count = np.bincount(flat, minlength=self.size + 1).astype(np.float64)
        total = count.copy()
        if self.spec.rated:
            values = story.above if self.spec.of == "rating" else story.residuals
            values = values * values if self.spec.statistic == "spread" else values
            weights = np.repeat(values, codes.shape[1])
            total = np.bincount(flat, weights, self.size + 1).astype(np.float64)
        count[-1] = total[-1] = 0  # which is where -1 looks
        if codes.shape[1] == 1:
            return stated(self.spec, count[self.kinds[:, 0]], total[self.kinds[:, 0]])
        return stated(self.spec, count[self.kinds].sum(1), total[self.kinds].sum(1))


@dataclass(frozen=True, eq=False)
class Alike:
    """An affinity: every item's sort int64 [N + 1], every kind's [C], and how alike sorts are, [S, S]."""

    spec: Affinity
    items: Longs
    kinds: Longs
    weights: Floats

    def figures(self, story: Story) -> Doubles:
        """By kind."""
        return _weighed(self.spec, self.weights, self.items[story.items], story.residuals)[self.kinds]


def _weighed(spec: Affinity, weights: Floats, sorts: Longs, residuals: Doubles) -> Doubles:
    """The mean of residuals of events of some sorts, by their likeness to each sort."""
    size = len(weights)
    if 2 * len(sorts) < size:
        values, rows = np.ones((2, len(sorts)), np.float32), weights.take(sorts, axis=0)
        values[0] = residuals
    else:
        both = np.bincount(sorts, residuals, size), np.bincount(sorts, minlength=size)
        values, rows = np.stack(both).astype(np.float32), weights
    sums = values @ rows
    weight = sums[1] + np.float32(spec.shrink)
    mean = np.divide(sums[0], weight, out=np.zeros(size, np.float32), where=weight > 0)
    return np.asarray(mean, np.float64)


@dataclass(frozen=True, eq=False)
class Tastes:
    """What makes tastes of stories. kinds int64 [N + 1]: every item's. Of each figure its column is told."""

    kinds: Longs
    keyed: tuple[tuple[int, Keyed | Alike], ...]
    levelled: tuple[tuple[int, Aggregate], ...]
    counted: tuple[tuple[int, tuple[Affinity, Floats]], ...]
    num_kinds: int
    num_levels: int
    num_counts: int
    scale: Scale

    def of(self, story: Story) -> Taste:
        """Of one user."""
        parts = (
            ([figure.figures(story) for _, figure in self.keyed], self.num_kinds, self.keyed),
            (
                [_levels(spec, story, self.num_levels) for _, spec in self.levelled],
                self.num_levels,
                self.levelled,
            ),
            (
                [_weighed(*both, story.popular, story.residuals) for _, both in self.counted],
                self.num_counts,
                self.counted,
            ),
        )
        return Taste(*(self._scaled(figures, size, named) for figures, size, named in parts))

    def _scaled(self, figures: list[Doubles], size: int, named: tuple[tuple[int, object], ...]) -> Floats:
        if not figures:
            return np.zeros((size, 0), np.float32)
        columns = np.array([column for column, _ in named])
        centre, scale = np.asarray(self.scale.centre)[columns], np.asarray(self.scale.scale)[columns]
        return Scale(centre, scale, self.scale.limit)(np.stack(figures, axis=1))


def _levels(spec: Aggregate, story: Story, size: int) -> Doubles:
    """An aggregate by user_id and popularity, by level."""
    codes = level(story.popular)
    count = np.bincount(codes, minlength=size).astype(np.float64)
    if not spec.rated:
        return stated(spec, count, count)
    values = story.above if spec.of == "rating" else story.residuals
    values = values * values if spec.statistic == "spread" else values
    return stated(spec, count, np.bincount(codes, values, size).astype(np.float64))


def tastes(
    specs: list[tuple[int, Aggregate | Affinity]], ground: Ground, most_events: int, scale: Scale
) -> tuple[Tastes, list[int]]:
    """What makes tastes of such figures of users (all as of "row", without window or last), and the columns
    of those that have too many kinds."""
    places = ground.item_table.rows(np.arange(ground.num_items + 1))
    found: list[tuple[int, Aggregate | Affinity, Longs, int]] = []
    levelled: list[tuple[int, Aggregate]] = []
    counted: list[tuple[int, tuple[Affinity, Floats]]] = []
    left: list[int] = []
    for column, spec in specs:
        if isinstance(spec, Affinity) and spec.near == POPULARITY:
            if most_events < MOST_KINDS:
                counted.append((column, (spec, _crowding(spec, most_events + 1))))
            else:
                left.append(column)
        elif isinstance(spec, Aggregate) and set(spec.by) == {USER, POPULARITY}:
            levelled.append((column, spec))
        else:
            codes, size = _codes(spec, ground, places)
            if size:
                found.append((column, spec, codes, size))
            else:
                left.append(column)
    every = [codes for _, _, codes, _ in found] or [np.zeros((len(places), 1), np.int64)]
    first, kinds = _sorts(np.concatenate(every, axis=1))
    keyed: list[tuple[int, Keyed | Alike]] = []
    for column, spec, codes, size in found:
        if isinstance(spec, Aggregate):
            keyed.append((column, Keyed(spec, codes, codes[first], size)))
        else:
            sorts = codes[:, 0]
            at = np.unique(sorts, return_index=True)[1]
            keyed.append((column, Alike(spec, sorts, sorts[first], likeness(spec, ground, places[at]))))
    num_counts = most_events + 1 if counted else 1
    num_levels = int(level(np.array([most_events]))[0]) + 1
    sizes = len(first), num_levels, num_counts
    made = Tastes(kinds, tuple(keyed), tuple(levelled), tuple(counted), *sizes, scale)
    return made, left


def _crowding(spec: Affinity, size: int) -> Floats:
    """How alike items of 0, 1, ... events are, each with each."""
    near = (np.log1p(np.arange(size)) / spec.width).astype(np.float32)
    apart = near[:, None] - near
    apart *= apart
    apart *= np.float32(-0.5)
    return np.asarray(np.exp(apart, out=apart))


def _codes(spec: Aggregate | Affinity, ground: Ground, places: Longs) -> tuple[Longs, int]:
    """What of every item a figure reads, as codes [N + 1, L], and how many codes there are; 0: too many."""
    table = ground.item_table
    if isinstance(spec, Aggregate):
        key = Key.of(tuple(name for name in spec.by if name != USER), spec.bins, "row").within(table)
        size = table.size(key)
        return table.crossed(key, places), size if size <= MOST_CODES else 0
    read: list[Array] = []
    if spec.tags:
        read.append(np.sort(table.codes[spec.tags, 0], axis=1)[places])
    if spec.near:
        values = np.append(numbers(table.columns[spec.near]), np.nan)[places]
        read.append(np.unique(values, return_inverse=True)[1].reshape(-1, 1))
    first, sorts = _sorts(np.concatenate(read, axis=1))
    return sorts[:, None], len(first) if len(first) <= MOST_KINDS else 0


def _sorts(codes: Longs) -> tuple[Longs, Longs]:
    """Rows of equal codes: the first of each sort, and every row's sort."""
    _, first, sorts = np.unique(codes, axis=0, return_index=True, return_inverse=True)
    return first, sorts.reshape(-1)


def likeness(spec: Affinity, ground: Ground, places: Longs) -> Floats:
    """How alike rows of the items' table are, each with each."""
    table = ground.item_table
    weights: Floats = np.ones((len(places), len(places)), np.float32)
    if spec.tags:
        vectors = units(spec.tags, table)[places]
        weights = vectors @ vectors.T
        weights = weights * weights if spec.power == 2 else weights ** np.float32(spec.power)
    if spec.near:
        values = np.append(numbers(table.columns[spec.near]), np.nan)[places] / spec.width
        near = values.astype(np.float32)
        apart = near[:, None] - near
        weights = weights * np.nan_to_num(np.exp(np.float32(-0.5) * apart * apart))
    return weights
