"""The stages one by one, against SciPy and plain sorting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax, logsumexp

from shortlist._typing import Floats
from shortlist.errors import RequestError
from shortlist.pipeline.stages import Candidates, Utility, log_partition, most_popular, order, rank, retrieve

RNG = np.random.default_rng(0)


class Product:
    """Rates a pair by its inner product."""

    def predict(
        self, query: Floats, candidate: Floats, aggregates: dict[str, Floats] | None = None
    ) -> dict[str, Floats]:
        return {"rating": (query * candidate).sum(1)}


def test_log_partition_is_logsumexp_even_where_exp_overflows() -> None:
    scores = RNG.normal(size=(5, 40)).astype(np.float32) * 300
    np.testing.assert_allclose(log_partition(scores), logsumexp(scores.astype(np.float64), axis=1), rtol=1e-6)


def test_retrieval_scores_are_log_probabilities_of_the_whole_catalogue() -> None:
    queries, items = (RNG.normal(size=(n, 3)).astype(np.float32) for n in (4, 20))
    allowed = RNG.random((4, 20)) < 0.3
    found = retrieve(queries, items, 20, allowed)
    full = log_softmax((queries @ items.T).astype(np.float64), axis=1)
    for row in range(4):
        kept = found.positions[row] >= 0
        assert sorted(found.positions[row][kept]) == np.flatnonzero(allowed[row]).tolist()
        np.testing.assert_allclose(found.log_p[row][kept], full[row][found.positions[row][kept]], atol=1e-5)
        assert np.isneginf(found.log_p[row][~kept]).all()


def test_popular_items_are_the_same_for_all() -> None:
    found = most_popular(np.log([0.1, 0.5, 0.1, 0.3]), 2, 3)
    assert found.positions.tolist() == [[1, 3, 0]] * 2
    assert found.popular.all()


def test_ranking_skips_padding() -> None:
    found = Candidates(np.array([[2, 0, -1]]), np.zeros((1, 3), np.float32), np.zeros(1, bool))
    items = np.array([[1.0], [2.0], [3.0]], np.float32)
    ranked = rank(Product(), np.array([[2.0]], np.float32), items, found)  # type: ignore[arg-type]
    np.testing.assert_array_equal(ranked.predictions["rating"], [[6.0, 2.0, np.nan]])
    nothing = rank(Product(), np.ones((1, 1), np.float32), items, Candidates(  # type: ignore[arg-type]
        np.full((1, 3), -1), np.full((1, 3), -np.inf, np.float32), np.zeros(1, bool)
    ))  # fmt: skip
    assert np.isnan(nothing.predictions["rating"]).all()


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(-2, 2)), unique_by=lambda x: x[0]), st.integers(1, 9)
)
def test_order_is_by_score_then_position(pairs: list[tuple[int, int]], k: int) -> None:
    positions = np.array([[p for p, _ in pairs] + [-1, -1]], np.int32)
    scores = np.array([[float(s) for _, s in pairs] + [np.nan, 7.0]])
    found = Candidates(positions, np.zeros(positions.shape, np.float32), np.zeros(1, bool))
    got = order(found, scores, k)
    want = [p for p, _ in sorted(pairs, key=lambda x: (-x[1], x[0]))][:k]
    assert got.positions[0][got.positions[0] >= 0].tolist() == want
    assert (got.positions[0][len(want) :] == -1).all()


def test_utility() -> None:
    log_p, rating = np.array([[-1.0, -2.0]], np.float32), {"rating": np.array([[3.0, 5.0]], np.float32)}
    np.testing.assert_allclose(Utility(0.5)(log_p, rating), [[0.5, 0.5]])
    np.testing.assert_allclose(Utility()(log_p, {}), log_p)
    with pytest.raises(RequestError, match="the head 'stars'"):
        Utility(1.0, "stars")(log_p, rating)
