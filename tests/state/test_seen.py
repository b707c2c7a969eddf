from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.errors import DataError
from shortlist.state.seen import Seen

PAIRS = st.lists(st.tuples(st.integers(-1, 6), st.integers(-1, 9)), max_size=40)


@given(pairs=PAIRS, batch=st.lists(st.integers(-1, 9), max_size=12))
def test_agrees_with_a_dictionary_of_sets(pairs: list[tuple[int, int]], batch: list[int]) -> None:
    users, items = [u for u, _ in pairs], [i for _, i in pairs]
    seen = Seen.from_pairs(users, items, 7)
    expected = {user: sorted({i for u, i in pairs if u == user and i >= 0}) for user in range(7)}
    for user in (-1, *range(7), 7):
        assert seen.of(user).tolist() == expected.get(user, [])
    mask = seen.mask(batch, 10)
    assert [np.flatnonzero(row).tolist() for row in mask] == [expected.get(user, []) for user in batch]
    rows = seen.rows(batch)
    assert [rows.of(row).tolist() for row in range(len(batch))] == [expected.get(user, []) for user in batch]
    assert rows.indices.dtype == np.int32 and rows.indptr.dtype == np.int64


def test_no_users_and_no_pairs() -> None:
    seen = Seen.from_pairs([], [], 0)
    assert len(seen) == 0 and seen.mask([-1, 3], 4).sum() == 0 and len(seen.of(0)) == 0


def test_mask_leaves_out_items_beyond_the_catalogue() -> None:
    assert Seen.from_pairs([0, 0], [1, 8], 1).mask([0], 4).tolist() == [[False, True, False, False]]


def test_refuses_users_out_of_range_and_ragged_pairs() -> None:
    with pytest.raises(DataError, match=r"user 5.*3 users"):
        Seen.from_pairs([0, 5], [1, 1], 3)
    with pytest.raises(DataError, match="one length"):
        Seen.from_pairs([0, 1], [1], 3)
