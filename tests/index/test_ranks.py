"""Ranks counted in NumPy against the ranks of sorted scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from shortlist._typing import Array
from shortlist.errors import DataError
from shortlist.index import ranks
from shortlist.index.ranks import Ranks, count_ranks, product_ranks
from shortlist.state.seen import Seen

# few distinct values, so that ties are everywhere
SCORES = arrays(
    np.float32, st.tuples(st.integers(1, 5), st.integers(1, 12)), elements=st.sampled_from([-1, 0, 0.5, 2])
)


def check(found: Ranks, scores: Array, targets: Array, seen: Seen, users: Array) -> None:
    from scipy.stats import rankdata  # a second to import

    for row, target in enumerate(targets):
        assert found.raw[row] == rankdata(-scores[row])[target]
        hidden = seen.of(int(users[row]))
        left = [i for i in range(scores.shape[1]) if i == target or i not in hidden]
        assert found.filtered[row] == rankdata(-scores[row, left])[left.index(target)]


@settings(deadline=None)
@given(scores=SCORES, seed=st.integers(0, 99), block=st.sampled_from([1, 2, None]))
def test_ranks_agree_with_rankdata(scores: Array, seed: int, block: int | None) -> None:
    rng, (num_rows, num_items) = np.random.default_rng(seed), scores.shape
    targets, users = rng.integers(0, num_items, num_rows), rng.integers(-1, 3, num_rows)
    seen = Seen.from_pairs(rng.integers(0, 3, 12), rng.integers(0, num_items, 12), 3)
    found = count_ranks(lambda rows: scores[rows], targets, seen, users, num_items=num_items, block=block)
    check(found, scores, targets, seen, users)


@settings(deadline=None, max_examples=50)
@given(
    num_rows=st.integers(0, 40),
    num_items=st.integers(1, 40),
    scores_a_block=st.sampled_from([512, 2048, 1 << 20]),
    items_a_block=st.sampled_from([1, 3, 8, 4096]),
    seed=st.integers(0, 99),
)
def test_ranks_of_products_are_the_same_in_any_block(
    num_rows: int, num_items: int, scores_a_block: int, items_a_block: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    # small integers: products are exact, so ties are real and blocks agree to the bit
    queries = rng.integers(-2, 3, (num_rows, 3)).astype(np.float32)
    items = rng.integers(-2, 3, (num_items, 3)).astype(np.float32)
    targets = rng.integers(0, num_items, num_rows).astype(np.int32)
    users = rng.integers(-1, 4, num_rows).astype(np.int32)
    # user 3 has seen nothing; targets are among what others have seen
    seen = Seen.from_pairs(rng.integers(0, 3, 30), rng.integers(0, num_items, 30), 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranks, "_BLOCK_SCORES", scores_a_block)
        patch.setattr(ranks, "_BLOCK_ITEMS", items_a_block)
        found = product_ranks(queries, items, targets, seen, users)
    check(found, queries @ items.T, targets, seen, users)


def test_a_catalogue_wider_than_a_small_count() -> None:
    # 40,000 greater scores, and 40,000 equal ones: doubled they do not fit 16 bits
    scores = np.repeat(np.float32([2, 1]), 40_000)[None]
    found = count_ranks(lambda rows: scores[rows], [79_999])
    assert found.raw == 1 + 40_000 + 39_999 / 2


def test_equal_scores_give_the_middle_rank() -> None:
    found = count_ranks(lambda rows: np.zeros((rows.stop - rows.start, 99)), np.arange(20))
    assert (found.raw == 50).all() and (found.filtered == 50).all()


@pytest.mark.parametrize("num_items", [None, 4])
@pytest.mark.parametrize("target", [-1, 4])
def test_a_target_outside_the_catalogue_is_an_error(target: int, num_items: int | None) -> None:
    with pytest.raises(DataError, match=f"row 1: target {target} is not in the catalogue of 4 items"):
        count_ranks(lambda rows: np.zeros((2, 4)), [0, target], num_items=num_items)
    vectors, nobody = np.zeros((4, 2), np.float32), Seen(np.zeros(1, np.int64), np.zeros(0, np.int32))
    with pytest.raises(DataError, match=f"row 1: target {target} is not in the catalogue of 4 items"):
        product_ranks(vectors[:2], vectors, np.int32([0, target]), nobody, np.int32([-1, -1]))


def test_what_is_not_finite_has_no_ranks() -> None:
    with pytest.raises(DataError, match="NaN"):
        count_ranks(lambda rows: np.array([[0.0, np.nan]]), [0])
    vectors, nobody = np.zeros((4, 2), np.float32), Seen(np.zeros(1, np.int64), np.zeros(0, np.int32))
    vectors[2, 1] = -np.inf
    with pytest.raises(DataError, match="item vector 2 is not finite"):
        product_ranks(vectors[:2], vectors, np.int32([0, 1]), nobody, np.int32([-1, -1]))
    with pytest.raises(DataError, match="query vector 1 is not finite"):
        product_ranks(vectors[1:3], vectors[:2], np.int32([0, 1]), nobody, np.int32([-1, -1]))
