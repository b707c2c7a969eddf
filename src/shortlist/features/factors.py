"""Factors of items, learned for a user from other users' ratings only. NumPy only.

Users are dealt into groups at random. The factors of a group come from the ratings of all the others, the
global mean and the items' means included, so that nothing a user rated is in the factors used for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from shortlist._typing import Array, Doubles, Floats, Longs
from shortlist.features.log import Log

GROUPS = 8
"""Of users."""

SEED = 7
"""Of the groups and of what the factors start from."""

ROUNDS = 5
"""Of alternating least squares."""

PRIOR = 8.0
"""Weight of a squared factor, in squared deviations of the residuals."""

SHRINK = 5.0
"""Ratings of the mean that every item is thought to have had already."""

MOST = 2_000_000
"""Events that are learned from; of more, those of users spread evenly over the log."""


@dataclass(frozen=True)
class Factors:
    """`size` numbers of each of N items for every group of users, little-endian float32 [GROUPS, N + 1, size]
    as bytes, the last of an unknown item. The inner product of two items' is how alike they are rated, in
    units of the residuals' variance. num_users: those dealt into groups."""

    size: int
    num_items: int
    num_users: int
    data: bytes

    @property
    def table(self) -> Floats:
        shape = GROUPS, self.num_items + 1, self.size
        values: Floats = np.frombuffer(self.data, "<f4").reshape(shape)
        return values

    @property
    def groups(self) -> Longs:
        """Each user's group, int64 [num_users]."""
        return groups(self.num_users)


class Half(NamedTuple):
    """n ratings in the order of one side's entities: where each of those that have any starts (and the end),
    which these are, the other side's entity and the value of each rating."""

    cuts: Longs
    entities: Longs
    others: Longs
    values: Floats

    @classmethod
    def of(cls, mine: Array, others: Array, values: Floats) -> Half:
        order = np.argsort(mine, kind="stable")
        entities, starts = np.unique(mine[order], return_index=True)
        return cls(np.append(starts, len(mine)), entities, others[order], values[order])


def groups(num_users: int) -> Longs:
    """The group of each user, int64."""
    return np.random.default_rng(SEED).permutation(num_users).astype(np.int64) % GROUPS


def learn(log: Log, num_items: int, size: int) -> Factors:
    """Factors of the items of a log that has ratings (Hu, Koren and Volinsky 2008, with explicit ratings).

    Alternating least squares of residuals, r - mean - item's shrunk mean, on `size` factors of each side; an
    item's are then scaled by what the users' factors vary by: their covariance is that of its residuals.
    """
    assert log.ratings is not None
    table = np.zeros((GROUPS, num_items + 1, size), np.float32)
    users, group = log.users, groups(log.num_users)
    every = 1 + (len(log) - 1) // MOST
    for k in range(GROUPS):
        those = np.flatnonzero((group[users] != k) & (users % every == 0))
        if len(those):
            value = _residuals(log.items[those], log.ratings[those].astype(np.float64))
            table[k, :-1] = _als(users[those], log.items[those], value, num_items, size)
    return Factors(size, num_items, log.num_users, table.astype("<f4").tobytes())


def _residuals(items: Array, ratings: Doubles) -> Floats:
    """In units of their deviation."""
    above = ratings - ratings.mean()
    above -= (np.bincount(items, above) / (np.bincount(items) + SHRINK))[items]
    deviation = float(np.sqrt((above**2).mean()))
    scaled = above / deviation if deviation > 1e-6 else np.zeros(len(above))
    return scaled.astype(np.float32)


def _als(users: Longs, items: Array, values: Floats, num_items: int, size: int) -> Floats:
    """Factors of the items, float32 [N, size]."""
    codes = np.unique(users, return_inverse=True)[1]
    by_user, by_item = Half.of(codes, items, values), Half.of(items, codes, values)
    theirs = np.random.default_rng(SEED).normal(0, 0.1, (num_items, size)).astype(np.float32)
    for _ in range(ROUNDS):
        ours = _solve(by_user, theirs, len(by_user.entities))
        theirs = _solve(by_item, ours, num_items)
    spread, axes = np.linalg.eigh(ours.T @ ours / len(ours))
    scaled: Floats = (theirs @ (axes * np.sqrt(np.maximum(spread, 0)))).astype(np.float32)
    return scaled


def _solve(half: Half, others: Floats, num: int) -> Floats:
    """The least squares of every entity given the other side's factors, float32 [num, size]."""
    size, rows = others.shape[1], others[half.others]
    right = np.add.reduceat(rows * half.values[:, None], half.cuts[:-1], axis=0)
    left = np.empty((len(half.entities), size, size), np.float32)
    for k, (start, stop) in enumerate(pairwise(half.cuts.tolist())):
        part = rows[start:stop]
        np.dot(part.T, part, out=left[k])
    left += np.float32(PRIOR) * np.eye(size, dtype=np.float32)
    out: Floats = np.zeros((num, size), np.float32)
    out[half.entities] = np.linalg.solve(left, right[:, :, None])[:, :, 0]
    return out
