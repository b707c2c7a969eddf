from __future__ import annotations

import builtins
import sys
import warnings
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from shortlist.baselines.ease import EASE, MAX_ITEMS
from shortlist.baselines.ials import IALS
from shortlist.baselines.interactions import Interactions
from shortlist.baselines.neighbours import ItemKNN
from shortlist.baselines.popularity import Popular, RecentPopular
from shortlist.baselines.tuning import RETRIEVAL_GRIDS, described, tune
from shortlist.errors import DataError, MissingExtra

USERS, ITEMS = 30, 12
FIRSTS = [grid[0] for grid in RETRIEVAL_GRIDS]


@pytest.fixture(scope="module")
def small() -> Interactions:
    """User 29 has no rows; some pairs repeat."""
    rng = np.random.default_rng(1)
    users, items = rng.integers(0, USERS - 1, 150), (ITEMS * rng.random(150) ** 2).astype(np.int64)
    return Interactions(users, items, USERS, ITEMS, timestamps=rng.integers(0, 10**7, 150))


@pytest.fixture(scope="module")
def dense(small: Interactions) -> np.ndarray:
    matrix = np.zeros((USERS, ITEMS))
    matrix[small.users, small.items] = 1.0
    return matrix


@pytest.mark.parametrize("baseline", FIRSTS, ids=lambda b: b.name)
def test_every_one_scores_the_catalogue_and_knows_no_strangers(baseline: Any, small: Interactions) -> None:
    fitted = baseline.fit(small)
    users = np.array([3, -1, 5, 29, 3, 1000])
    scores = fitted.scores(users)
    assert scores.shape == (6, ITEMS) and np.isfinite(scores).all()
    assert_allclose(scores[0], scores[4], rtol=1e-5)
    assert_allclose(scores[0], fitted.scores([3])[0], rtol=1e-5)
    by_popularity = np.argsort(-Popular().fit(small).scores([0])[0], kind="stable")
    if not isinstance(baseline, RecentPopular):
        for stranger in (1, 3, 5):
            assert np.array_equal(np.argsort(-scores[stranger], kind="stable"), by_popularity)
    assert_allclose(baseline.fit(small).scores(users), scores)
    assert fitted.scores(np.zeros(0, np.int64)).shape == (0, ITEMS)


def test_popular_is_a_strict_order_of_counts(small: Interactions) -> None:
    scores = Popular().fit(small).scores([0])[0]
    counts = np.bincount(small.items, minlength=ITEMS)
    assert np.array_equal(np.argsort(-scores), np.argsort(-counts, kind="stable"))
    assert len(np.unique(scores)) == ITEMS and np.array_equal(np.ceil(scores), counts)


def test_recent_popularity_halves_with_age() -> None:
    day = 86_400
    rows = Interactions(
        np.zeros(3, np.int64), np.array([0, 1, 2]), 1, 4, timestamps=np.array([100 * day, 90 * day, 80 * day])
    )
    assert_allclose(RecentPopular(10.0).fit(rows).scores([0])[0], [1.0, 0.5, 0.25, 0.0])
    with pytest.raises(DataError, match="timestamps"):
        RecentPopular().fit(Interactions(rows.users, rows.items, 1, 4))


@pytest.mark.parametrize(
    ("neighbours", "shrinkage", "exponent"), [(100, 0.0, 0.5), (3, 1.0, 0.4), (1, 0.0, 0.3)]
)
def test_item_knn_is_its_formula(
    small: Interactions, dense: np.ndarray, neighbours: int, shrinkage: float, exponent: float
) -> None:
    damped = dense / np.sqrt(np.maximum(dense.sum(axis=1, keepdims=True), 1))
    counts = damped.T @ dense
    similar = np.zeros((ITEMS, ITEMS))
    for i in range(ITEMS):
        for j in range(ITEMS):
            scale = counts[i, i] ** exponent * counts[j, j] ** (1 - exponent) + shrinkage
            similar[i, j] = counts[i, j] / scale if i != j and scale else 0.0
        similar[i, np.argsort(-similar[i])[neighbours:]] = 0.0
    found = ItemKNN(neighbours, shrinkage, exponent).fit(small).scores(np.arange(USERS - 1))
    active = dense[: USERS - 1].sum(axis=1) > 0
    assert_allclose(found[active], (dense[: USERS - 1] @ similar.T)[active], rtol=1e-4, atol=1e-6)


def test_ease_solves_its_least_squares(small: Interactions, dense: np.ndarray) -> None:
    strength = 3.0
    weights = EASE(strength).fit(small).weights
    assert np.array_equal(np.diag(weights), np.zeros(ITEMS))
    for item in range(ITEMS):  # ridge regression of each item on all the others
        others = np.arange(ITEMS) != item
        inputs = dense[:, others]
        expected = np.linalg.solve(
            inputs.T @ inputs + strength * np.eye(ITEMS - 1), inputs.T @ dense[:, item]
        )
        assert_allclose(weights[others, item], expected, rtol=1e-4, atol=1e-6)


def test_ease_refuses_what_it_cannot_hold() -> None:
    rows = Interactions(np.array([0]), np.array([0]), 1, MAX_ITEMS + 80_000)
    with pytest.raises(DataError, match=r"100,000 x 100,000 items: about 224 GiB.*27\.8 core-hours"):
        EASE().fit(rows)


def test_ials_factors_minimise_its_weighted_loss(small: Interactions, dense: np.ndarray) -> None:
    settings = IALS(factors=4, regularisation=2.0, alpha=3.0, iterations=60)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted = settings.fit(small)
    items = fitted.item_factors.astype(np.float64)
    for user in np.flatnonzero(dense.sum(axis=1))[:8]:
        weight = np.where(dense[user] > 0, settings.alpha, 1.0)
        gram = items.T @ (weight[:, None] * items) + settings.regularisation * np.eye(4)
        expected = np.linalg.solve(gram, items.T @ (weight * dense[user]))
        assert_allclose(fitted.user_factors[user], expected, atol=0.01)
        heavier = np.where(dense[user] > 0, 1.0 + settings.alpha, 1.0)  # must be told apart from this
        gram = items.T @ (heavier[:, None] * items) + settings.regularisation * np.eye(4)
        assert np.abs(np.linalg.solve(gram, items.T @ (heavier * dense[user])) - expected).max() > 0.02


def test_ials_without_the_package_says_which_extra(
    small: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("implicit"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    for name in [name for name in sys.modules if name.split(".")[0] == "implicit"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingExtra) as caught:
        IALS().fit(small)
    assert ".[baselines]" in caught.value.hint


def test_tune_keeps_the_best_and_the_earlier_on_a_tie(small: Interactions) -> None:
    values = {1.0: 0.3, 2.0: 0.5, 3.0: 0.5}
    grid = tuple(RecentPopular(half_life) for half_life in values)

    def fit(settings: RecentPopular, rows: Interactions) -> float:
        assert rows is small
        return settings.half_life

    best = tune(grid, small, values.__getitem__, fit)
    assert best.settings.half_life == 2.0 and [value for _, value in best.trials] == [0.3, 0.5, 0.5]
    assert tune(grid, small, values.__getitem__, fit, higher_is_better=False).settings.half_life == 1.0
    assert tune(grid[:1], small, lambda _: 1 / 0, fit).settings is grid[0]
    assert described(ItemKNN(50, 0.0, 0.4)) == "neighbours=50, shrinkage=0, exponent=0.4"


def test_interactions_are_checked_and_joined(small: Interactions) -> None:
    with pytest.raises(DataError, match=r"item indices span 0\.\.12, expected 0\.\.11"):
        Interactions(np.array([0, 1]), np.array([0, 12]), USERS, ITEMS)
    with pytest.raises(DataError, match="differ in length"):
        Interactions(np.array([0, 1]), np.array([0]), USERS, ITEMS)
    both = small.joined(Interactions(np.array([29]), np.array([11]), USERS, ITEMS))
    assert len(both) == 151 and both.seen.of(29).tolist() == [11] and both.timestamps is None
