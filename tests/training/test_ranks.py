"""The compiled counter of ranks against a naive one and against NumPy's over a bundle."""

from __future__ import annotations

import numpy as np
import pytest

from shortlist.errors import DataError
from shortlist.index import exact
from shortlist.state.seen import Seen
from shortlist.training import ranks
from shortlist.training.ranks import count_ranks


def naive(
    queries: np.ndarray, items: np.ndarray, targets: np.ndarray, seen: Seen, users: np.ndarray
) -> tuple:
    raw, filtered = [], []
    for query, target, user in zip(queries, targets, users, strict=True):
        scores = items @ query
        hidden = set(seen.of(int(user)).tolist()) - {int(target)} if user >= 0 else set()
        for kept, out in ((set(range(len(items))), raw), (set(range(len(items))) - hidden, filtered)):
            others = [i for i in kept if i != target]
            above = sum(scores[i] > scores[target] for i in others)
            out.append(1 + above + sum(scores[i] == scores[target] for i in others) / 2)
    return np.array(raw), np.array(filtered)


def case(count: int, num_items: int = 23, num_users: int = 7) -> tuple:
    rng = np.random.default_rng(count)
    # whole numbers: exact in float32, with many ties
    queries = rng.integers(-2, 3, (count, 3)).astype(np.float32)
    items = rng.integers(-2, 3, (num_items, 3)).astype(np.float32)
    targets = rng.integers(0, num_items, count).astype(np.int32)
    seen = Seen.from_pairs(rng.integers(0, num_users, 40), rng.integers(0, num_items, 40), num_users)
    return queries, items, targets, seen, rng.integers(-1, num_users, count).astype(np.int32)


@pytest.mark.parametrize("count", [1, 50])
def test_ranks_with_ties_seen_items_and_unknown_users(count: int) -> None:
    given = case(count)
    raw, filtered = count_ranks(*given)
    expected = naive(*given)
    np.testing.assert_array_equal(raw, expected[0])
    np.testing.assert_array_equal(filtered, expected[1])
    assert raw.dtype == filtered.dtype == np.float64
    if count > 1:
        assert (raw % 1 == 0.5).any()
        assert (filtered < raw).any()


def test_more_queries_than_a_block_agree_with_the_index() -> None:
    queries, items, targets, seen, users = case(ranks.BLOCK + 7)
    found = count_ranks(queries, items, targets, seen, users)
    by_index = exact.count_ranks(lambda at: queries[at] @ items.T, targets, seen, users)
    np.testing.assert_array_equal(found[0], by_index.raw)
    np.testing.assert_array_equal(found[1], by_index.filtered)


def test_nobody_has_seen_anything() -> None:
    queries, items, targets, _, users = case(50)
    nothing = Seen(np.zeros(8, np.int64), np.zeros(0, np.int32))
    raw, filtered = count_ranks(queries, items, targets, nothing, users)
    np.testing.assert_array_equal(raw, filtered)


def test_no_rows_have_no_ranks() -> None:
    queries, items, targets, seen, users = case(1)
    raw, filtered = count_ranks(queries[:0], items, targets[:0], seen, users[:0])
    assert raw.shape == filtered.shape == (0,)


@pytest.mark.parametrize("target", [-1, 23])
def test_a_target_outside_the_catalogue(target: int) -> None:
    queries, items, targets, seen, users = case(50)
    targets[3] = target
    with pytest.raises(DataError, match="not in the catalogue of 23 items"):
        count_ranks(queries, items, targets, seen, users)


def test_vectors_of_a_diverged_model_are_no_good_rank() -> None:
    queries, items, targets, seen, users = case(50)
    queries[4, 1] = np.nan
    with pytest.raises(DataError, match="query vector 4 is not finite"):
        count_ranks(queries, items, targets, seen, users)
    queries[4, 1], items[2] = 0, np.inf
    with pytest.raises(DataError, match="item vector 2 is not finite"):
        count_ranks(queries, items, targets, seen, users)
