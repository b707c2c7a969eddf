from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.errors import DataError
from shortlist.index.rows import log_sum_exp
from shortlist.index.top import top_k, top_of_pairs


@settings(deadline=None, max_examples=60)
@given(
    rows=st.integers(1, 4),
    items=st.sampled_from([1, 7, 300, 1111, 5000]),
    k=st.sampled_from([1, 3, 40, 400]),
    levels=st.sampled_from([1, 2, 60, 10**6]),
    gaps=st.sampled_from([0.0, 0.5, 0.999]),
    seed=st.integers(0, 9),
)
def test_wide_rows_are_the_sorted_list(
    rows: int, items: int, k: int, levels: int, gaps: float, seed: int
) -> None:
    """Rows long enough for groups of columns, with few levels (ties everywhere), -0.0 and -inf among them."""
    rng = np.random.default_rng(seed)
    scores = (rng.integers(-levels, levels, (rows, items)) / levels).astype(np.float32)
    scores[rng.random(scores.shape) < 0.1] *= -0.0
    scores[rng.random(scores.shape) < gaps] = -np.inf
    positions, best = top_k(scores, k)
    for row in range(rows):
        right = np.lexsort((np.arange(items), -scores[row]))[:k]
        right = right[scores[row, right] > -np.inf]
        assert positions[row].tolist() == [*right, *[-1] * (k - len(right))]
        assert best[row].tolist() == [*scores[row, right], *[-np.inf] * (k - len(right))]


@pytest.mark.parametrize("place", [0, 999, 4999])
def test_one_nan_anywhere_is_an_error(place: int) -> None:
    scores = np.zeros((3, 5000), np.float32)
    scores[1, place] = np.nan
    with pytest.raises(DataError, match=r"row 1 .*NaN"):
        top_k(scores, 5)


def test_scattered_scores_are_ordered_as_whole_rows_are() -> None:
    rng = np.random.default_rng(0)
    scores = np.full((5, 50), -np.inf, np.float32)
    row, item = np.divmod(rng.permutation(200)[:60], 50)
    scores[row, item] = rng.integers(-2, 3, 60)
    scores[row[0], item[0]] = -np.inf
    found = top_of_pairs(row, item, scores[row, item], 5, 7)
    for one, other in zip(found, top_k(scores, 7), strict=True):
        assert np.array_equal(one, other)
    nothing = np.zeros(0, np.int64)
    empty = top_of_pairs(nothing, nothing, np.zeros(0, np.float32), 2, 3)
    assert (empty[0] == -1).all() and empty[0].shape == (2, 3)


def test_log_sum_exp_of_any_size() -> None:
    """Rows whose powers overflow, vanish, or are all nothing stand beside plain ones."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(2000, 60)).astype(np.float32)
    shifts = np.array([0, 60, 80, 89, 3e4, -60, -80, -100, -3e4, 1e30], np.float32)
    scores += rng.choice(shifts, (2000, 1))
    scores[::7, 3:50] = -np.inf
    scores[5] = -np.inf
    got = log_sum_exp(scores)
    assert got[5] == -np.inf
    there = np.delete(np.arange(2000), 5)
    want = np.logaddexp.reduce(scores[there].astype(np.float64), axis=1)
    np.testing.assert_allclose(got[there], want, rtol=1e-6, atol=2e-6)
