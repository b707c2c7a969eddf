"""Keys: what makes a row and an event alike, one whole number for every combination of values they share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np

from shortlist._typing import MISSING_INT, Array, Columns, Doubles, Longs
from shortlist.data.coded import Coded
from shortlist.errors import SpecError, did_you_mean
from shortlist.features.running import NONE, distinct
from shortlist.specs.aggregates import ACTIVITY, ITEM, POPULARITY, USER

LEVELS = 128
"""Half steps of log2 that any count falls into."""

Side = Literal["users", "items"]
Edges = Mapping[tuple[str, int], Doubles]
"""Where a numeric column is cut, by its name and the number of bins."""


def side_of(column: str, users: Columns, items: Columns, where: str) -> Side:
    """The table a column is in; SpecError where that is none or both."""
    if column in users and column in items:
        raise SpecError(f"{where}: both tables have a column {column!r}", hint="rename one of them")
    if column in users or column in items:
        return "users" if column in users else "items"
    known = sorted({USER, ITEM, POPULARITY, ACTIVITY} | set(users) | set(items))
    raise SpecError(f"{where}: no column {column!r}", hint=did_you_mean(column, known))


def numeric(column: Array | Coded) -> bool:
    """Whether a column has one number a row."""
    return column.ndim == 1 and column.dtype.kind in "iuf"


def numbers(column: Array) -> Doubles:
    """A numeric column as float64, NaN where missing."""
    values = column.astype(np.float64)
    if column.dtype.kind == "i":
        values[column == MISSING_INT] = np.nan
    return values


def quantiles(column: Array, bins: int) -> Doubles:
    """The inner edges of `bins` groups of about equal size; fewer where values repeat."""
    values = numbers(column)
    values = values[np.isfinite(values)]
    inner = np.linspace(0, 1, bins + 1)[1:-1]
    return np.unique(np.quantile(values, inner)) if len(values) else np.empty(0)


@dataclass(frozen=True, eq=False)
class Coding:
    """The values of a column as codes below `size`: by quantiles where there are edges, else by equality with
    the values of the table it was made from."""

    size: int
    edges: Doubles | None
    known: dict[object, int]

    @classmethod
    def of(cls, column: Array | Coded, edges: Doubles | None) -> Coding:
        if numeric(column):
            if edges is not None:
                return cls(len(edges) + 1, edges, {})
            values = distinct(numbers(np.asarray(column))).tolist()
        elif isinstance(column, Coded):
            values = column.values.tolist()
        else:
            values = sorted(set(column.ravel().tolist()) - {""})
        known = {value: k for k, value in enumerate(values) if value == value}
        return cls(len(known), None, known)

    def encode(self, column: Array | Coded) -> Longs:
        """int64 [n + 1, L], -1 where missing, unknown or given twice; the last row is an unknown entity's."""
        if isinstance(column, Coded):
            known = [self.known.get(value, NONE) for value in column.values.tolist()]
            codes = np.array([*known, NONE], np.int64)[column.codes]
        elif self.edges is not None:
            values = numbers(column)
            codes = np.where(np.isnan(values), NONE, np.searchsorted(self.edges, values, side="right"))
        else:
            plain = numbers(column) if numeric(column) else column
            found = [self.known.get(value, NONE) for value in plain.ravel().tolist()]
            codes = np.array(found, np.int64).reshape(plain.shape)
        codes = codes[:, None] if codes.ndim == 1 else codes
        if codes.shape[1] > 1:
            codes = np.sort(codes, axis=1)[:, ::-1]
            codes[:, 1:][codes[:, 1:] == codes[:, :-1]] = NONE
        return np.concatenate([codes, np.full((1, codes.shape[1]), NONE)]).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Table:
    """A table's columns and, as (column, bins), the codings of those that keys name."""

    columns: Columns
    codings: dict[tuple[str, int], Coding]
    codes: dict[tuple[str, int], Longs]

    @classmethod
    def of(cls, columns: Columns, wanted: list[tuple[str, int]], edges: Edges) -> Table:
        codings = {}
        for name, bins in wanted:
            cut = edges[name, bins] if bins and numeric(columns[name]) else None
            codings[name, bins] = Coding.of(columns[name], cut)
        return cls(columns, codings, {at: code.encode(columns[at[0]]) for at, code in codings.items()})

    def of_others(self, columns: Columns) -> Table:
        """Rows of other entities under the same codes."""
        return Table(
            columns, self.codings, {at: code.encode(columns[at[0]]) for at, code in self.codings.items()}
        )

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0

    def rows(self, places: Longs) -> Longs:
        """Places in the table, with its last row for those beyond it and for -1."""
        return np.where((places >= 0) & (places < len(self)), places, len(self))

    def crossed(self, wanted: tuple[tuple[str, int], ...], rows: Longs) -> Longs:
        """Codes of all combinations of the columns' values, int64 [m, L], below `size(wanted)`."""
        if not wanted:
            return np.zeros((len(rows), 1), np.int64)
        codes = self.codes[wanted[0]][rows]
        for at in wanted[1:]:
            codes = cross(codes, self.codes[at][rows], self.codings[at].size)
        return codes

    def size(self, wanted: tuple[tuple[str, int], ...]) -> int:
        return prod(self.codings[at].size for at in wanted)


def cross(left: Longs, right: Longs, size: int) -> Longs:
    """Pairs of codes of n rows, [n, L] and [n, M] -> [n, L * M]; `size` is how many the right has."""
    both = left[:, :, None] * size + right[:, None, :]
    both[(left[:, :, None] == NONE) | (right[:, None, :] == NONE)] = NONE
    return both.reshape(len(left), left.shape[1] * right.shape[1])


def level(counts: Longs) -> Longs:
    """log2(1 + count) in half steps, int64."""
    steps: Longs = np.floor(2 * np.log2(1.0 + counts)).astype(np.int64)
    return steps
