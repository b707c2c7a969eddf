"""Rating yardsticks: additive biases, and a matrix factorisation that tunes itself.

Both predict within the range of ratings seen in training, and answer for an unknown user or item
(-1) with what is known of the other side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from shortlist._typing import Array, Doubles, Longs
from shortlist.baselines.interactions import Interactions, sparse


def _gathered(table: Doubles, index: ArrayLike) -> Doubles:
    """Rows of `table`, zero where the index is unknown."""
    at = np.asarray(index, np.int64)
    inside = (at >= 0) & (at < len(table))
    rows = table[np.where(inside, at, 0)] if len(table) else np.zeros((len(at), *table.shape[1:]))
    return np.where(inside.reshape(-1, *[1] * (table.ndim - 1)), rows, 0.0)


def _ratings(interactions: Interactions) -> Doubles:
    return np.asarray(interactions.ratings, np.float64)


@dataclass(frozen=True, eq=False)
class FittedRatings:
    """mean + user bias [U] + item bias [N] + inner product of factors ([U, d], [N, d]; d may be 0)."""

    mean: float
    user_bias: Doubles
    item_bias: Doubles
    user_factors: Doubles
    item_factors: Doubles
    low: float
    high: float

    def predict(self, users: ArrayLike, items: ArrayLike) -> Doubles:
        """Ratings float64 [n] for pairs of user and item indices [n]."""
        total = self.mean + _gathered(self.user_bias, users) + _gathered(self.item_bias, items)
        if self.user_factors.shape[1]:
            total = total + np.einsum(
                "nd,nd->n", _gathered(self.user_factors, users), _gathered(self.item_factors, items)
            )
        return np.clip(total, self.low, self.high)


@dataclass(frozen=True)
class RatingBiases:
    """mean + b_u + b_i, least squares with an L2 penalty on each bias (Koren, 2010), by turns."""

    user_regularisation: float = 5.0
    item_regularisation: float = 5.0
    rounds: int = 10
    name: ClassVar[str] = "rating biases"

    def fit(self, interactions: Interactions) -> FittedRatings:
        """Raises `DataError` without ratings."""
        interactions = interactions.rated()
        ratings, users, items = _ratings(interactions), interactions.users, interactions.items
        mean = float(ratings.mean())
        user_bias, item_bias = np.zeros(interactions.num_users), np.zeros(interactions.num_items)
        for _ in range(self.rounds):
            item_bias = _shrunk_mean(
                ratings - mean - user_bias[users], items, len(item_bias), self.item_regularisation
            )
            user_bias = _shrunk_mean(
                ratings - mean - item_bias[items], users, len(user_bias), self.user_regularisation
            )
        no_user, no_item = np.zeros((len(user_bias), 0)), np.zeros((len(item_bias), 0))
        return FittedRatings(mean, user_bias, item_bias, no_user, no_item, ratings.min(), ratings.max())


def _shrunk_mean(residual: Doubles, index: Longs, size: int, regularisation: float) -> Doubles:
    total = np.bincount(index, residual, minlength=size)
    # a group without rows divides 0 by at least 1: its bias is 0, with or without a penalty
    rows = np.bincount(index, minlength=size)
    return np.asarray(total / np.maximum(rows + regularisation, 1.0), np.float64)


@dataclass(frozen=True)
class MatrixFactorization:
    """Biases and factors by variational Bayes (Lim and Teh, "Variational Bayesian Approach to Movie
    Rating Prediction", 2007), with biases and prior widths per dimension learned from the rows.

    The posterior covariances regularise each user and item as their rows deserve, so that nothing
    but `factors` is left to choose. A round costs n * (factors + 1)^2.
    """

    factors: int = 16
    rounds: int = 10
    seed: int = 42
    name: ClassVar[str] = "matrix factorisation"

    def fit(self, interactions: Interactions) -> FittedRatings:
        """Raises `DataError` without ratings."""
        csr_matrix = sparse().csr_matrix
        interactions = interactions.rated()
        ratings = _ratings(interactions)
        mean, rng = float(ratings.mean()), np.random.default_rng(self.seed)
        users = _Side.start(interactions.num_users, self.factors, rng)
        items = _Side.start(interactions.num_items, self.factors, rng)
        shape = (len(users.mean), len(items.mean))
        # built from coordinates so that a pair rated twice counts twice
        ones = csr_matrix((np.ones(len(ratings)), (interactions.users, interactions.items)), shape=shape)
        values = csr_matrix((ratings - mean, (interactions.users, interactions.items)), shape=shape)
        noise = float(ratings.var()) or 1e-6
        turned = ones.T.tocsr(), values.T.tocsr()
        for _ in range(self.rounds):
            users = users.updated(items, ones, values, noise)
            items = items.updated(users, *turned, noise)
            error = ratings - mean - _expected(users, items, interactions)
            noise = max(
                (float(error @ error) + _uncertainty(users, items, ones, turned[0])) / len(ratings), 1e-6
            )
        return FittedRatings(
            mean,
            users.mean[:, 0],
            items.mean[:, 0],
            users.mean[:, 1:],
            items.mean[:, 1:],
            ratings.min(),
            ratings.max(),
        )


@dataclass(frozen=True, eq=False)
class _Side:
    """One side's posterior, bias first: mean [n, 1+d], covariance [n, 1+d, 1+d]; prior variance [1+d]."""

    mean: Doubles
    covariance: Doubles
    prior: Doubles

    @classmethod
    def start(cls, size: int, factors: int, rng: np.random.Generator) -> _Side:
        mean = rng.normal(0.0, 0.1, (size, factors + 1))
        mean[:, 0] = 0.0
        return cls(mean, np.zeros((size, factors + 1, factors + 1)), np.full(factors + 1, 0.5))

    def regressors(self) -> Doubles:
        """What the other side regresses on: a constant for its own bias, then these factors."""
        inputs = self.mean.copy()
        inputs[:, 0] = 1.0
        return inputs

    def second_moments(self) -> Doubles:
        """E[x x^T] of the regressors x, whose constant has no variance: [n, 1+d, 1+d]."""
        moments: Doubles = np.einsum("ni,nj->nij", self.regressors(), self.regressors())
        moments[:, 1:, 1:] += self.covariance[:, 1:, 1:]
        return moments

    def updated(self, other: _Side, ones: Any, values: Any, noise: float) -> _Side:
        """The posterior given the other side's; `ones` and `values` are CSR [this side, other side]."""
        width = self.mean.shape[1]
        inputs = other.regressors()
        gram = (ones @ other.second_moments().reshape(len(inputs), -1)).reshape(-1, width, width)
        # E[bias * regressor] of the other side: the product of means plus their posterior covariance
        taken = other.mean[:, :1] * inputs
        taken[:, 1:] += other.covariance[:, 0, 1:]
        moment = values @ inputs - ones @ taken
        covariance = np.linalg.inv(gram / noise + np.diag(1.0 / self.prior))
        mean = np.einsum("nij,nj->ni", covariance, moment / noise)
        spread = (mean**2).mean(axis=0) + np.einsum("nii->ni", covariance).mean(axis=0)
        return _Side(mean, covariance, np.maximum(spread, 1e-8))


def _expected(users: _Side, items: _Side, rows: Interactions) -> Doubles:
    mine, theirs = users.mean[rows.users], items.mean[rows.items]
    return np.asarray(mine[:, 0] + theirs[:, 0] + np.einsum("nd,nd->n", mine[:, 1:], theirs[:, 1:]))


def _uncertainty(users: _Side, items: _Side, ones: Any, turned: Any) -> float:
    """The summed posterior variance of the predictions over the training rows."""

    def held(cells: Any, moments: Array, covariance: Doubles) -> float:
        gram = cells @ moments.reshape(len(moments), -1)
        return float(np.vdot(gram, covariance.reshape(len(covariance), -1)))

    inputs = items.regressors()
    outer = np.einsum("ni,nj->nij", inputs, inputs)
    return held(ones, outer, users.covariance) + held(turned, users.second_moments(), items.covariance)
