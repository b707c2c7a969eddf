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

_NEAR = np.float32(1e-5)  # of the largest score found, where nothing is known of the vectors
_HALF = 2.0**-24  # of a float32: what one sum is rounded by at most, relative to it
_SMALL, _LARGE = 1e-30, 1e30  # sums of squares that have lost nothing
_LEAST, _MOST = float(np.finfo(np.float32).min), float(np.finfo(np.float32).max)
_TINY = 2.0**-149  # what a product is rounded by where it has lost its size
_PAIRS = 1 << 14  # multiplied at once
_TAKEN = 1 << 11  # vectors of candidates taken at once: they stay in a core's caches

Again = Callable[[Longs, Longs], Floats]
"""(rows [n], columns [n]) -> their scores [n], whatever the others are."""


def products(queries: Floats, rows: Longs, vectors: Callable[[Longs], Floats], at: Longs) -> Floats:
    """Inner products [n] of queries[rows] and vectors(at), each computed in the same way."""
    out = np.empty(len(rows), np.float32)
    for part in blocks(len(rows), _PAIRS):
        out[part] = np.einsum("nd,nd->n", queries[rows[part]], vectors(at[part]))
    return out


def scored(queries: Floats, near: Longs, vectors: Callable[[Longs], Floats]) -> Floats:
    """Inner products [b, f] of each query and the vectors of its positions [b, f], as `products` computes
    them; -inf where the position is -1."""
    out = np.empty(near.shape, np.float32)
    for part in blocks(len(near), max(1, _TAKEN // max(1, near.shape[1]))):
        at = np.maximum(near[part], 0)
        found = vectors(at.reshape(-1)).reshape(*at.shape, queries.shape[1])
        for query, own, row in zip(queries[part], found, out[part], strict=True):
            np.einsum("fd,d->f", own, query, out=row)
    out[near < 0] = -np.inf
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


def slack_for(queries: Floats, longest: float, bonus: float = 0.0) -> Floats:
    """How near the scores of each query [b, d] may lie that are to be told apart, float32 [b].

    longest: length of the longest vector; bonus: what may have been added.

    The products of one pair differ by what their d sums are rounded by: with lengths, not with the score,
    which may be 0. Of d = 8 to 512 they differed by at most half of this.
    """
    width, wide = queries.shape[1], queries.astype(np.float64)
    lengths = np.sqrt(np.einsum("bd,bd->b", wide, wide))
    with np.errstate(invalid="ignore"):  # of queries that are not finite
        slack = _HALF * ((2 * width**0.5 + 4) * longest * lengths + 4 * abs(bonus)) + width * _TINY
        return np.asarray(np.minimum(slack, _MOST), np.float32)


def slack_of_one(query: Floats, longest: float, bonus: float = 0.0) -> float:
    """`slack_for` of one query [1, d], in less time."""
    square, width = float(np.vdot(query, query)), query.shape[1]
    if not _SMALL < square < _LARGE:
        return float(slack_for(query, longest, bonus)[0])
    apart: float = _HALF * (2 * width**0.5 + 4) * longest * square**0.5 + width * _TINY
    return min(apart + 4 * _HALF * abs(bonus) if bonus else apart, _MOST)


def best(
    scores: Floats, k: int, again: Again, mask: Bools | None = None, slack: Floats | float | None = None
) -> tuple[Ints, Floats]:
    """`top_k` of float32 scores [b, N], at most N columns wide, near ties settled by what `again` gives.
    slack: what `slack_for` says; without it, what `slack_of` does."""
    size = scores.shape[1]
    positions, found = top_k(scores, min(k + 1, size), mask)
    if len(found) == 1 and _apart(positions[0], found[0], slack):
        return positions[:, :k], found[:, :k]
    with np.errstate(invalid="ignore", over="ignore"):  # of scores that are not finite
        return _settled(scores, positions, found, k, again, mask, slack)


def _settled(
    scores: Floats,
    positions: Ints,
    found: Floats,
    k: int,
    again: Again,
    mask: Bools | None,
    slack: Floats | float | None,
) -> tuple[Ints, Floats]:
    if not isinstance(slack, np.ndarray):
        slack = slack_of(positions, found) if slack is None else np.full(len(found), slack, np.float32)
    near = found[:, 1:] >= found[:, :-1] - slack[:, None]
    row, column = np.divmod(np.flatnonzero(near), max(1, near.shape[1]))
    there = positions[row, column + 1] >= 0
    row, column = row[there], column[there]
    _settle(positions, found, row, column, again)
    for edge in row[column == k - 1]:  # what lies as near to the k-th may be any number
        values = scores[edge] if mask is None else np.where(mask, scores[edge], np.float32(-np.inf))
        least = max(values[positions[edge, :k]].min() - slack[edge], _LEAST)
        at = np.flatnonzero(values >= least)  # never what is masked
        order = np.argsort(-values[at], kind="stable")
        places: Ints = at[order].astype(np.int32)[None]
        value = values[places]
        close = np.flatnonzero(value[0, 1:] >= value[0, :-1] - slack[edge])
        _settle(places, value, np.zeros_like(close), close, partial(_of_row, again, edge))
        positions[edge, :k], found[edge, :k] = places[0, :k], value[0, :k]
    return positions[:, :k], found[:, :k]


def _of_row(again: Again, row: int, _rows: Longs, columns: Longs) -> Floats:
    return again(np.full(len(columns), row), columns)


def _apart(positions: Ints, found: Floats, slack: Floats | float | None) -> bool:
    """Whether one row needs no second look; the same as for many, in less time."""
    if positions[-1] < 0 or len(found) < 2:
        return False
    least = max(abs(found[0]), abs(found[-1])) * _NEAR if slack is None else slack
    if not least < _LARGE:  # differences may be beyond all numbers
        return False
    return bool(np.minimum.reduce(found[:-1] - found[1:]) > least)


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
    known, scores = found[both, columns], again(both, positions[both, columns].astype(np.int64))
    lost = np.isnan(scores)  # infinite sums of both signs
    found[both, columns] = np.where(lost, known, scores) if lost.any() else scores
    one, other = found[row, column], found[row, column + 1]
    wrong = (one < other) | ((one == other) & (positions[row, column] > positions[row, column + 1]))
    if wrong.any():
        rows = np.unique(row[wrong])
        order = np.lexsort((positions[rows], -found[rows]), axis=-1)
        positions[rows] = np.take_along_axis(positions[rows], order, 1)
        found[rows] = np.take_along_axis(found[rows], order, 1)
