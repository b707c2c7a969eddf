from __future__ import annotations

import numpy as np
import pytest

from shortlist.evaluation.intervals import (
    Comparison,
    Estimate,
    Tally,
    bootstrap,
    draws_of_users,
    estimate,
    verdict_on,
)


def test_every_resample_draws_as_many_users_as_there_are() -> None:
    blocks = list(draws_of_users(50, 300, seed=1))
    weights = np.concatenate(blocks)
    assert weights.shape == (300, 50) and (weights.sum(axis=1) == 50).all()
    assert np.array_equal(weights, np.concatenate(list(draws_of_users(50, 300, seed=1))))
    assert not np.array_equal(weights, np.concatenate(list(draws_of_users(50, 300, seed=2))))


def test_the_interval_of_a_mean_is_the_textbook_one() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 800)
    point, draws = bootstrap([Tally(values, np.ones(800))], 800, 4000, seed=3)
    found = estimate(point[0], draws[:, 0])
    half = 1.96 * values.std() / np.sqrt(800)
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_ratio_and_root_agree_with_resampling_the_rows_themselves() -> None:
    rng = np.random.default_rng(0)
    users, errors = rng.integers(0, 30, 500), rng.random(500)
    tops, bottoms = np.bincount(users, errors, 30), np.bincount(users, minlength=30).astype(float)
    point, draws = bootstrap([Tally(tops, bottoms), Tally(tops, bottoms, root=True)], 30, 40, seed=9)
    assert point == pytest.approx([errors.mean(), np.sqrt(errors.mean())])
    for row, weights in enumerate(np.concatenate(list(draws_of_users(30, 40, seed=9)))):
        repeated = np.concatenate([np.repeat(errors[users == u], int(weights[u])) for u in range(30)])
        expected = np.concatenate([errors[users == u] for u in range(30) for _ in range(int(weights[u]))])
        assert np.isclose(repeated.mean(), expected.mean())
        assert draws[row] == pytest.approx([expected.mean(), np.sqrt(expected.mean())])


def test_few_users_get_a_figure_but_no_interval() -> None:
    point, draws = bootstrap([Tally(np.ones(3), np.ones(3))], 3, 100, seed=0)
    found = estimate(point[0], draws[:, 0])
    assert found.value == 1.0 and np.isnan(found.low)
    assert verdict_on(Estimate(0.5, np.nan, np.nan), lower_is_better=False) == "no difference shown"


@pytest.mark.parametrize(
    ("low", "high", "lower_is_better", "verdict"),
    [
        (0.1, 0.2, False, "wins"),
        (0.1, 0.2, True, "loses"),
        (-0.2, -0.1, False, "loses"),
        (-0.2, -0.1, True, "wins"),
        (-0.1, 0.1, False, "no difference shown"),
        (0.0, 0.0, False, "no difference shown"),
    ],
)
def test_verdicts_need_an_interval_that_excludes_zero(
    low: float, high: float, lower_is_better: bool, verdict: str
) -> None:
    difference = Estimate((low + high) / 2, low, high)
    assert verdict_on(difference, lower_is_better=lower_is_better) == verdict
    sentence = Comparison(
        "rmse", "ours", "theirs", difference, verdict_on(difference, lower_is_better=False)
    ).sentence
    assert "ours" in sentence and "theirs" in sentence and "95 %" in sentence
