"""The stages one by one, against SciPy and plain sorting."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax

from shortlist._typing import Floats, Longs
from shortlist.errors import RequestError
from shortlist.index.exact import ExactIndex
from shortlist.index.rows import Rows
from shortlist.pipeline import stages
from shortlist.pipeline.stages import Candidates, Popular, Utility, order, rank, retrieve
from shortlist.state.catalogue import Items
from shortlist.state.seen import Seen

RNG = np.random.default_rng(0)


class Product:
    """Rates a pair by its inner product."""

    def predict(
        self,
        query: Floats,
        candidate: Floats,
        aggregates: dict[str, Floats] | None = None,
        rows: Longs | None = None,
    ) -> dict[str, Floats]:
        if rows is not None:
            query, candidate = query[:, None], candidate[rows]
        return {"rating": (query * candidate).sum(-1)}


def relation(mask: np.ndarray) -> Seen:
    return Seen.from_pairs(*np.nonzero(mask), len(mask))


def test_retrieval_scores_are_log_probabilities_of_the_whole_catalogue() -> None:
    queries, items = (RNG.normal(size=(n, 3)).astype(np.float32) for n in (4, 20))
    hidden, allowed = RNG.random((4, 20)) < 0.5, RNG.random(20) < 0.5
    had = RNG.random((4, 20)) < 0.3
    index = ExactIndex.of(items)
    found = retrieve(index, queries, 20, allow=allowed, exclude=relation(hidden), bonus=(relation(had), 0.5))
    full = log_softmax((queries @ items.T).astype(np.float64) + 0.5 * had, axis=1)
    for row in range(4):
        kept = found.positions[row] >= 0
        assert sorted(found.positions[row][kept]) == np.flatnonzero(allowed & ~hidden[row]).tolist()
        np.testing.assert_allclose(found.log_p[row][kept], full[row][found.positions[row][kept]], atol=1e-5)
        assert np.isneginf(found.log_p[row][~kept]).all()


def test_where_no_item_is_left_nothing_is_found() -> None:
    index = ExactIndex.of(np.ones((2, 1), np.float32)).without(np.arange(2))
    found = retrieve(index, np.ones((1, 1), np.float32), 3)
    assert found.positions.tolist() == [[-1, -1]] and np.isneginf(found.log_p).all()


def test_popular_items_are_the_same_for_all() -> None:
    items = Items.of(["a", "b", "c", "d"], {}, [1, 5, 1, 3])
    found = Popular.of(items).candidates(2, 3)
    assert found.positions.tolist() == [[1, 3, 0]] * 2
    assert found.popular.all()


@given(st.data())
def test_popular_items_are_those_a_sort_leaves(data: st.DataObject) -> None:
    num, k = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 14))
    counts = np.array(data.draw(st.lists(st.integers(1, 4), min_size=num, max_size=num)))
    bools = st.lists(st.booleans(), min_size=num, max_size=num)
    allow, retired = np.array(data.draw(bools)), np.array(data.draw(bools))
    hidden = np.array(data.draw(st.lists(bools, min_size=3, max_size=3)))
    items = Items.of([str(i) for i in range(num)], {}, counts - 1).without(np.flatnonzero(retired))
    found = Popular.of(items).candidates(3, k, allow=allow, exclude=relation(hidden))
    for row in range(3):
        left = [i for i in range(num) if allow[i] and not retired[i] and not hidden[row, i]]
        want = sorted(left, key=lambda i: (-counts[i], i))[:k]
        assert found.positions[row].tolist() == want + [-1] * (k - len(want))
        np.testing.assert_allclose(
            found.log_p[row][: len(want)], np.log(counts[want] / counts.sum()), rtol=1e-5
        )


def test_ranking_skips_padding() -> None:
    found = Candidates(np.array([[2, 0, -1]]), np.zeros((1, 3), np.float32), np.zeros(1, bool))
    items = np.array([[1.0], [2.0], [3.0]], np.float32)
    ranked = rank(Product(), np.array([[2.0]], np.float32), items, found)  # type: ignore[arg-type]
    np.testing.assert_array_equal(ranked.predictions["rating"], [[6.0, 2.0, np.nan]])
    nothing = rank(Product(), np.ones((1, 1), np.float32), items, Candidates(  # type: ignore[arg-type]
        np.full((1, 3), -1), np.full((1, 3), -np.inf, np.float32), np.zeros(1, bool)
    ))  # fmt: skip
    assert np.isnan(nothing.predictions["rating"]).all()


class Watched(Product):
    """Remembers how many candidates it was given."""

    def __init__(self) -> None:
        self.given: list[int] = []

    def predict(
        self, query: Floats, candidate: Floats, aggregates: Any = None, rows: Longs | None = None
    ) -> dict[str, Floats]:
        assert rows is not None and aggregates["rating"].shape == (*rows.shape, 2)
        self.given.append(len(candidate))
        return {
            "rating": super().predict(query, candidate, None, rows)["rating"] + aggregates["rating"].sum(-1)
        }


@pytest.mark.parametrize("form", ["array", "rows", "of the query"])
@pytest.mark.parametrize(("num", "size", "given"), [(1, 99, [4]), (7, 99, [9]), (7, 11, [8, 8, 8, 4])])
def test_pairs_are_ranked_whatever_the_block(
    num: int, size: int, given: list[int], form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The catalogue is given whole where a block holds as many pairs; else each candidate is."""
    monkeypatch.setattr(stages, "_PAIRS", size)
    queries, items = (RNG.integers(-3, 4, (n, 2)).astype(np.float32) for n in (num, 9))
    positions = RNG.integers(-1, 9, (num, 5)).astype(np.int32)
    positions[:, 0], positions[:, 4] = 3, -1  # nothing is asked of a place that no query fills

    def numbers(row: Longs, position: Longs) -> dict[str, Floats]:
        return {"rating": np.stack([row, 10 * position], axis=1).astype(np.float32)}

    def represented(row: Longs, position: Longs) -> Floats:
        return items[position] + row[:, None].astype(np.float32)

    found = Candidates(positions, np.zeros(positions.shape, np.float32), np.zeros(num, bool))
    stored, scorer = (Rows.of(items) if form == "rows" else items), Watched()
    own = represented if form == "of the query" else None
    ranked = rank(scorer, queries, stored, found, numbers, own).predictions["rating"]  # type: ignore[arg-type]
    for b, k in np.ndindex(positions.shape):
        position = positions[b, k]
        item = items[position] + (b if own else 0)
        want = np.nan if position < 0 else queries[b] @ item + b + 10 * position
        assert ranked[b, k] == want or (np.isnan(want) and np.isnan(ranked[b, k]))
    if form == "array":
        assert scorer.given == given


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


@given(
    st.lists(st.lists(st.integers(-2, 2), min_size=6, max_size=6), min_size=2, max_size=5), st.integers(1, 7)
)
def test_many_rows_are_ordered_as_one_is(scores: list[list[int]], k: int) -> None:
    positions = np.tile(np.array([4, 2, 9, 0, -1, 7], np.int32), (len(scores), 1))
    given_ = np.array(scores, float)
    plain = np.zeros(positions.shape, np.float32)
    got = order(Candidates(positions, plain, np.zeros(len(scores), bool)), given_, k)
    for row in range(len(scores)):
        alone = Candidates(positions[row : row + 1], plain[row : row + 1], np.zeros(1, bool))
        assert got.positions[row].tolist() == order(alone, given_[row : row + 1], k).positions[0].tolist()


def test_utility() -> None:
    log_p, rating = np.array([[-1.0, -2.0]], np.float32), {"rating": np.array([[3.0, 5.0]], np.float32)}
    np.testing.assert_allclose(Utility(0.5)(log_p, rating), [[0.5, 0.5]])
    np.testing.assert_allclose(Utility()(log_p, {}), log_p)
    with pytest.raises(RequestError, match="the head 'stars'"):
        Utility(1.0, "stars")(log_p, rating)


@pytest.mark.parametrize("share", [0.05, 0.5, 1.0])
def test_what_is_no_number_comes_last_in_a_batch_too(share: float) -> None:
    rng = np.random.default_rng(5)
    scores = rng.standard_normal((4, 20))
    scores[:3][rng.random((3, 20)) < share] = np.nan
    positions = np.arange(80, dtype=np.int32).reshape(4, 20)  # another query's item is told by its number
    plain = np.zeros((4, 20), np.float32)
    for k in (1, 5, 18, 20, 30):
        got = order(Candidates(positions, plain, np.zeros(4, bool)), scores, k)
        for row in range(4):
            alone = order(Candidates(positions[[row]], plain[[row]], np.zeros(1, bool)), scores[[row]], k)
            assert got.positions[row].tolist() == alone.positions[0].tolist()
            whole = sorted(range(20), key=lambda at: (np.isnan(scores[row, at]), -scores[row, at], at))
            if not np.isnan(scores[row]).any():
                assert (got.positions[row] - 20 * row).tolist() == whole[:k]
            assert (got.positions[row] // 20 == row).all()
