"""String columns in few bytes: one whole number a row and every distinct text once. NumPy only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from shortlist._typing import Array, Ints, Longs

BLOCK = 1 << 20
"""Rows worked on at a time wherever a column may be larger than memory. Sums go block by block too, so that
a column on disk and the same column in memory give the same bits."""


@dataclass(frozen=True, eq=False)
class Coded:
    """A string column of n rows, or of n rows of L values.

    codes: int32 [n] or [n, L], the place of each value among `values`; -1 where missing.
    values: object [m], distinct texts, ascending, never "". Values without a row are allowed.
    """

    codes: Ints = field(repr=False)
    values: Array = field(repr=False)

    dtype = np.dtype(object)
    """What it stands for: an array of str."""

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def ndim(self) -> int:
        return self.codes.ndim

    @property
    def shape(self) -> tuple[int, ...]:
        return self.codes.shape

    @property
    def size(self) -> int:
        return self.codes.size

    def __getitem__(self, rows: Any) -> Any:
        """Rows as a Coded of the same values; one single value as its str."""
        codes = self.codes[rows]
        return Coded(codes, self.values) if codes.ndim else self._filled[codes]

    def expand(self) -> Array:
        """The plain column: object array of str, "" where missing."""
        plain: Array = self._filled[self.codes]
        return plain

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("a coded column has no plain array to share: expand it")
        return self.expand() if dtype is None else self.expand().astype(dtype)

    def counts(self) -> Longs:
        """Rows of each value; int64 [m]."""
        counts = np.zeros(len(self.values) + 1, np.int64)
        for block in blocks(len(self.codes)):
            counts += np.bincount(self.codes[block].reshape(-1) + 1, minlength=len(counts))
        return counts[1:]

    def first_rows(self) -> Longs:
        """The first row of each value of a flat column, n where it has none; int64 [m]."""
        first = np.full(len(self.values) + 1, len(self.codes), np.int64)
        for block in reversed(list(blocks(len(self.codes)))):
            rows = np.arange(block.start, block.stop)[::-1]
            first[self.codes[block][::-1]] = rows  # the last one written is the first row
        return first[:-1]

    def in_order(self) -> Array:
        """The values that have rows, in order of first appearance; object array of str."""
        first = self.first_rows()
        order = np.argsort(first, kind="stable")
        found: Array = self.values[order[: int((first < len(self.codes)).sum())]]
        return found

    @cached_property
    def _filled(self) -> Array:
        return np.concatenate([self.values, np.array([""], object)])


Column: TypeAlias = Array | Coded
"""A column in canonical form; strings plain or coded."""

Table: TypeAlias = Mapping[str, Column]
"""Columns by name, strings plain or coded."""


def expanded(column: Column) -> Array:
    """The column as a plain array."""
    return column.expand() if isinstance(column, Coded) else column


def blocks(num_rows: int, size: int = BLOCK) -> Iterator[slice]:
    """Slices of at most `size` rows that cover num_rows."""
    for start in range(0, num_rows, size):
        yield slice(start, min(start + size, num_rows))
