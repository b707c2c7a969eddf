from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from shortlist.baselines.interactions import Interactions
from shortlist.baselines.ratings import MatrixFactorization, RatingBiases
from shortlist.errors import DataError


def planted(seed: int = 0, num: int = 6000, noise: float = 0.3) -> tuple[Interactions, Interactions]:
    """Ratings made from known biases and two factors: train, test."""
    rng = np.random.default_rng(seed)
    users, items = rng.integers(0, 120, num), rng.integers(0, 80, num)
    p, q = rng.normal(0, 0.8, (120, 2)), rng.normal(0, 0.8, (80, 2))
    ratings = (
        3 + rng.normal(0, 0.5, 120)[users] + rng.normal(0, 0.5, 80)[items] + (p[users] * q[items]).sum(1)
    )
    ratings += rng.normal(0, noise, num)
    cut = num * 3 // 4
    parts = slice(0, cut), slice(cut, None)
    train, test = (Interactions(users[s], items[s], 121, 81, ratings[s]) for s in parts)
    return train, test


def rmse(fitted: object, rows: Interactions) -> float:
    return float(np.sqrt(((fitted.predict(rows.users, rows.items) - rows.ratings) ** 2).mean()))  # type: ignore


def test_biases_solve_their_penalised_least_squares() -> None:
    train, _ = planted(num=800)
    fitted = RatingBiases(3.0, 7.0, rounds=200).fit(train)
    design = np.zeros((len(train), 202))
    design[np.arange(len(train)), train.users] = 1
    design[np.arange(len(train)), 121 + train.items] = 1
    penalty = np.diag(np.r_[np.full(121, 3.0), np.full(81, 7.0)])
    assert train.ratings is not None
    expected = np.linalg.solve(design.T @ design + penalty, design.T @ (train.ratings - train.ratings.mean()))
    assert_allclose(fitted.user_bias, expected[:121], atol=1e-6)
    assert_allclose(fitted.item_bias, expected[121:], atol=1e-6)


def test_factorisation_finds_planted_factors_down_to_the_noise() -> None:
    train, test = planted()
    biases, factors = RatingBiases().fit(train), MatrixFactorization(factors=8, rounds=20).fit(train)
    assert rmse(factors, test) < 0.36 < 0.7 < rmse(biases, test)
    again = MatrixFactorization(factors=8, rounds=20).fit(train)
    assert np.array_equal(again.user_factors, factors.user_factors)


def test_factorisation_of_noise_falls_back_to_biases() -> None:
    rng = np.random.default_rng(0)
    users, items = rng.integers(0, 100, 3000), rng.integers(0, 80, 3000)
    ratings = rng.normal(3, 1, 3000)
    train = Interactions(users[:2000], items[:2000], 100, 80, ratings[:2000])
    test = Interactions(users[2000:], items[2000:], 100, 80, ratings[2000:])
    assert rmse(MatrixFactorization().fit(train), test) < 1.05


@pytest.mark.parametrize("baseline", [RatingBiases(), MatrixFactorization(factors=3)], ids=lambda b: b.name)
def test_strangers_and_edges(baseline: RatingBiases | MatrixFactorization) -> None:
    train, _ = planted()
    fitted = baseline.fit(train)
    assert train.ratings is not None
    mean = train.ratings.mean()
    found = fitted.predict([-1, 120, 5, -1, 999], [-1, 80, -1, 4, 999])
    assert_allclose(found[[0, 1, 4]], mean, atol=1e-9)
    assert_allclose(found[2], mean + fitted.user_bias[5])
    assert_allclose(found[3], mean + fitted.item_bias[4])
    everything = fitted.predict(np.repeat(np.arange(120), 80), np.tile(np.arange(80), 120))
    assert train.ratings.min() <= everything.min() and everything.max() <= train.ratings.max()
    assert fitted.predict([], []).shape == (0,)


@pytest.mark.parametrize(
    "baseline", [RatingBiases(0.0, 0.0), MatrixFactorization(factors=2)], ids=lambda b: b.name
)
def test_equal_ratings_and_missing_ones(baseline: RatingBiases | MatrixFactorization) -> None:
    users, items = np.array([0, 1, 1]), np.array([0, 0, 1])
    equal = baseline.fit(Interactions(users, items, 2, 2, np.array([4.0, 4.0, np.nan])))
    assert_allclose(equal.predict([0, 1, -1], [1, 1, -1]), 4.0)
    for ratings in (None, np.full(3, np.nan)):
        with pytest.raises(DataError, match="rating"):
            baseline.fit(Interactions(users, items, 2, 2, ratings))
