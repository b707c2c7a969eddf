from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from shortlist._typing import Array
from shortlist.errors import DataError, RequestError
from shortlist.index.exact import search, top_k
from shortlist.state.seen import Seen

# few distinct values, so that ties are everywhere, the k-th place included
SCORES = arrays(
    np.float32, st.tuples(st.integers(1, 5), st.integers(1, 12)), elements=st.sampled_from([-1, 0, 0.5, 2])
)


def naive_top(scores: list[float], k: int, mask: list[bool]) -> list[int]:
    order = sorted((i for i in range(len(scores)) if mask[i]), key=lambda i: (-scores[i], i))[:k]
    return order + [-1] * (k - len(order))


@settings(deadline=None)
@given(scores=SCORES, k=st.integers(1, 15), seed=st.integers(0, 9))
def test_top_k_is_the_sorted_list(scores: Array, k: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random(scores.shape) < 0.7
    positions, values = top_k(scores, k, mask)
    assert positions.dtype == np.int32
    for row in range(len(scores)):
        expected = naive_top(scores[row].tolist(), k, mask[row].tolist())
        assert positions[row].tolist() == expected
        found = [scores[row, i] if i >= 0 else -np.inf for i in expected]
        assert values[row].tolist() == found


def test_top_k_never_returns_minus_infinity() -> None:
    positions, values = top_k(np.array([[-np.inf, 1.0, -np.inf]]), 2)
    assert positions.tolist() == [[1, -1]] and values.tolist() == [[1.0, -np.inf]]


@pytest.mark.parametrize("block", [1, 3, None])
def test_search_filters_inside_and_is_the_same_in_any_block(block: int | None) -> None:
    rng = np.random.default_rng(0)
    # small integers: products are exact, so ties are real and blocks agree to the bit
    queries = rng.integers(-2, 3, (7, 4)).astype(np.float32)
    items = rng.integers(-2, 3, (30, 4)).astype(np.float32)
    users = np.array([0, 1, 2, -1, 0, 1, 2])
    seen = Seen.from_pairs(rng.integers(0, 3, 40), rng.integers(0, 30, 40), 3)
    allow = rng.random(30) < 0.6
    positions, scores = search(queries, items, 12, exclude=seen, users=users, allow=allow, block=block)
    for row, user in enumerate(users):
        mask = allow & ~np.isin(np.arange(30), seen.of(user))
        assert positions[row].tolist() == naive_top((queries[row] @ items.T).tolist(), 12, mask.tolist())
    again = search(queries, items, 12, exclude=seen.mask(users, 30), allow=np.tile(allow, (7, 1)), block=2)
    assert np.array_equal(again[0], positions) and np.array_equal(again[1], scores)


def test_search_edges() -> None:
    items = np.eye(3, dtype=np.float32)
    assert search(np.zeros((0, 3), np.float32), items, 2)[0].shape == (0, 2)
    assert search(items[:1], items, 5)[0].tolist() == [[0, 1, 2, -1, -1]]
    assert search(items[:1], items, 2, allow=np.zeros(3, np.bool_))[0].tolist() == [[-1, -1]]
    with pytest.raises(RequestError, match="k is 0"):
        search(items, items, 0)
    with pytest.raises(RequestError, match="no users"):
        search(items, items, 1, exclude=Seen.from_pairs([0], [0], 1))
    with pytest.raises(DataError, match="share a width"):
        search(items[:, :2], items, 1)
    with pytest.raises(DataError, match=r"row 1 .*NaN"):
        search(np.array([[0, 0, 0], [np.nan, 0, 0]], np.float32), items, 1)
