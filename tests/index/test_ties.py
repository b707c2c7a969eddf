"""Items that share a vector tie, whatever the shape of the product their scores came from."""

from __future__ import annotations

import numpy as np
import pytest

from shortlist._typing import Floats, Longs
from shortlist.index.exact import ExactIndex
from shortlist.index.rows import Rows
from shortlist.index.ties import best, favoured, products, slack_for, slack_of_one
from shortlist.pipeline.neighbours import nearest
from shortlist.state.seen import Seen


def catalogue(rng: np.random.Generator, size: int, width: int, distinct: int) -> tuple[Floats, Longs]:
    which = rng.integers(0, distinct, size)
    return rng.standard_normal((distinct, width)).astype(np.float32)[which], which


@pytest.mark.parametrize(("size", "width", "distinct"), [(1001, 513, 3), (5003, 16, 40), (5001, 3, 400)])
def test_equal_vectors_are_ordered_by_position(size: int, width: int, distinct: int) -> None:
    rng = np.random.default_rng(size)
    vectors, which = catalogue(rng, size, width, distinct)
    queries = rng.standard_normal((33, width)).astype(np.float32)
    index = ExactIndex.of(vectors).without(np.arange(0, size, 7))
    had = Seen.from_pairs(np.repeat(np.arange(33), 40), rng.integers(0, size, 33 * 40), 33)
    for allow in (None, rng.random(size) < 0.6, rng.random(size) < 0.05):
        may = np.ones(size, np.bool_) if allow is None else allow.copy()
        may[::7] = False
        found = index.search(queries, 20, allow=allow, bonus=(had, 0.5))
        for row, query in enumerate(queries):
            one_each = np.array(
                [np.dot(query.astype(float), vectors[which == w][0]) for w in range(distinct)]
            )
            scores = one_each[which]
            scores[had.of(row)] += 0.5
            scores[~may] = -np.inf
            right = np.lexsort((np.arange(size), -np.round(scores, 9)))[:20]
            assert found.positions[row].tolist() == right.tolist()


def test_a_batch_finds_what_single_queries_find() -> None:
    rng = np.random.default_rng(1)
    vectors, _ = catalogue(rng, 3000, 48, 200)
    queries = rng.standard_normal((64, 48)).astype(np.float32)
    index = ExactIndex.of(vectors).updated(np.arange(3000, 3100), np.repeat(vectors[:10], 10, axis=0))
    together = index.search(queries, 25).positions
    assert np.array_equal(together, np.concatenate([index.search(q[None], 25).positions for q in queries]))


def test_only_scores_that_lie_near_each_other_are_computed_again() -> None:
    scores = np.array([[5, 4, 3, 3 + 1e-6, 3, 1], [6, 5, 4, 3, 2, 1]], np.float32)
    exact = np.array([[5, 4, 3, 3, 3.5, 1], [6, 5, 4, 3, 2, 1]], np.float32)
    asked: list[tuple[int, int]] = []

    def again(rows: Longs, columns: Longs) -> Floats:
        asked.extend(zip(rows.tolist(), columns.tolist(), strict=True))
        return exact[rows, columns]

    positions, found = best(scores, 3, again)
    assert positions.tolist() == [[0, 1, 4], [0, 1, 2]] and found.tolist() == [[5, 4, 3.5], [6, 5, 4]]
    assert set(asked) == {(0, 2), (0, 3), (0, 4)}
    positions, _ = best(scores, 9, again, np.array([True, False, True, True, False, False]))
    assert positions[:, :4].tolist() == [[0, 2, 3, -1], [0, 2, 3, -1]] and positions.shape == (2, 6)


def test_a_k_beyond_all_numbers_costs_no_more_than_all_items() -> None:
    index = ExactIndex.of(np.eye(3, dtype=np.float32))
    few = np.zeros(30, np.bool_)
    few[4] = True
    found = index.search(np.eye(3, dtype=np.float32)[:1], 10**9)
    assert found.positions.tolist() == [[0, 1, 2]]
    wide = ExactIndex.of(np.ones((30, 2), np.float32)).search(np.ones((1, 2), np.float32), 10**9, allow=few)
    assert wide.positions.shape == (1, 30) and wide.positions[0, :2].tolist() == [4, -1]


def test_neighbours_of_equal_vectors_are_in_order_of_position() -> None:
    rng = np.random.default_rng(2)
    vectors, which = catalogue(rng, 9001, 33, 500)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    asked = np.arange(0, 9001, 90)
    for item, found in zip(asked, nearest(unit, asked, 30), strict=True):
        scores = (unit[[np.flatnonzero(which == w)[0] for w in range(500)]].astype(float) @ unit[item])[which]
        scores[item] = -np.inf
        assert found.tolist() == np.lexsort((np.arange(9001), -np.round(scores, 9)))[:30].tolist()


@pytest.mark.parametrize("width", [8, 32, 128])
def test_ties_hold_where_scores_are_near_zero(width: int) -> None:
    """Products that cancel are off by what their terms are rounded by, however small they are."""
    rng = np.random.default_rng(width)
    vector, common = rng.standard_normal((2, width)) * [[1], [1000]]
    queries = rng.standard_normal((150, width))
    for vectors in (
        np.repeat(vector[None], 64, 0),
        common + rng.standard_normal((30, width))[[*range(30)] * 2],
    ):
        around = queries - np.outer(queries @ vectors[0], vectors[0]) / (vectors[0] @ vectors[0])
        index, asked = ExactIndex.of(vectors.astype(np.float32)), around.astype(np.float32)
        found = index.search(asked, 10).positions
        again = np.concatenate([index.search(one[None], 10).positions for one in asked])
        assert np.array_equal(found, again)
        for row, one in enumerate(asked):  # the same sum for the same vector
            alone = np.array([np.einsum("d,d->", one, vector) for vector in vectors.astype(np.float32)])
            twins = np.lexsort((np.arange(len(vectors)), -alone))[:10]
            np.testing.assert_array_equal(found[row], twins)


def test_the_slack_covers_what_products_differ_by_and_little_more() -> None:
    rng = np.random.default_rng(0)
    for width in (3, 32, 200):
        vectors, queries = (rng.standard_normal((n, width)).astype(np.float32) for n in (700, 40))
        rows, columns = (x.reshape(-1) for x in np.indices((40, 700)))
        one_by_one = products(queries, rows, lambda at: vectors[at], columns)  # noqa: B023
        apart = np.abs((queries @ vectors.T) - one_by_one.reshape(40, 700)).max(axis=1)
        longest = float(np.linalg.norm(vectors, axis=1).max())
        slack = np.asarray(slack_for(queries, longest))
        alone = [slack_of_one(query[None], longest) for query in queries]
        np.testing.assert_allclose(slack, alone, rtol=1e-5)
        assert (apart * 1.3 < slack).all() and slack.max() < 1e-5 * longest * 2 * width**0.5
    huge = slack_for(np.full((2, 4), 1e30, np.float32), 1e30)
    assert np.isfinite(huge).all() and slack_of_one(np.full((1, 4), 1e30, np.float32), 1e30) > 1e38


@pytest.mark.parametrize("num", [1, 3])
@pytest.mark.filterwarnings("error:invalid value")
@pytest.mark.filterwarnings("ignore:overflow encountered in matmul")
def test_what_may_not_be_returned_is_not_where_products_overflow(num: int) -> None:
    rng = np.random.default_rng(0)
    hidden = Seen.from_pairs(np.repeat(np.arange(num), 200), np.tile(np.arange(200), num), num)
    allow = np.arange(300) >= 150
    same_vectors = np.full((300, 8), 1e20, np.float32)
    signed = (same_vectors * rng.choice([-1, 1], (300, 1))).astype(np.float32)
    for vectors, size in ((same_vectors, 1e20), (signed, 1e20), (signed, 4e17), (signed, 4.2e17)):
        queries = np.full((num, 8), size, np.float32)
        for kept in (None, allow):
            found = ExactIndex.of(vectors).search(queries, 10, allow=kept, exclude=hidden)
            right = np.flatnonzero((np.arange(300) >= 200) & (vectors[:, 0] > 0))[:10]
            assert (found.positions == right).all()
    queries = np.full((num, 8), 1, np.float32)
    queries[0, 0] = np.inf
    found = ExactIndex.of(signed / np.float32(1e20)).search(queries, 10, allow=allow, exclude=hidden)
    assert (found.positions[found.positions >= 0] >= 200).all()


def test_fresh_rows_and_the_base_say_how_long_vectors_are() -> None:
    rows = Rows.of(np.array([[3, 4], [1e25, 0], [np.nan, 1]], np.float32))
    assert rows.longest == pytest.approx(1e25)
    assert Rows.of(np.zeros((0, 2), np.float32)).longest == 0
    grown = Rows.of(np.array([[3, 4]], np.float32)).updated(np.array([1]), np.array([[0, 9]], np.float32))
    assert grown.longest == 9


def test_the_bonus_is_that_of_each_pair() -> None:
    """Against sets: many pairs, few, none, ids at both ends, rows that had nothing."""
    rng = np.random.default_rng(4)
    for num_rows, num_items, share in ((1, 5, 0.5), (6, 40, 0.1), (6, 40, 0.0), (4, 3, 1.0)):
        had = np.nonzero(rng.random((num_rows, num_items)) < share)
        rows, at = (x.reshape(-1) for x in np.indices((num_rows, num_items)))
        mixed = rng.permutation(len(rows))
        known = set(zip(had[0].tolist(), had[1].tolist(), strict=True))
        want = [
            1.5 if pair in known else 0.0
            for pair in zip(rows[mixed].tolist(), at[mixed].tolist(), strict=True)
        ]
        assert favoured(rows[mixed], at[mixed], had[0], had[1].astype(np.int32), 1.5).tolist() == want
