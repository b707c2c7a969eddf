from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import (
    label_ranking_average_precision_score,
    mean_absolute_error,
    ndcg_score,
    root_mean_squared_error,
)

from shortlist.evaluation import metrics
from shortlist.evaluation.figures import tallies
from shortlist.evaluation.rows import Predictions, TestRows
from shortlist.index.ranks import Ranks, count_ranks

USERS, ITEMS = 23, 40


@pytest.fixture(scope="module")
def case() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Scores [U, N], and test rows (user, target) with their ranks: one list a user."""
    rng = np.random.default_rng(5)
    scores, positive = rng.random((USERS, ITEMS)), rng.random((USERS, ITEMS)) < 0.15
    positive[np.arange(USERS), rng.integers(0, ITEMS, USERS)] = True
    users, targets = np.nonzero(positive)
    shuffled = rng.permutation(len(users))
    users, targets = users[shuffled], targets[shuffled]
    return scores, users, targets, count_ranks(lambda rows: scores[users[rows]], targets).raw


@pytest.mark.parametrize("k", [1, 3, 10, 40, 100])
def test_user_metrics_agree_with_lists_walked_by_hand(case: tuple[np.ndarray, ...], k: int) -> None:
    scores, users, targets, ranks = case
    ndcg, recall, hits, mrr = [], [], [], []
    for user in range(USERS):
        wanted = set(targets[users == user].tolist())
        shown = sorted(range(ITEMS), key=lambda item: -scores[user, item])[:k]
        places = [place for place, item in enumerate(shown, start=1) if item in wanted]
        ideal = sum(1 / math.log2(place + 1) for place in range(1, min(k, len(wanted)) + 1))
        ndcg.append(sum(1 / math.log2(place + 1) for place in places) / ideal)
        recall.append(len(places) / len(wanted))
        hits.append(float(bool(places)))
        mrr.append(1 / places[0] if places else 0.0)
    assert metrics.user_ndcg(ranks, users, USERS, k) == pytest.approx(ndcg)
    assert metrics.user_recall(ranks, users, USERS, k) == pytest.approx(recall)
    assert metrics.user_hit(ranks, users, USERS, k) == pytest.approx(hits)
    assert metrics.user_reciprocal_rank(ranks, users, USERS, k) == pytest.approx(mrr)


@pytest.mark.parametrize("k", [1, 3, 10, 40])
def test_ndcg_agrees_with_scikit_learn(case: tuple[np.ndarray, ...], k: int) -> None:
    scores, users, targets, ranks = case
    truth = np.zeros((USERS, ITEMS))
    truth[users, targets] = 1
    assert metrics.user_ndcg(ranks, users, USERS, k).mean() == pytest.approx(ndcg_score(truth, scores, k=k))
    # with one positive a row NDCG is the gain itself, and reciprocal rank is average precision
    one = np.eye(ITEMS)[targets]
    assert metrics.gain(ranks, k).mean() == pytest.approx(ndcg_score(one, scores[users], k=k))
    precision = label_ranking_average_precision_score(one, scores[users])
    assert metrics.reciprocal_rank(ranks, ITEMS).mean() == pytest.approx(precision)


def test_users_without_rows_are_nan_and_leave_averages_alone() -> None:
    found = metrics.user_ndcg(np.array([1.0]), np.array([2]), 4, 10)
    assert np.isnan(found[[0, 1, 3]]).all() and found[2] == 1.0


def test_a_pair_tested_twice_is_one_positive_of_the_user() -> None:
    rows = TestRows.of([0], [0], [0, 0, 0], [1, 1, 2], 5)
    entry = Predictions("m", ranks=Ranks(np.array([1.0, 1.0, 5.0]), np.array([1.0, 1.0, 5.0]))).check(rows)
    found = tallies(entry, rows, (2,))
    recall, hit = found["raw recall@2 (user)"], found["raw hit_rate@2 (row)"]
    assert recall.tops.sum() / recall.bottoms.sum() == 0.5
    assert hit.tops.sum() / hit.bottoms.sum() == pytest.approx(2 / 3)


def test_rating_errors_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    actual, predicted = rng.random(200) * 5, rng.random(200) * 5
    rows = TestRows.of(
        [0], [0], rng.integers(0, 9, 200), np.zeros(200, int), 1, ratings=np.r_[actual[:-1], np.nan]
    )
    found = tallies(Predictions("m", ratings=predicted), rows, (10,))
    rmse, mae = found["rmse"], found["mae"]
    assert rmse.root and not mae.root
    assert math.sqrt(rmse.tops.sum() / rmse.bottoms.sum()) == pytest.approx(
        root_mean_squared_error(actual[:-1], predicted[:-1])
    )
    assert mae.tops.sum() / mae.bottoms.sum() == pytest.approx(
        mean_absolute_error(actual[:-1], predicted[:-1])
    )
