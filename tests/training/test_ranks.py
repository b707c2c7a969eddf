"""The compiled counter of ranks against a naive one and against NumPy's over a bundle."""

from __future__ import annotations

import numpy as np
import pytest

from shortlist.errors import DataError
from shortlist.index.ranks import product_ranks
from shortlist.state.seen import Seen
from shortlist.training import ranks
from shortlist.training.ranks import Plan, count_ranks


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


def random_case(num_rows: int, num_items: int, width: int = 3) -> tuple:
    """Whole numbers, ties everywhere; every other user has seen their target."""
    rng = np.random.default_rng(num_rows + num_items)
    queries = rng.integers(-3, 4, (num_rows, width)).astype(np.float32)
    items = rng.integers(-3, 4, (num_items, width)).astype(np.float32)
    targets, users = rng.integers(0, num_items, num_rows), rng.integers(-1, 50, num_rows)
    taken = np.where(users % 2 == 0, users, -1)
    pairs = np.r_[rng.integers(0, 50, 900), taken], np.r_[rng.integers(0, num_items, 900), targets]
    seen = Seen.from_pairs(*pairs, 51)
    return queries, items, targets.astype(np.int32), seen, users.astype(np.int32)


# one item; around a word of bits; around one block of rows; more than a call of rows; around the widest
# catalogue of one block; several blocks of items, and several calls of them
SHAPES = [(5, 1), (9, 31), (9, 32), (9, 33), (511, 65), (513, 65), (4101, 65), (7, 4096), (7, 4097)]
SHAPES += [(129, 5 * 1024), (70, 8 * 1024 + 1), (300, 17_000), (2049, 4_500)]


@pytest.mark.parametrize(("num_rows", "num_items"), SHAPES)
def test_any_size_agrees_with_scores_that_are_held_whole(num_rows: int, num_items: int) -> None:
    queries, items, targets, seen, users = random_case(num_rows, num_items)
    scores, at = queries @ items.T, np.arange(num_rows)
    own, hidden = scores[at, targets][:, None], seen.mask(users, num_items)
    places = (scores > own) + 0.5 * (scores == own)
    places[at, targets] = 0
    raw, filtered = count_ranks(queries, items, targets, seen, users)
    np.testing.assert_array_equal(raw, 1 + places.sum(1))
    np.testing.assert_array_equal(filtered, 1 + (places * ~hidden).sum(1))


@pytest.mark.parametrize("plan", [(1682, 600), (4500, 200)])
def test_items_with_the_vector_of_the_target_tie_with_it(plan: tuple[int, int]) -> None:
    num_items, num_rows = plan
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((40, 32)).astype(np.float32)
    which, targets = rng.integers(0, 40, num_items), rng.integers(0, num_items, num_rows).astype(np.int32)
    queries = rng.standard_normal((num_rows, 32)).astype(np.float32)
    nobody = Seen(np.zeros(1, np.int64), np.zeros(0, np.int32))
    raw, _ = count_ranks(queries, vectors[which], targets, nobody, np.full(num_rows, -1, np.int32))
    scores, copies = queries.astype(np.float64) @ vectors.T.astype(np.float64), np.bincount(which)
    own = scores[np.arange(num_rows), which[targets]][:, None]
    np.testing.assert_array_equal(raw, 1 + (scores > own) @ copies + (copies[which[targets]] - 1) / 2)


def test_float_vectors_agree_with_the_index() -> None:
    rng = np.random.default_rng(1)
    queries, items = (rng.standard_normal((n, 16)) for n in (300, 5_000))  # float64: made float32
    _, _, targets, seen, users = random_case(300, 5_000)
    raw, filtered = count_ranks(queries, items, targets, seen, users)
    other = product_ranks(queries, items, targets, seen, users)
    # float32 against float64: few scores change places
    assert np.abs(raw - other.raw).max() <= 1 and np.abs(filtered - other.filtered).max() <= 1
    assert (raw == other.raw).mean() > 0.9 and (filtered < raw).any()


def test_one_program_for_any_number_of_rows() -> None:
    sizes = set()
    for num_rows in (1, 600, 5_000):
        count_ranks(*random_case(num_rows, 77))
        sizes.add(ranks._count._cache_size())
    assert len(sizes) == 1


@pytest.mark.parametrize("num_rows", [1, 20_000])
@pytest.mark.parametrize("num_items", [1, 1682, 4096, 4097, 10**6, 10**9])
def test_blocks_are_bounded_whatever_the_catalogue(num_rows: int, num_items: int) -> None:
    plan = Plan.of(num_rows, num_items)
    assert plan.block * plan.items * 4 <= 8 << 20
    assert plan.rows % plan.block == 0 and plan.items % 32 == 0
    # twice a count of a call's items fits 16 bits, and a catalogue of one block is counted in one
    assert 2 * plan.span < 1 << 16
    assert plan.blocks > 1 or plan.items >= num_items


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
