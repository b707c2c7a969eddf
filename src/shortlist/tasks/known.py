"""What users are known to have chosen, in the form in which a block of rows finds it fastest.

Shapes: U users, N items of the catalogue, R rows of a block, C candidate columns.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from shortlist._typing import Ints

TABLE_BYTES = 64 * 2**20
"""A table of bits larger than this is not made: the lists themselves are read then."""
PAGE = 16
"""Items of a user's list read together."""
PAGES = 256
"""Pages read at a time."""
_SURE = "promise_in_bounds"  # no check of each index: twice as fast


class KnownPositives(eqx.Module):
    """Each user's items, which are no negatives of theirs, in one of two forms.

    table: uint32 [ceil(U / 32) + 1, N], for candidates that are the whole catalogue in its order: bit u % 32
    of table[u // 32, i] tells whether user u chose item i; the last row is empty, for users not known.
    indptr int [U + 1], items int [nnz]: the lists themselves, each without repeats, for any candidates.
    """

    table: Array | None
    indptr: Array | None
    items: Array | None

    def bits(self, users: Array, column_of: Array, num_columns: int) -> tuple[Array, Array]:
        """(words uint32 [G, C], index int [R]) for a block's users int [R], -1 where nothing is known: bit
        index % 32 of words[index // 32, c] tells whether column c is known to a row's user.

        column_of: int [N], an item's column, C or more where it has none.
        """
        if self.table is not None:
            if self.table.shape[1] != num_columns:
                raise ValueError(
                    f"a table over {self.table.shape[1]} items cannot mask {num_columns} columns"
                )
            return self.table, jnp.where(users < 0, 32 * (self.table.shape[0] - 1), users)
        return self._gathered(users, column_of, num_columns), jnp.arange(users.shape[0])

    def _gathered(self, users: Array, column_of: Array, num_columns: int) -> Array:
        """Bits by row of the block."""
        assert self.indptr is not None and self.items is not None
        start = self.indptr[jnp.maximum(users, 0)]
        length = jnp.where(users < 0, 0, self.indptr[jnp.maximum(users, 0) + 1] - start)
        return scattered(self.items, start, length, column_of, num_columns)


def scattered(
    items: Array, start: Array, length: Array, column_of: Array, num_columns: int, skip: Array | None = None
) -> Array:
    """Bits uint32 [ceil(R / 32) + 1, C]: bit r % 32 of row r // 32 is set at the columns of the items
    [start[r], start[r] + length[r]) of a list, less the one at offset skip[r]. The lists of a block's rows,
    as many pages as they fill, are scattered; none may have repeats."""
    num_rows = start.shape[0]
    num_pages = -(-length // PAGE)
    ends = jnp.cumsum(num_pages)
    begins = ends - num_pages
    num_groups = -(-num_rows // 32)
    nowhere = num_groups * num_columns  # one group more takes what is no column

    def add(state: tuple[Array, Array]) -> tuple[Array, Array]:
        first, words = state
        page = first + jnp.arange(PAGES)
        row = jnp.searchsorted(ends, page, side="right", method="scan_unrolled")
        row = jnp.minimum(row, num_rows - 1)
        offset = (page - begins[row])[:, None] * PAGE + jnp.arange(PAGE)
        place = jnp.minimum(start[row][:, None] + offset, len(items) - 1)
        column = column_of.at[items.at[place].get(mode=_SURE)].get(mode=_SURE)
        found = (offset < length[row][:, None]) & (column < num_columns)
        if skip is not None:
            found = found & (offset != skip[row][:, None])
        word = jnp.where(found, (row // 32 * num_columns)[:, None] + column, nowhere)
        bit = jnp.uint32(1) << (row % 32).astype(jnp.uint32)
        bits = jnp.broadcast_to(bit[:, None], word.shape)
        # lists have no repeats: adding a bit sets it
        words = words.at[word.ravel()].add(bits.ravel(), mode=_SURE)
        return first + PAGES, words

    start_of = (jnp.int32(0), jnp.zeros(nowhere + num_columns, jnp.uint32))
    words: Array = jax.lax.while_loop(lambda state: state[0] < ends[-1], add, start_of)[1]
    return words.reshape(num_groups + 1, num_columns)


def marked(words: Array, index: Array) -> Array:
    """bool [R, C] of bits: bit index[r] % 32 of words[index[r] // 32]."""
    return ((words[index // 32] >> (index % 32).astype(words.dtype)[:, None]) & 1).astype(bool)


def known_positives(indptr: Ints, items: Ints, num_items: int, *, whole: bool) -> KnownPositives:
    """The faster form of users' items as CSR: indptr int [U + 1], items int [nnz], catalogue positions.

    whole: whether batches are scored against all of the catalogue, in its order (`retrieval.takes_whole`).
    Then a table of bits is made if it stays within TABLE_BYTES; in any other case the lists are kept. Either
    is exact. Made on the host, in NumPy.
    """
    indptr, items = _without_repeats(np.asarray(indptr), np.asarray(items), num_items)
    num_users = len(indptr) - 1
    num_groups = -(-num_users // 32) + 1
    if not whole or 4 * num_groups * num_items > TABLE_BYTES:
        return KnownPositives(None, *jax.device_put((indptr.astype(np.int32), _rounded(items))))
    owner = np.repeat(np.arange(num_users), np.diff(indptr))
    table = np.zeros((num_groups, num_items), np.uint32)
    # without repeats a sum of bits is their union
    np.add.at(table, (owner // 32, items), np.uint32(1) << (owner % 32).astype(np.uint32))
    return KnownPositives(jax.device_put(table), None, None)


def _rounded(items: Ints) -> Ints:
    """Padded by an eighth at most, in steps: logs of nearly one size then share a program."""
    step = max(1024, 2 ** (len(items).bit_length() - 4))
    padded = np.zeros(max(1, -(-len(items) // step)) * step, np.int32)
    padded[: len(items)] = items
    return padded


def _without_repeats(indptr: Ints, items: Ints, num_items: int) -> tuple[Ints, Ints]:
    owner = np.repeat(np.arange(len(indptr) - 1, dtype=np.int64), np.diff(indptr))
    pairs = owner * num_items + items
    if np.all(np.diff(pairs) > 0):
        return indptr, items
    owner, items = np.divmod(np.unique(pairs), num_items)
    counts = np.bincount(owner, minlength=len(indptr) - 1)
    return np.concatenate([[0], np.cumsum(counts)]), items
