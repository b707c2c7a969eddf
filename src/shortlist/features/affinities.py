"""Affinities: how a user's residuals of items like the row's weigh up, in blocks of a user's events by rows.

The mirror image weighs an item's residuals by the likeness of their users.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from shortlist._typing import Doubles, Floats, Longs
from shortlist.errors import SpecError
from shortlist.features.figures import Rows
from shortlist.features.ground import Ground, Key
from shortlist.features.keys import Table, numbers
from shortlist.features.running import NONE, Spans, distinct
from shortlist.specs.aggregates import ACTIVITY, ITEM, POPULARITY, USER, Affinity

BLOCK = 256
"""Rows of one key weighed at a time."""

PAIRS = 1 << 20
"""Pairs of an event and a row weighed at a time, where rows have keys of their own."""

CROWD = 4
"""Rows a key from which on it pays to weigh all its events for all its rows."""

MOST = 1 << 27
"""Entities by values of a column of tags that may be held at once."""


class Side(NamedTuple):
    """What events, or rows, are compared by: unit vectors of tags [N + 1, V] with the place of each in them,
    and numbers in units of the width. None where it does not matter."""

    tags: Floats | None
    places: Longs
    near: Floats | None


def affinity(spec: Affinity, rows: Rows) -> Doubles:
    """The weighted mean of residuals of each row, float64 [n]."""
    key, ground = Key.of((spec.by,), 0, spec.as_of), rows.ground(spec.by)
    sought = rows.sought(key, ground, spec.as_of)
    running = ground.running(key)
    spans = running.spans(sought.coded, sought.times, sought.own, spec.as_of, 0.0, 0)
    theirs, ours = _their_side(spec, ground), _our_side(spec, rows, ground)
    residuals = ground.residuals("items" if spec.by == USER else "users", spec.as_of).astype(np.float32)
    seen = np.flatnonzero(spans.stop > spans.start)
    seen = seen[np.lexsort((spans.stop[seen], sought.coded[seen]))]
    new = np.flatnonzero(np.diff(sought.coded[seen])) + 1
    sums = np.zeros((2, len(rows)))
    if len(seen) < CROWD * (len(new) + 1):
        for block in _pieces(seen, np.cumsum((spans.stop - spans.start)[seen])):
            sums[:, block] = _one_by_one(spec, running.events, residuals, spans, theirs, ours, block)
    else:
        for alike in np.split(seen, new):
            for first in range(0, len(alike), BLOCK):
                block = alike[first : first + BLOCK]
                sums[:, block] = _crowded(spec, running.events, residuals, spans, theirs, ours, block)
    weight = sums[1] + spec.shrink
    mean: Doubles = np.divide(sums[0], weight, out=np.zeros(len(rows)), where=weight > 0)
    return mean


def _pieces(rows: Longs, pairs: Longs) -> Iterator[Longs]:
    """Rows in pieces of about PAIRS pairs, whose running number is given."""
    cuts = np.searchsorted(pairs, np.arange(PAIRS, pairs[-1] if len(pairs) else 0, PAIRS))
    yield from np.split(rows, distinct(cuts + 1))


def _crowded(
    spec: Affinity, entries: Longs, residuals: Floats, spans: Spans, theirs: Side, ours: Side, block: Longs
) -> Floats:
    """Sums of weighted residuals and of weights, [2, rows], for rows of one key: its events by all rows."""
    first, stop = int(spans.start[block[0]]), int(spans.stop[block].max())
    events = entries[first:stop]
    weights: Floats = np.ones((len(events), len(block)), np.float32)
    if theirs.tags is not None and ours.tags is not None:
        weights = theirs.tags[theirs.places[events]] @ ours.tags[ours.places[block]].T
    near = None
    if theirs.near is not None and ours.near is not None:
        near = theirs.near[events][:, None] - ours.near[block]
    weights = _weights(spec, weights, near)
    if spec.as_of == "row":
        weights *= np.arange(first, stop)[:, None] < spans.stop[block]
    own = np.flatnonzero(spans.holds_own[block])
    weights[spans.own[block[own]] - first, own] = 0
    return np.stack([residuals[events], np.ones(len(events), np.float32)]) @ weights


def _one_by_one(
    spec: Affinity, entries: Longs, residuals: Floats, spans: Spans, theirs: Side, ours: Side, block: Longs
) -> Doubles:
    """The same for rows of any keys, each with its own events."""
    held = (spans.stop - spans.start)[block]
    which = np.repeat(np.arange(len(block)), held)
    entry = np.arange(len(which)) + (spans.start[block] - np.cumsum(held) + held)[which]
    events, rows = entries[entry], block[which]
    weights: Floats = np.ones(len(events), np.float32)
    if theirs.tags is not None and ours.tags is not None:
        left, right = theirs.tags[theirs.places[events]], ours.tags[ours.places[rows]]
        weights = np.einsum("ij,ij->i", left, right)
    near = None
    if theirs.near is not None and ours.near is not None:
        near = theirs.near[events] - ours.near[rows]
    weights = _weights(spec, weights, near)
    weights[entry == spans.own[rows]] = 0
    sums = [np.bincount(which, values, len(block)) for values in (residuals[events] * weights, weights)]
    return np.stack(sums)


def _weights(spec: Affinity, cosines: Floats, apart: Floats | None) -> Floats:
    """Weights by cosines and by differences in units of the width, any shape; overwrites the differences."""
    weights = cosines
    if spec.tags and spec.power != 1:
        weights = weights * weights if spec.power == 2 else weights ** np.float32(spec.power)
    if apart is not None:
        apart *= apart
        apart *= -0.5
        weights = weights * np.exp(apart, out=apart)
    return weights


def _their_side(spec: Affinity, ground: Ground) -> Side:
    """The events'; kept with their log."""
    if spec not in ground.cache:
        log = ground.log
        users = spec.by == ITEM
        table, others = (ground.user_table, ground.users) if users else (ground.item_table, log.items)
        near = None
        if spec.near in (POPULARITY, ACTIVITY):
            near = np.log1p(ground.counts(spec.near, ground.users, log.items, log.times, spec.as_of))
        ground.cache[spec] = _side(spec, ground, table, others.astype(np.int64), near, 1e9)
    found: Side = ground.cache[spec]
    return found


def _our_side(spec: Affinity, rows: Rows, ground: Ground) -> Side:
    """The rows'."""
    users = spec.by == ITEM
    table, mine = (rows.mine.user_table, rows.at.users) if users else (ground.item_table, rows.items)
    near = np.log1p(rows.counts(spec.near, spec.as_of)) if spec.near in (POPULARITY, ACTIVITY) else None
    return _side(spec, rows.mine, table, mine, near, -1e9)


def _side(
    spec: Affinity, ground: Ground, table: Table, entities: Longs, near: Doubles | None, missing: float
) -> Side:
    places = table.rows(entities)
    tags = scaled = None
    if spec.tags:
        if (key := ("units", spec.tags)) not in ground.cache:
            ground.cache[key] = units(spec.tags, table)
        tags = ground.cache[key]
    if spec.near and near is None:
        if (key := ("numbers", spec.near)) not in ground.cache:
            ground.cache[key] = np.append(numbers(table.columns[spec.near]), np.nan)
        near = ground.cache[key][places]
    if near is not None:  # two missing numbers are as far apart as one and any other
        scaled = np.where(np.isnan(near), missing, near / spec.width).astype(np.float32)
    return Side(tags, places, scaled)


def units(tags: str, table: Table) -> Floats:
    """A vector of length 1 for every row of a table and zeros for an unknown one, float32 [N + 1, V]."""
    codes, size = table.codes[tags, 0], table.codings[tags, 0].size
    if len(codes) * size > MOST:
        raise SpecError(
            f"the column of tags {tags!r} has {size:,} values in {len(codes) - 1:,} rows: too many",
            hint="use Aggregate with the column in its key",
        )
    vectors = np.zeros((len(codes), size), np.float32)
    row, slot = np.nonzero(codes != NONE)
    vectors[row, codes[row, slot]] = 1
    length = np.sqrt(vectors.sum(1, keepdims=True))
    np.divide(vectors, length, out=vectors, where=length > 0)
    return vectors
