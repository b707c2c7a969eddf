"""Verdicts rest on paired differences: what two entrants share cancels, draw by draw."""

from __future__ import annotations

import numpy as np
import pytest

from shortlist._typing import Doubles
from shortlist.evaluation.compare import evaluate
from shortlist.evaluation.intervals import Tally, bootstrap, estimate
from shortlist.evaluation.rows import Predictions, TestRows
from shortlist.index.ranks import Ranks

USERS, ITEMS, GAP = 60, 40, 0.05


def rows() -> TestRows:
    """One row a user, in no order."""
    rng = np.random.default_rng(0)
    users = rng.permutation(USERS)
    targets, ratings = rng.integers(0, ITEMS, USERS), rng.uniform(2, 4, USERS)
    return TestRows.of(np.arange(USERS), np.zeros(USERS, int), users, targets, ITEMS, ratings=ratings)


def entry(name: str, role: str, ndcg: Doubles) -> Predictions:
    """Ranks (not whole ones) whose NDCG, of one positive each, is what is asked for."""
    ranks = 2.0 ** (1.0 / ndcg) - 1.0
    return Predictions(name, role, Ranks(ranks, ranks))  # type: ignore[arg-type]


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_constant_gap_between_users_has_an_interval_of_no_width(sign: float) -> None:
    theirs = np.random.default_rng(1).uniform(0.4, 0.9, USERS)
    entrants = [entry("rival", "baseline", theirs), entry("ours", "model", theirs + sign * GAP)]
    report = evaluate(entrants, rows(), ks=(10,), resamples=200)
    figure = "filtered ndcg@10 (user)"
    (verdict,) = (found for found in report.verdicts if found.metric == figure)
    gap = verdict.difference
    assert (gap.value, gap.low, gap.high) == pytest.approx((sign * GAP,) * 3, abs=1e-12)
    assert verdict.verdict == ("wins" if sign > 0 else "loses")
    for found in report.entries:  # each alone is uncertain, by more than the gap between the two
        own = found.figures[figure]
        assert own.high - own.low > 1.2 * GAP


def test_the_gap_to_the_best_baseline_is_resampled_as_differences_of_users() -> None:
    rng = np.random.default_rng(2)
    worse, best, ours = (rng.uniform(low, 0.9, USERS) for low in (0.3, 0.5, 0.45))
    entrants = [
        entry("worse", "baseline", worse),
        entry("best", "baseline", best),
        entry("ours", "model", ours),
    ]
    report = evaluate(entrants, rows(), ks=(10,), seed=5, resamples=200)
    (verdict,) = (found for found in report.verdicts if found.metric == "filtered ndcg@10 (user)")
    keys = rows().user_keys
    raised = np.zeros(USERS)
    raised[keys] = 1.0 + ours - best  # above zero: what is tallied has a root
    point, draws = bootstrap([Tally(raised, np.ones(USERS))], USERS, 200, 5)
    expected = estimate(point[0] - 1.0, draws[:, 0] - 1.0)
    assert verdict.baseline == "best"
    gap = verdict.difference
    assert (gap.value, gap.low, gap.high) == pytest.approx((expected.value, expected.low, expected.high))


def test_every_metric_of_a_bootstrap_sees_the_same_draws() -> None:
    values = np.random.default_rng(3).uniform(size=USERS)
    tallies = [Tally(values, np.ones(USERS)), Tally(values + 7.0, np.ones(USERS))]
    _, draws = bootstrap(tallies, USERS, 100, seed=1)
    assert draws[:, 0].std() > 0.01
    assert draws[:, 1] - draws[:, 0] == pytest.approx(np.full(100, 7.0))
