"""The best of each row of scores, in NumPy, in little more time than it takes to look at the scores once.

Maxima of groups of columns bound the k-th best score from below: k groups have maxima of at least that much.
Only scores that reach the bound are looked at again, and these few are sorted as whole numbers that hold
score and position. Slates are ordered by score descending, then catalogue position ascending.
"""

from __future__ import annotations

import numpy as np

from shortlist._typing import Array, Bools, Floats, Ints, Longs
from shortlist.errors import RequestError
from shortlist.index.ranks import require_no_nan

_SIGN, _LOW = np.int32(0x7FFFFFFF), np.int64(0xFFFFFFFF)
_LEAST = np.finfo(np.float32).min
_NO_KEY = np.iinfo(np.int64).max
_RUN = 256  # columns: long runs of them are compared fastest
_GROUPS = 4  # groups of columns for each of the k: fewer bound worse, more take longer to compare


def top_k(scores: Array, k: int, mask: Bools | None = None) -> tuple[Ints, Array]:
    """The k best candidates a row: positions int32 [b, k] and their scores [b, k].

    `scores` [b, N]; `mask` (bool, [b, N] or [N]) is True where a candidate may be returned. The order
    is score descending, then position ascending, ties at the k-th place included. Candidates that
    are masked or score -inf are never returned: what is missing is padded with -1 and -inf.
    Raises `RequestError` when k < 1 and `DataError` when a score is NaN.
    """
    if k < 1:
        raise RequestError(f"k is {k}; at least one candidate must be asked for", hint="use k >= 1")
    num_rows, num_items = scores.shape
    if mask is not None or scores.dtype != np.float32 or not scores.size:
        require_no_nan(scores)
    if mask is not None:
        scores = np.where(mask, scores, np.asarray(-np.inf, scores.dtype))
    width = min(k, num_items)
    if scores.dtype != np.float32 or not scores.size:
        return _by_partition(scores, k, width)
    maxima = _maxima(scores, max(256, _GROUPS * width))
    peak = maxima.max()
    if peak != peak:
        require_no_nan(scores)
    place = maxima.shape[1] - width
    if maxima is scores:
        maxima = maxima.copy()
    maxima.partition(place, axis=1)
    edge = maxima[:, place]
    if num_rows == 1:
        return _of_one(scores[0], max(edge[0], _LEAST), k)
    counts, columns = _reaching(scores, np.maximum(edge, _LEAST))
    return _of_many(scores, counts, columns, k, width)


def _reaching(scores: Floats, edge: Floats) -> tuple[Longs, Longs]:
    """How many scores [b, N] of each row are at least its edge [b], and the columns of all of them.

    Few are, and eight truths looked at as one number take far less time than eight.
    """
    num_rows, num_items = scores.shape
    padded = -(-num_items // 8) * 8
    kept = np.zeros((num_rows, padded), np.bool_)
    np.greater_equal(scores, edge[:, None], out=kept[:, :num_items])
    eights = kept.view(np.uint64).reshape(-1)
    some = np.flatnonzero(eights != 0)
    place = np.flatnonzero(eights[some].view(np.bool_))
    at = (some[place >> 3] << 3) + (place & 7)
    firsts = np.arange(num_rows + 1) * padded
    bounds = np.searchsorted(at, firsts)
    counts = bounds[1:] - bounds[:-1]
    return counts, at - np.repeat(firsts[:-1], counts)


def _maxima(scores: Floats, groups: int) -> Floats:
    """The largest scores of each of at least `groups` groups of columns [b, G]; NaN where one is NaN."""
    while scores.shape[1] >= 2 * groups:
        # long runs of columns are compared fastest
        parts = max(2, min(16, scores.shape[1] // max(groups, _RUN)))
        width = scores.shape[1] // parts
        wide = scores[:, : parts * width].reshape(len(scores), parts, width)
        found = np.maximum.reduce(wide, axis=1)
        rest = scores[:, parts * width :]
        if rest.shape[1]:
            np.maximum(found[:, : rest.shape[1]], rest, out=found[:, : rest.shape[1]])
        scores = found
    return scores


def _of_one(scores: Floats, edge: float, k: int) -> tuple[Ints, Floats]:
    """The best of one row among the scores that reach the bound."""
    at = (scores >= edge).nonzero()[0]
    values = scores[at]
    order = (-values).argsort(kind="stable")[:k]
    if len(order) == k:
        return at[order].astype(np.int32)[None], values[order][None]
    positions, best = np.full((1, k), -1, np.int32), np.full((1, k), -np.inf, np.float32)
    positions[0, : len(order)], best[0, : len(order)] = at[order], values[order]
    return positions, best


def _of_many(scores: Floats, counts: Longs, columns: Longs, k: int, width: int) -> tuple[Ints, Floats]:
    """The best of each row among scores [b, N]: so many of each row, at these columns [n], row after row."""
    num_rows, num_items = scores.shape
    widest = int(counts.max())
    if widest > 4 * width + 64:  # very many ties at the bound
        return _by_partition(scores, k, width)
    rows = np.arange(num_rows)
    values = scores.reshape(-1)[np.repeat(rows * num_items, counts) + columns]
    keys = np.full((num_rows, max(widest, 1)), _NO_KEY)
    keys.reshape(-1)[flat_places(counts, widest)] = _keys(values, columns)
    keys.sort(axis=1)
    return _decoded(keys[:, :k], k)


def flat_places(counts: Longs, widest: int) -> Longs:
    """The flat places that `counts` values of each row have in rows as wide as the widest."""
    starts = np.cumsum(counts) - counts
    places: Longs = np.arange(counts.sum()) + np.repeat(np.arange(len(counts)) * widest - starts, counts)
    return places


def _keys(values: Floats, positions: Longs) -> Longs:
    """Whole numbers that are in order of score descending, then position ascending."""
    bits = (values + np.float32(0)).view(np.int32)  # -0.0 equals 0.0, and is made it
    ordered = bits ^ ((bits >> 31) & _SIGN)
    return ((~ordered).astype(np.int64) << 32) | positions


def _decoded(keys: Longs, k: int) -> tuple[Ints, Floats]:
    ordered = ~(keys >> 32).astype(np.int32)
    values = (ordered ^ ((ordered >> 31) & _SIGN)).view(np.float32)
    found = (keys & _LOW).astype(np.int32)
    if keys.shape[1] == k and keys[:, -1].max() != _NO_KEY:
        return found, values
    positions = np.full((len(keys), k), -1, np.int32)
    best = np.full((len(keys), k), -np.inf, np.float32)
    there = keys != _NO_KEY
    positions[:, : keys.shape[1]][there] = found[there]
    best[:, : keys.shape[1]][there] = values[there]
    return positions, best


def _by_partition(scores: Array, k: int, width: int) -> tuple[Ints, Array]:
    """The same of any numbers, ties settled row by row."""
    positions = np.full((len(scores), k), -1, np.int32)
    best = np.full((len(scores), k), -np.inf, scores.dtype)
    if width and len(scores):
        chosen = _best_positions(scores, width)
        values = np.take_along_axis(scores, chosen, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        best[:, :width] = np.take_along_axis(values, order, axis=1)
        positions[:, :width] = np.take_along_axis(chosen, order, axis=1)
        positions[np.isneginf(best)] = -1
    return positions, best


def _best_positions(scores: Array, k: int) -> Longs:
    """Positions of the k best of each row, ascending; ties at the edge go to the lower position."""
    num_rows, num_items = scores.shape
    if k == num_items:
        return np.broadcast_to(np.arange(num_items), scores.shape)
    edge = np.partition(scores, num_items - k, axis=1)[:, num_items - k, None]
    keep = scores >= edge
    for row in np.flatnonzero(np.count_nonzero(keep, axis=1) > k):
        tied = np.flatnonzero(scores[row] == edge[row])
        room = k - np.count_nonzero(scores[row] > edge[row])
        keep[row, tied[room:]] = False
    return np.nonzero(keep)[1].reshape(num_rows, k)


def top_of_pairs(rows: Longs, positions: Longs, scores: Floats, num_rows: int, k: int) -> tuple[Ints, Floats]:
    """`top_k` of scattered (row, position, score) triples [n], none of them twice."""
    there = scores > -np.inf
    if not there.all():
        rows, positions, scores = rows[there], positions[there], scores[there]
    order = np.argsort(rows, kind="stable")
    counts = np.bincount(rows, minlength=num_rows)
    keys = np.full((num_rows, max(int(counts.max(initial=0)), 1)), _NO_KEY)
    keys.reshape(-1)[flat_places(counts, keys.shape[1])] = _keys(scores[order], positions[order])
    keys.sort(axis=1)
    return _decoded(keys[:, :k], k)


def top_of_found(positions: Longs, scores: Floats, k: int) -> tuple[Ints, Floats]:
    """`top_k` of what was found, positions [b, f] and scores [b, f], no position twice in a row; -inf where
    there is nothing."""
    keys = np.where(scores > -np.inf, _keys(scores, positions), _NO_KEY)
    keys.sort(axis=1)
    return _decoded(keys[:, :k], k)
