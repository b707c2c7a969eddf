"""What a user's own events make of items they were never seen with, for all kinds of items at once. NumPy
only.

Items of equal values in the columns that a figure reads are of one *kind*: a user's figure is made for each
kind, each level of popularity or each number of events, and then looked up for any item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
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
_MEMBERS = 1 << 18
"""Codes times kinds, up to which it is tabled which has which."""
_STEPS = 64
"""How often events are added to sums, each time with a rounding, before they are made anew."""
_SAME = 1e-9
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


class Tales(NamedTuple):
    """Stories of m users, one after the other: those of the u-th are [first[u], first[u + 1]). row int64 [n]:
    whose each event is; the others as in `Story`."""

    first: Longs
    row: Longs
    items: Longs
    times: Longs
    above: Doubles
    residuals: Doubles
    popular: Longs

    @classmethod
    def of(cls, stories: Sequence[Story]) -> Tales:
        counts = [len(story.items) for story in stories]
        first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        row = np.repeat(np.arange(len(counts)), counts)
        return cls(first, row, *map(np.concatenate, zip(*stories, strict=True)))

    @property
    def sizes(self) -> Longs:
        """How many events each user has."""
        counts: Longs = np.diff(self.first)
        return counts

    def summed(self, codes: Longs, size: int, values: Doubles | None = None) -> Doubles:
        """How many events of each code below `size` users have, or what values of these add up to: [m, size].
        codes: [n], or [n, L]."""
        num = len(self.first) - 1
        own = self.row if codes.ndim == 1 else self.row[:, None]
        flat = (own * size + codes).reshape(-1)
        if values is not None and codes.ndim == 2:
            values = np.repeat(values, codes.shape[1])
        return np.bincount(flat, values, num * size).astype(np.float64).reshape(num, size)


class Taste(NamedTuple):
    """A user's figures, standardised: by kind [C, F], by level of popularity [L, G], by number of events
    of the item [M, H]. story: what they are made of; sums: of each figure by likeness what its events weigh,
    float32 [2, S]; steps: how often events were added to these since they were made anew."""

    kinds: Floats
    levels: Floats
    counts: Floats
    story: Story
    sums: tuple[Floats, ...]
    steps: int

    @property
    def size(self) -> int:
        own = self.kinds.size + self.levels.size + self.counts.size + 8 * len(self.story.items)
        return int(own + sum(sums.size for sums in self.sums))

    def leads_to(self, story: Story) -> bool:
        """Whether a story is this one and more."""
        num, own = len(self.story.items), self.story
        return (
            self.steps < _STEPS
            and num <= len(story.items)
            and bool((own.items == story.items[:num]).all() and (own.popular == story.popular[:num]).all())
            and bool((np.abs(own.residuals - story.residuals[:num]) < _SAME).all())
        )


@dataclass(frozen=True, eq=False)
class Keyed:
    """An aggregate by user_id and columns of the items: the codes int64 [N + 1, L] of every item's keys,
    those of every kind, -1 unused, and how many codes there are."""

    spec: Aggregate
    items: Longs
    kinds: Longs
    size: int

    def figures(self, tales: Tales) -> tuple[Doubles, Longs | None]:
        """Of m users, float64 [m, any], and where each kind finds its own; None: at its own place."""
        codes = self.items[tales.items]
        codes = np.where(codes < 0, self.size, codes)
        count = tales.summed(codes, self.size + 1)
        total = count
        if self.spec.rated:
            values = tales.above if self.spec.of == "rating" else tales.residuals
            values = values * values if self.spec.statistic == "spread" else values
            total = tales.summed(codes, self.size + 1, values)
        count[:, -1] = total[:, -1] = 0  # which is where -1 looks
        if codes.shape[1] == 1:
            return stated(self.spec, count, total), self.kinds[:, 0]
        return stated(self.spec, self._joined(count), self._joined(total)), None

    @cached_property
    def _members(self) -> Doubles | None:
        """How often each kind has each code, [size + 1, C], where these are few."""
        if (self.size + 1) * len(self.kinds) > _MEMBERS:
            return None
        members = np.zeros((self.size + 1, len(self.kinds)))
        np.add.at(members, (self.kinds, np.arange(len(self.kinds))[:, None]), 1)
        return members

    def _joined(self, values: Doubles) -> Doubles:
        """What each kind's codes [m, size + 1] add up to."""
        if self._members is not None:
            return np.asarray(values @ self._members)
        out = values.take(self.kinds[:, 0], axis=1)
        for place in range(1, self.kinds.shape[1]):
            out += values.take(self.kinds[:, place], axis=1)
        return out


@dataclass(frozen=True, eq=False)
class Alike:
    """An affinity: every item's sort int64 [N + 1], every kind's [C], and how alike sorts are, [S, S]."""

    spec: Affinity
    items: Longs
    kinds: Longs
    weights: Floats

    def sums(self, tales: Tales, begun: Begun) -> Floats:
        """See `_weighed`."""
        return _weighed(self.weights, tales, self.items[tales.items], begun)


Begun = Sequence[tuple[int, Floats | None]]
"""Of each user how many events are weighed already, and what they are, [2, S]."""


def _weighed(weights: Floats, tales: Tales, sorts: Longs, begun: Begun) -> Floats:
    """What users' events of some sorts weigh by their likeness to each sort: residuals and numbers,
    [m, 2, S]."""
    size = len(weights)
    sums = np.empty((len(begun), 2, size), np.float32)
    for user, (start, stop) in enumerate(pairwise(tales.first.tolist())):
        done, before = begun[user]
        own, values = sorts[start + done : stop], tales.residuals[start + done : stop]
        if 2 * len(own) < size:
            part, rows = np.ones((2, len(own)), np.float32), weights.take(own, axis=0)
            part[0] = values
        else:
            both = np.bincount(own, values, size), np.bincount(own, minlength=size)
            part, rows = np.stack(both).astype(np.float32), weights
        np.matmul(part, rows, out=sums[user])
        if before is not None:
            sums[user] += before
    return sums


def _mean(spec: Affinity, sums: Floats) -> Floats:
    """The means of users' residuals, [m, S]."""
    weight = sums[:, 1] + np.float32(spec.shrink)
    none = np.zeros(weight.shape, np.float32)
    mean: Floats = np.divide(sums[:, 0], weight, out=none, where=weight > 0)
    return mean


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

    def of(self, stories: Sequence[Story], before: Sequence[Taste | None]) -> list[Taste]:
        """Of m users. before: their tastes as of fewer events, to which the later ones are added."""
        tales, num = Tales.of(stories), len(stories)
        done = [0 if taste is None else len(taste.story.items) for taste in before]
        weighed: list[Floats] = []

        def begun() -> Begun:
            place = len(weighed)
            held = [None if taste is None else taste.sums[place] for taste in before]
            return list(zip(done, held, strict=True))

        kinds = np.empty((num, self.num_kinds, len(self.keyed)), np.float32)
        for place, (column, figure) in enumerate(self.keyed):
            if isinstance(figure, Keyed):
                values, at = figure.figures(tales)
                scaled = self.scale.of(column)(values)
            else:
                weighed.append(figure.sums(tales, begun()))
                scaled, at = self.scale.of(column)(_mean(figure.spec, weighed[-1])), figure.kinds
            kinds[:, :, place] = scaled if at is None else scaled.take(at, axis=1)
        levels = np.empty((num, self.num_levels, len(self.levelled)), np.float32)
        for place, (column, spec) in enumerate(self.levelled):
            levels[:, :, place] = self.scale.of(column)(_levels(spec, tales, self.num_levels))
        counts = np.empty((num, self.num_counts, len(self.counted)), np.float32)
        for place, (column, (affinity, weights)) in enumerate(self.counted):
            weighed.append(_weighed(weights, tales, tales.popular, begun()))
            counts[:, :, place] = self.scale.of(column)(_mean(affinity, weighed[-1]))
        return [
            Taste(
                kinds[user].copy(),
                levels[user].copy(),
                counts[user].copy(),
                story,
                tuple(sums[user].copy() for sums in weighed),
                0 if (taste := before[user]) is None else taste.steps + 1,
            )
            for user, story in enumerate(stories)
        ]


def _levels(spec: Aggregate, tales: Tales, size: int) -> Doubles:
    """An aggregate by user_id and popularity, by level: [m, size]."""
    codes = level(tales.popular)
    count = tales.summed(codes, size)
    if not spec.rated:
        return stated(spec, count, count)
    values = tales.above if spec.of == "rating" else tales.residuals
    values = values * values if spec.statistic == "spread" else values
    return stated(spec, count, tales.summed(codes, size, values))


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
