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
from shortlist.features.running import NONE, Spans
from shortlist.specs.aggregates import ACTIVITY, ITEM, POPULARITY, USER, Affinity

PAIRS = 1 << 22
"""Events by rows weighed at a time."""

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
    out = np.zeros(len(rows))
    for block in _blocks(sought.coded, spans):
        first, stop = spans.start[block[0]], int(spans.stop[block].max())
        events = running.events[first:stop]
        weights = _weights(spec, theirs, events, ours, block)
        entry = np.arange(first, stop)[:, None]
        seen = entry < spans.stop[block] if spec.as_of == "row" else entry != spans.own[block]
        weights *= seen
        total = weights.sum(0, dtype=np.float64) + spec.shrink
        out[block] = np.divide(residuals[events] @ weights, total, out=np.zeros(len(block)), where=total > 0)
    return out


def _blocks(coded: Longs, spans: Spans) -> Iterator[Longs]:
    """Rows of one key, a block of events at a time; rows without events are left out."""
    rows = np.flatnonzero(spans.stop > spans.start)
    rows = rows[np.argsort(coded[rows], kind="stable")]
    new = np.flatnonzero(np.diff(coded[rows])) + 1
    for start, stop in zip([0, *new.tolist()], [*new.tolist(), len(rows)], strict=True):
        if start == stop:
            return
        held = int((spans.stop - spans.start)[rows[start:stop]].max())
        step = max(1, PAIRS // held)
        for at in range(start, stop, step):
            yield rows[at : min(at + step, stop)]


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
    tags = None
    if spec.tags:
        if (key := ("units", spec.tags)) not in ground.cache:
            ground.cache[key] = _units(spec, table)
        tags = ground.cache[key]
    if spec.near and near is None:
        if (key := ("numbers", spec.near)) not in ground.cache:
            ground.cache[key] = np.append(numbers(table.columns[spec.near]), np.nan)
        near = ground.cache[key][places]
    if near is not None:  # two missing numbers are as far apart as one and any other
        near = np.where(np.isnan(near), missing, near / spec.width).astype(np.float32)
    return Side(tags, places, near)


def _weights(spec: Affinity, theirs: Side, events: Longs, ours: Side, block: Longs) -> Floats:
    """float32 [events, rows]"""
    weights: Floats = np.ones((len(events), len(block)), np.float32)
    if theirs.tags is not None and ours.tags is not None:
        weights = theirs.tags[theirs.places[events]] @ ours.tags[ours.places[block]].T
        if spec.power != 1:
            weights = weights * weights if spec.power == 2 else weights ** np.float32(spec.power)
    if theirs.near is not None and ours.near is not None:
        apart = theirs.near[events][:, None] - ours.near[block]
        apart *= apart
        apart *= -0.5
        weights = weights * np.exp(apart, out=apart)
    return weights


def _units(spec: Affinity, table: Table) -> Floats:
    """A vector of length 1 for every row of a table and zeros for an unknown one, float32 [N + 1, V]."""
    codes, size = table.codes[spec.tags, 0], table.codings[spec.tags, 0].size
    if len(codes) * size > MOST:
        raise SpecError(
            f"Affinity.tags is {spec.tags!r}, which has {size:,} values in {len(codes) - 1:,} rows: too many",
            hint="use Aggregate with the column in its key",
        )
    vectors = np.zeros((len(codes), size), np.float32)
    row, slot = np.nonzero(codes != NONE)
    vectors[row, codes[row, slot]] = 1
    length = np.sqrt(vectors.sum(1, keepdims=True))
    return np.divide(vectors, length, out=vectors, where=length > 0)
