"""Items that share a vector tie, whatever the shape of the product their scores came from."""

from __future__ import annotations

import numpy as np
import pytest

from shortlist._typing import Floats, Longs
from shortlist.index.exact import ExactIndex
from shortlist.index.ties import best
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
