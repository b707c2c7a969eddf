"""Metrics as pure functions of ranks (1 = best) and of rating predictions.

Row metrics judge every test row by itself, with one positive: hit rate@k is then what the tutorials
call top-k accuracy, and equals recall@k. User metrics judge one list a user against all test
positives of that user, every user counting the same. Both are binary: a test row is a positive
whatever its rating.
"""

from __future__ import annotations

import numpy as np

from shortlist._typing import Doubles, Longs


def hit(ranks: Doubles, k: int) -> Doubles:
    """1 where the true item is among the first k, else 0: [n]."""
    return (ranks <= k).astype(np.float64)


def gain(ranks: Doubles, k: int) -> Doubles:
    """1 / log2(1 + rank) within the first k, else 0: [n]. For one positive this is NDCG@k."""
    return np.where(ranks <= k, 1.0 / np.log2(1.0 + ranks), 0.0)


def reciprocal_rank(ranks: Doubles, k: int) -> Doubles:
    """1 / rank within the first k, else 0: [n]."""
    return np.where(ranks <= k, 1.0 / ranks, 0.0)


def positives(users: Longs, num_users: int) -> Longs:
    """Test positives a user [U]."""
    return np.bincount(users, minlength=num_users)


def user_hit(ranks: Doubles, users: Longs, num_users: int, k: int) -> Doubles:
    """1 where any positive of the user is among the first k: [U]; NaN for users without rows."""
    return _with_rows((_summed(hit(ranks, k), users, num_users) > 0).astype(np.float64), users)


def user_recall(ranks: Doubles, users: Longs, num_users: int, k: int) -> Doubles:
    """Share of the user's positives among the first k: [U]; NaN for users without rows."""
    found = _summed(hit(ranks, k), users, num_users)
    return _with_rows(found / np.maximum(positives(users, num_users), 1), users)


def user_ndcg(ranks: Doubles, users: Longs, num_users: int, k: int) -> Doubles:
    """Discounted gain over its best possible value (Jarvelin and Kekalainen, 2002): [U]; NaN without rows."""
    ideal = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(np.arange(2, k + 2)))])
    best = ideal[np.clip(positives(users, num_users), 1, k)]
    return _with_rows(_summed(gain(ranks, k), users, num_users) / best, users)


def user_reciprocal_rank(ranks: Doubles, users: Longs, num_users: int, k: int) -> Doubles:
    """1 / rank of the user's first positive, 0 beyond k: [U]; NaN for users without rows."""
    first = np.full(num_users, np.inf)
    np.minimum.at(first, users, ranks)
    return _with_rows(np.where(first <= k, 1.0 / first, 0.0), users)


def first_rows(users: Longs, targets: Longs) -> Longs:
    """Rows that name a (user, target) pair for the first time, ascending.

    A pair tested twice is one positive of the user, so user metrics look at these rows only.
    """
    if not len(users):
        return np.zeros(0, np.int64)
    width = int(targets.max()) + 1
    return np.sort(np.unique(users.astype(np.int64) * width + targets, return_index=True)[1])


def squared_error(predicted: Doubles, ratings: Doubles) -> Doubles:
    """[n]; the root of its mean over rows is RMSE."""
    return (predicted - ratings) ** 2


def absolute_error(predicted: Doubles, ratings: Doubles) -> Doubles:
    """[n]; its mean over rows is MAE."""
    return np.abs(predicted - ratings)


def _summed(values: Doubles, users: Longs, num_users: int) -> Doubles:
    return np.bincount(users, weights=values, minlength=num_users).astype(np.float64)


def _with_rows(values: Doubles, users: Longs) -> Doubles:
    return np.where(positives(users, len(values)) > 0, values, np.nan)
