"""The nearest of all vectors to many of them, exactly: tile by tile of a matrix product that stays in cache.

A search of the exact index reads every vector for a few queries at a time; here each tile of vectors is met
by many queries, and only rows in which something beats the k-th best so far are looked at again.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from shortlist._typing import Floats, Ints, Longs
from shortlist.index.ties import best as best_of
from shortlist.index.ties import products, slack_for

_QUERIES, _TILE = 64, 8192  # 2 MiB of scores


def nearest(unit: Floats, asked: Longs, k: int) -> Ints:
    """Places [b, k] of the rows of `unit` float32 [N, d] whose products with rows `asked` [b] are highest.

    Best first, lower places first among equals, a row itself never; -1 where there are fewer than k.
    """
    found = np.full((len(asked), k), -1, np.int32)
    for start in range(0, len(asked), _QUERIES):
        some = asked[start : start + _QUERIES]
        found[start : start + len(some)] = _among_all(unit, some, k)
    return found


def _among_all(unit: Floats, asked: Longs, k: int) -> Ints:
    queries, row = unit[asked], np.arange(len(asked))
    slack = slack_for(queries, 1.0)
    places, best = np.full((len(asked), k), -1, np.int32), np.full((len(asked), k), -np.inf, np.float32)
    for start in range(0, len(unit), _TILE):
        scores = queries @ unit[start : start + _TILE].T
        own = (asked >= start) & (asked < start + _TILE)
        scores[row[own], asked[own] - start] = -np.inf
        enough = best[:, -1] - slack
        better = np.flatnonzero(scores.max(1) > enough)
        if len(better):
            again = partial(_again, queries[better], unit, start)
            among, score = best_of(scores[better], k, again, slack=slack[better])
            near = np.nonzero(among >= 0)
            score[near] = again(near[0], among[near].astype(np.int64))
            places[better], best[better] = _merged(places[better], best[better], among + start, score)
    return np.where(best > -np.inf, places, -1).astype(np.int32)


def _again(queries: Floats, unit: Floats, start: int, rows: Longs, columns: Longs) -> Floats:
    return products(queries, rows, lambda at: unit[at], columns + start)


def _merged(places: Ints, best: Floats, more: Ints, score: Floats) -> tuple[Ints, Floats]:
    """The k best of both; of equals those that were there, whose places are lower."""
    both, scores = np.concatenate([places, more], 1), np.concatenate([best, score], 1)
    order = np.argsort(-scores, axis=1, kind="stable")[:, : places.shape[1]]
    return np.take_along_axis(both, order, 1), np.take_along_axis(scores, order, 1)
