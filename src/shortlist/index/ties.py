"""The best of each row of scores, ties settled by scores that do not depend on what else was asked.

A matrix product gives one and the same pair of vectors other last bits at another place of the matrix or in a
larger batch. Scores that lie as near to each other as that are computed again, pair by pair, always in the
same order of summation: items with the same vector then tie, and a batch orders them as single queries do.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from shortlist._typing import Bools, Floats, Ints, Longs
from shortlist.index.rows import blocks
from shortlist.index.top import top_k

_NEAR = np.float32(1e-5)  # of the largest score found: many times what matrix products differ by
_PAIRS = 1 << 14  # multiplied at once

Again = Callable[[Longs, Longs], Floats]
"""(rows [n], columns [n]) -> their scores [n], whatever the others are."""


def products(queries: Floats, rows: Longs, vectors: Callable[[Longs], Floats], at: Longs) -> Floats:
    """Inner products [n] of queries[rows] and vectors(at), each computed in the same way."""
    out = np.empty(len(rows), np.float32)
    for part in blocks(len(rows), _PAIRS):
        out[part] = np.einsum("nd,nd->n", queries[rows[part]], vectors(at[part]))
    return out


def favoured(rows: Longs, at: Longs, had_rows: Longs, had: Ints, amount: float) -> Floats:
    """What is added to the scores of these pairs [n]: the amount where they are among those that had it. The
    latter ascend."""
    width = np.int64(1) << 32
    those, keys = had_rows.astype(np.int64) * width + had, rows * width + at
    if not len(those):
        return np.zeros(len(keys), np.float32)
    own = those[np.minimum(np.searchsorted(those, keys), len(those) - 1)] == keys
    return np.where(own, np.float32(amount), np.float32(0))


def best(scores: Floats, k: int, again: Again, mask: Bools | None = None) -> tuple[Ints, Floats]:
    """`top_k` of float32 scores [b, N], at most N columns wide, near ties settled by what `again` gives."""
    size = scores.shape[1]
    positions, found = top_k(scores, min(k + 1, size), mask)
    if len(found) == 1 and _apart(positions[0], found[0]):
        return positions[:, :k], found[:, :k]
    slack = slack_of(positions, found)
    near = found[:, 1:] >= found[:, :-1] - slack[:, None]
    row, column = np.divmod(np.flatnonzero(near), max(1, near.shape[1]))
    there = positions[row, column + 1] >= 0
    row, column = row[there], column[there]
    _settle(positions, found, row, column, again)
    for edge in row[column == k - 1]:  # what lies as near to the k-th may be any number
        values = scores[edge] if mask is None else np.where(mask, scores[edge], np.float32(-np.inf))
        at = np.flatnonzero(values >= values[positions[edge, :k]].min() - slack[edge])
        order = np.argsort(-values[at], kind="stable")
        places: Ints = at[order].astype(np.int32)[None]
        value = values[places]
        close = np.flatnonzero(value[0, 1:] >= value[0, :-1] - slack[edge])
        _settle(places, value, np.zeros_like(close), close, partial(_of_row, again, edge))
        positions[edge, :k], found[edge, :k] = places[0, :k], value[0, :k]
    return positions[:, :k], found[:, :k]


def _of_row(again: Again, row: int, _rows: Longs, columns: Longs) -> Floats:
    return again(np.full(len(columns), row), columns)


def _apart(positions: Ints, found: Floats) -> bool:
    """Whether one row needs no second look; the same as for many, in less time."""
    if positions[-1] < 0 or len(found) < 2:
        return False
    return bool((found[:-1] - found[1:]).min() > max(abs(found[0]), abs(found[-1])) * _NEAR)


def slack_of(positions: Ints, found: Floats) -> Floats:
    """How near scores may lie that are to be told apart [b], of the best found, best first."""
    first, last = np.abs(found[:, 0]), np.abs(found[:, -1])
    if last.max(initial=0) == np.inf:
        last = np.abs(np.where(positions >= 0, found, np.float32(0))).max(axis=1)
        first = np.minimum(first, last)
    return np.maximum(first, last) * _NEAR


def _settle(positions: Ints, found: Floats, row: Longs, column: Longs, again: Again) -> None:
    """Order candidates [n, w], of which those at (row, column) lie near to the next, in place."""
    if not len(row):
        return
    both, columns = np.concatenate([row, row]), np.concatenate([column, column + 1])
    found[both, columns] = again(both, positions[both, columns].astype(np.int64))
    one, other = found[row, column], found[row, column + 1]
    wrong = (one < other) | ((one == other) & (positions[row, column] > positions[row, column + 1]))
    if wrong.any():
        rows = np.unique(row[wrong])
        order = np.lexsort((positions[rows], -found[rows]), axis=-1)
        positions[rows] = np.take_along_axis(positions[rows], order, 1)
        found[rows] = np.take_along_axis(found[rows], order, 1)
