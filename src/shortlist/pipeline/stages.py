"""The stages of a recommendation as pure functions: retrieve inside a filter, rank, order.

Arrays of candidates are [b, k]: positions padded with -1, log_p with -inf, predictions with NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from shortlist._typing import Bools, Doubles, Floats, Index, Ints, Longs, Relation, Scorer
from shortlist.errors import RequestError, did_you_mean
from shortlist.index.top import flat_places
from shortlist.state.catalogue import Items

_LEAST = np.finfo(np.float32).min
_PAIRS = 1 << 13  # pairs ranked at once: what is held of them stays in a core's caches


@dataclass(frozen=True)
class Utility:
    """What a shortlist is ordered by: log_p + rating_weight * predictions[head].

    log_p is the log probability retrieval gives an item among the whole catalogue. Ordering by predicted
    rating alone loses quality: what a user would rate highly is not yet what a user would choose.
    """

    rating_weight: float = 0.0
    head: str = "rating"

    def __call__(self, log_p: Floats, predictions: dict[str, Floats]) -> Doubles:
        """Scores [b, k]. RequestError where the ranker has no such head."""
        scores: Doubles = log_p.astype(np.float64)
        if self.rating_weight:
            predicted = self.prediction(predictions)
            predicted *= self.rating_weight
            scores += predicted
        return scores

    def prediction(self, predictions: dict[str, Floats]) -> Doubles:
        """The head's predictions [b, k], an array of their own."""
        if self.head not in predictions:
            raise RequestError(
                f"the order needs the head {self.head!r}, which the ranker does not have",
                hint=did_you_mean(self.head, predictions) or "this recommender has no ranker",
            )
        return predictions[self.head].astype(np.float64)


@dataclass(frozen=True, eq=False)
class Candidates:
    """Up to k items for each of b queries. popular: bool [b], where they are not the model's choice. places:
    int [b, k], where each stood (from 0) before they were put in order."""

    positions: Ints
    log_p: Floats
    popular: Bools
    predictions: dict[str, Floats] = field(default_factory=dict)
    scores: Doubles | None = None
    places: Longs | None = None


def retrieve(
    index: Index,
    queries: Floats,
    k: int,
    *,
    allow: Bools | None = None,
    exclude: Relation | None = None,
    bonus: tuple[Relation, float] | None = None,
) -> Candidates:
    """The k items of highest probability for each query [b, d].

    allow, exclude, bonus: as of `Index.search`; being inside the search, filters never leave fewer than k
    while k are allowed. log_p is over all items, whatever is allowed.
    """
    positions, scores, log_z = index.search(queries, k, allow=allow, exclude=exclude, bonus=bonus, log_z=True)
    assert log_z is not None
    log_p = scores - np.maximum(log_z, _LEAST)[:, None]  # which is -inf of no item at all
    return Candidates(positions, log_p, np.zeros(len(queries), np.bool_))


@dataclass(frozen=True, eq=False)
class Popular:
    """The items of a catalogue, the most popular first, then by position.

    order: int32 [m], positions. log_popularity: float32 [N], log of the share of the training rows.
    """

    order: Ints
    log_popularity: Floats

    @classmethod
    def of(cls, items: Items) -> Popular:
        """Of all items but the retired."""
        order, retired = items.by_popularity, items.retired
        scores = items.log_popularity.astype(np.float32)
        return cls(order if retired is None else order[~retired[order]], scores)

    def candidates(
        self, num_queries: int, k: int, *, allow: Bools | None = None, exclude: Relation | None = None
    ) -> Candidates:
        """The k most popular that are allowed [N] and not in a query's row of `exclude`; log_p is the log of
        their share of the training rows."""
        order = self.order if allow is None else self.order[allow[self.order]]
        widest = 0 if exclude is None else int(np.diff(exclude.indptr).max(initial=0))
        first = order[: k + widest]
        positions = np.full((num_queries, k), -1, np.int32)
        if exclude is None or not widest:
            positions[:, : len(first)] = first
        else:
            kept = _kept(first, exclude)
            row, place = np.nonzero(kept & (np.cumsum(kept, axis=1) <= k))
            counts = np.bincount(row, minlength=num_queries)
            positions[row, np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)] = first[place]
        scores = np.where(positions < 0, np.float32(-np.inf), self.log_popularity[positions])
        return Candidates(positions, scores, np.ones(num_queries, np.bool_))


def _kept(items: Ints, exclude: Relation) -> Bools:
    """True [b, m] where an item is not in a query's row."""
    num = len(exclude.indptr) - 1
    kept = np.ones((num, len(items)), np.bool_)
    if len(items):
        sorter = np.argsort(items)
        at = np.searchsorted(items, exclude.indices, sorter=sorter)
        place = sorter[np.minimum(at, len(items) - 1)]
        there = items[place] == exclude.indices
        row = np.repeat(np.arange(num), np.diff(exclude.indptr))
        kept[row[there], place[there]] = False
    return kept


def choose(where: Bools, first: Candidates, second: Candidates) -> Candidates:
    """Candidates of `first` where true, else of `second`, query by query."""
    return Candidates(
        np.where(where[:, None], first.positions, second.positions),
        np.where(where[:, None], first.log_p, second.log_p),
        np.where(where, first.popular, second.popular),
    )


Aggregator = Callable[[Longs, Longs], dict[str, Floats]]
"""Rows of queries and catalogue positions, int64 [n] each -> the aggregates [n, F] of each head with any."""


def no_aggregates(_rows: Longs, _positions: Longs) -> dict[str, Floats]:
    """Of a ranker whose heads have none."""
    return {}


def rank(
    scorer: Scorer,
    queries: Floats,
    items: Any,
    candidates: Candidates,
    aggregates: Aggregator = no_aggregates,
    represented: Callable[[Longs, Longs], Floats] | None = None,
) -> Candidates:
    """Predict every head for every candidate from representations [b, r] and [N, r] (an array, or
    `index.rows.Rows`).

    represented: rows of queries and positions, int64 [n] each -> the items' representations [n, r], where
    they depend on the query.
    """
    shape, every = candidates.positions.shape, _filled(candidates.positions)
    if not every.size:  # heads have names even of no pair
        first = np.zeros(1, np.int64)
        outputs = scorer.predict(queries[:1], np.asarray(items[first]), aggregates(first, first))
        return replace(candidates, predictions={h: np.full(shape, np.nan, np.float32) for h in outputs})
    size, blocks = max(1, _PAIRS // every.shape[1]), []
    for start in range(0, len(every), size):
        positions = every[start : start + size]
        outputs = _predicted(scorer, queries, items, positions, start, aggregates, represented)
        padded = positions < 0
        if padded.any():
            outputs = {h: np.where(padded, np.float32(np.nan), values) for h, values in outputs.items()}
        blocks.append(outputs)
    joined = blocks[0] if len(blocks) == 1 else {h: np.concatenate([b[h] for b in blocks]) for h in blocks[0]}
    if every.shape != shape:
        rest = ((0, 0), (0, shape[1] - every.shape[1]))
        joined = {h: np.pad(values, rest, constant_values=np.nan) for h, values in joined.items()}
    return replace(candidates, predictions=joined)


def _filled(positions: Ints) -> Ints:
    """Positions [b, k] up to the last place that any query fills, the first at least."""
    if not positions.size or positions[:, -1].max() >= 0:
        return positions
    return positions[:, : np.flatnonzero((positions >= 0).any(axis=0)).max(initial=0) + 1]


def _predicted(
    scorer: Scorer,
    queries: Floats,
    items: Any,
    positions: Ints,
    start: int,
    aggregates: Aggregator,
    represented: Callable[[Longs, Longs], Floats] | None,
) -> dict[str, Floats]:
    """Predictions [b, k] of candidates of the queries from `start` on; where there is none, of some item."""
    num, k = positions.shape
    rows: Longs = np.maximum(positions, 0).astype(np.int64)
    flat = rows.reshape(-1)
    row = np.repeat(np.arange(start, start + num), k)
    numbers = {head: x.reshape(num, k, -1) for head, x in aggregates(row, flat).items()}
    if represented is not None:
        own = represented(row, flat)
    elif isinstance(items, np.ndarray) and len(items) <= len(flat):
        return scorer.predict(queries[start : start + num], items, numbers, rows)
    elif isinstance(items, np.ndarray):
        own = np.take(items, flat, axis=0, mode="clip")
    else:
        own = np.asarray(items[flat])
    return scorer.predict(queries[start : start + num], own, numbers, np.arange(len(flat)).reshape(num, k))


def order(candidates: Candidates, scores: Doubles, k: int) -> Candidates:
    """The k best by score, descending, then catalogue position."""
    padded = candidates.positions < 0
    places = candidates.positions
    if padded.any():
        scores = np.where(padded, -np.inf, scores)
        places = np.where(padded, np.iinfo(np.int32).max, places)
    if len(scores) == 1:
        first = np.lexsort((places[0], -scores[0]))[:k]
        return _taken(candidates, scores, first[None], lambda values: values[:, first])
    best = _best(scores, places, k)
    flat = best + np.arange(len(scores))[:, None] * scores.shape[1]
    return _taken(candidates, scores, best, lambda values: values.reshape(-1)[flat])


def _taken(candidates: Candidates, scores: Doubles, places: Longs, take: Callable[[Any], Any]) -> Candidates:
    return Candidates(
        take(candidates.positions),
        take(candidates.log_p),
        candidates.popular,
        {head: take(values) for head, values in candidates.predictions.items()},
        take(scores),
        places,
    )


def _best(scores: Doubles, places: Ints, k: int) -> Longs:
    """The columns [b, k] of the best of each row, in order; only what reaches the k-th best is sorted."""
    num_rows, count = scores.shape
    if k >= count:
        return np.lexsort((places, -scores), axis=1)
    edge = np.partition(scores, count - k, axis=1)[:, count - k, None]
    at = np.flatnonzero(scores >= edge)
    bounds = np.searchsorted(at, np.arange(num_rows + 1) * count)
    counts = bounds[1:] - bounds[:-1]
    if counts.min() < k:  # NaN was taken for the best; it is the last
        return np.lexsort((places, -scores), axis=1)[:, :k]
    kept = np.full((num_rows, int(counts.max())), -1)
    kept.reshape(-1)[flat_places(counts, kept.shape[1])] = at
    none = kept < 0  # they stand last in their row, and stay there
    near = np.where(none, np.iinfo(np.int32).max, places.reshape(-1)[kept])
    high = np.where(none, -np.inf, scores.reshape(-1)[kept])
    order = np.lexsort((near, -high), axis=1)[:, :k]
    rows = np.arange(num_rows)[:, None]
    best: Longs = kept[rows, order] - rows * count
    return best
