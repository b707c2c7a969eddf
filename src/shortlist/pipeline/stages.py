"""The stages of a recommendation as pure functions: retrieve inside a filter, rank, order.

Arrays of candidates are [b, k]: positions padded with -1, log_p with -inf, predictions with NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from shortlist._typing import Bools, Doubles, Floats, Ints, Longs, Scorer
from shortlist.errors import RequestError, did_you_mean
from shortlist.index.exact import top_k

_PAIRS = 1 << 16  # pairs ranked at once


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
        return scores + self.rating_weight * self.prediction(predictions) if self.rating_weight else scores

    def prediction(self, predictions: dict[str, Floats]) -> Doubles:
        """The head's predictions [b, k]."""
        if self.head not in predictions:
            raise RequestError(
                f"the order needs the head {self.head!r}, which the ranker does not have",
                hint=did_you_mean(self.head, predictions) or "this recommender has no ranker",
            )
        return predictions[self.head].astype(np.float64)


@dataclass(frozen=True, eq=False)
class Candidates:
    """Up to k items for each of b queries. popular: bool [b], where they are not the model's choice."""

    positions: Ints
    log_p: Floats
    popular: Bools
    predictions: dict[str, Floats] = field(default_factory=dict)
    scores: Doubles | None = None


def log_partition(scores: Floats) -> Floats:
    """log sum exp of the scores of every item of the catalogue [b, N] -> [b]."""
    largest = scores.max(axis=1, keepdims=True)
    total: Floats = largest[:, 0] + np.log(np.exp(scores - largest).sum(axis=1))
    return total


def retrieve(
    queries: Floats,
    items: Floats,
    k: int,
    allowed: Bools | None = None,
    had: Bools | None = None,
    seen_bonus: float = 0.0,
) -> Candidates:
    """The k items of highest probability for each query [b, d] among items [N, d].

    had: bool [b, N], items the user had before, to whose scores seen_bonus is added.

    allowed: bool [b, N], False where an item must not be returned; being inside the search, it never leaves
    fewer than k while k are allowed. log_p is over all N items, whatever is allowed.
    """
    scores = queries @ items.T
    if had is not None and seen_bonus:
        scores += np.where(had, np.float32(seen_bonus), np.float32(0))
    positions, best = top_k(scores, k, allowed)
    return Candidates(positions, best - log_partition(scores)[:, None], np.zeros(len(queries), np.bool_))


def most_popular(
    log_popularity: Doubles, num_queries: int, k: int, allowed: Bools | None = None
) -> Candidates:
    """The k most popular allowed items; log_p is the log of their share of the training rows."""
    scores = np.broadcast_to(log_popularity.astype(np.float32), (num_queries, len(log_popularity)))
    positions, best = top_k(scores, k, allowed)
    return Candidates(positions, best, np.ones(num_queries, np.bool_))


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
    items: Floats,
    candidates: Candidates,
    aggregates: Aggregator = no_aggregates,
    represented: Callable[[Longs, Longs], Floats] | None = None,
) -> Candidates:
    """Predict every head for every candidate from representations [b, r] and [N, r].

    represented: rows of queries and positions, int64 [n] each -> the items' representations [n, r], where
    they depend on the query.
    """
    rows, columns = np.nonzero(candidates.positions >= 0)
    first = np.zeros(1, np.int64)
    heads = scorer.predict(queries[:1], np.asarray(items[:1]), aggregates(first, first))
    predictions = {head: np.full(candidates.positions.shape, np.nan, np.float32) for head in heads}
    for start in range(0, len(rows), _PAIRS):
        row, column = rows[start : start + _PAIRS], columns[start : start + _PAIRS]
        positions = candidates.positions[row, column].astype(np.int64)
        own = np.asarray(items[positions]) if represented is None else represented(row, positions)
        outputs = scorer.predict(queries[row], own, aggregates(row, positions))
        for head, values in outputs.items():
            predictions[head][row, column] = values
    return replace(candidates, predictions=predictions)


def order(candidates: Candidates, scores: Doubles, k: int) -> Candidates:
    """The k best by score, descending, then catalogue position."""
    padded = candidates.positions < 0
    scores = np.where(padded, -np.inf, scores)
    places = np.where(padded, np.iinfo(np.int32).max, candidates.positions)
    best = np.lexsort((places, -scores), axis=1)[:, :k]
    return Candidates(
        np.take_along_axis(candidates.positions, best, 1),
        np.take_along_axis(candidates.log_p, best, 1),
        candidates.popular,
        {head: np.take_along_axis(values, best, 1) for head, values in candidates.predictions.items()},
        np.take_along_axis(scores, best, 1),
    )
