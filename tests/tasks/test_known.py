"""Bits of known positives against sets of pairs, in both forms."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shortlist.tasks import known as module
from shortlist.tasks.known import KnownPositives, known_positives

N = 50
LISTS = [np.arange(N), np.array([], int), np.array([49]), *(np.arange(0, N, k) for k in range(1, 40))]
"""All items, none, the last one; 42 users, so that words of 32 do not divide them."""


def bits(known: KnownPositives, users: np.ndarray, column_of: np.ndarray, num_columns: int) -> Any:
    # a function of its own each time, as sizes of pages are read while it is traced
    return jax.jit(lambda *x: x[0].bits(*x[1:], num_columns))(known, users, column_of)


def csr(lists: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return np.cumsum([0, *map(len, lists)]), np.concatenate(lists).astype(np.int64)


def decoded(known: KnownPositives, users: np.ndarray, column_of: np.ndarray, num_columns: int) -> np.ndarray:
    words, index = map(np.asarray, bits(known, users, column_of, num_columns))
    return (words[index // 32] >> (index % 32)[:, None].astype(np.uint32)) & 1 == 1


@pytest.mark.parametrize(("num_rows", "page", "pages"), [(1, 16, 256), (33, 4, 8), (70, 4, 256)])
def test_both_forms_tell_what_sets_tell(
    num_rows: int, page: int, pages: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAGE", page)
    monkeypatch.setattr(module, "PAGES", pages)
    rng = np.random.default_rng(num_rows)
    users = rng.integers(-1, len(LISTS), num_rows).astype(np.int32)
    users[0] = len(LISTS) - 1
    chosen = rng.permutation(N)[:20]
    column_of = np.full(N, 20, np.int32)
    column_of[chosen] = np.arange(20)
    expected = np.array([np.isin(np.arange(N), LISTS[u]) if u >= 0 else np.zeros(N, bool) for u in users])

    table = known_positives(*csr(LISTS), N, whole=True)
    assert table.table is not None
    np.testing.assert_array_equal(decoded(table, users, np.arange(N), N), expected)
    lists = known_positives(*csr(LISTS), N, whole=False)
    assert lists.table is None
    np.testing.assert_array_equal(decoded(lists, users, np.arange(N), N), expected)
    np.testing.assert_array_equal(decoded(lists, users, column_of, 20), expected[:, chosen])


def test_repeats_in_a_list_count_once() -> None:
    repeated = [np.repeat(x, 3)[::-1] for x in LISTS]
    for whole in (True, False):
        once, thrice = (known_positives(*csr(x), N, whole=whole) for x in (LISTS, repeated))
        for a, b in zip(jax.tree.leaves(once), jax.tree.leaves(thrice), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_table_that_would_be_too_large_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TABLE_BYTES", 4 * 3 * N)  # two groups of 32 users and the empty one
    assert known_positives(*csr(LISTS), N, whole=True).table is not None
    monkeypatch.setattr(module, "TABLE_BYTES", 4 * 3 * N - 1)
    assert known_positives(*csr(LISTS), N, whole=True).table is None


def test_logs_of_nearly_one_size_share_a_shape() -> None:
    for n in (0, 1, 1024, 1025, 100_003):
        items = known_positives(np.array([0, n]), np.arange(n), n + 1, whole=False).items
        assert items is not None and n <= len(items) <= max(1024, n * 9 / 8 + 1024)
        np.testing.assert_array_equal(items[:n], np.arange(n))
    shapes = {len(module._rounded(np.arange(n))) for n in range(9000, 9900)}
    assert len(shapes) <= 2


def test_nobody_knowing_anything() -> None:
    users = np.array([0, -1, 1], np.int32)
    for whole in (True, False):
        known = known_positives(np.zeros(3, int), np.zeros(0, int), N, whole=whole)
        assert not decoded(known, users, np.arange(N), N).any()


def test_a_table_masks_no_other_columns_than_its_own() -> None:
    table = known_positives(*csr(LISTS), N, whole=True)
    with pytest.raises(ValueError, match="50 items cannot mask 20"):
        table.bits(jnp.zeros(3, int), jnp.zeros(N, int), 20)
