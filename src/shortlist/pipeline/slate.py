"""Results as columns: a shortlist for each query, in order, and plain tables beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist._typing import Array, Ints, Longs
from shortlist.data import display
from shortlist.errors import MissingExtra, RequestError, ShortlistError, did_you_mean
from shortlist.features.requests import take_rows
from shortlist.state.catalogue import Items

if TYPE_CHECKING:
    import pandas
    import polars

_SHOWN = 40  # rows printed before the rest is only counted
_BESIDE = 3  # columns of items shown in a notebook
FIXED = ("user_id", "item_id", "score", "rank", "retrieval_score", "source", "log_p")
"""Columns that are not what a head predicts."""


def head_column(head: str) -> str:
    """The column of a head's predictions in a slate or a table of scores."""
    return f"predicted_{head}" if head in FIXED else head


class _Columnar:
    """Rows of named columns, each a NumPy array of one value a row (or one row of several)."""

    columns: dict[str, Array]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        lists = [plain_values(column) for column in self.columns.values()]
        return (dict(zip(self.columns, row, strict=True)) for row in zip(*lists, strict=True))

    def __getitem__(self, name: str) -> Array:
        if name not in self.columns:
            raise RequestError(f"the result has no column {name!r}", hint=did_you_mean(name, self.columns))
        return self.columns[name]

    def to_dicts(self) -> list[dict[str, Any]]:
        """One dict a row, of plain Python values."""
        return list(self)

    def to_polars(self) -> polars.DataFrame:
        """A polars DataFrame. Raises MissingExtra without polars."""
        try:
            import polars
        except ImportError:
            raise MissingExtra("polars", "tables", "to_polars()") from None
        return polars.DataFrame({name: plain_values(column) for name, column in self.columns.items()})

    def to_pandas(self) -> pandas.DataFrame:
        """A pandas DataFrame. Raises MissingExtra without pandas."""
        try:
            import pandas
        except ImportError:
            raise ShortlistError(
                "to_pandas() needs the package 'pandas', which is not installed", hint="pip install pandas"
            ) from None
        return pandas.DataFrame({name: plain_values(column) for name, column in self.columns.items()})

    def __str__(self) -> str:
        texts = [self._texts(name) for name in self.columns]
        right = [column.dtype.kind in "if" for column in self.columns.values()]
        widths = [max(map(len, column)) for column in texts]
        lines = [
            "  ".join(
                t.rjust(w) if r else t.ljust(w) for t, w, r in zip(row, widths, right, strict=True)
            ).rstrip()
            for row in zip(*texts, strict=True)
        ]
        return "\n".join([*lines, *self._rest()])

    def _repr_html_(self) -> str:
        columns = [
            (name, self._texts(name)[1:], column.dtype.kind in "if" and column.ndim == 1)
            for name, column in self.columns.items()
        ]
        return display.view(display.table(columns, rest="".join(self._rest())))

    def _texts(self, name: str) -> list[str]:
        return [name, *map(_text, plain_values(self.columns[name][:_SHOWN]))]

    def _rest(self) -> list[str]:
        return [f"... {len(self) - _SHOWN} more rows"] if len(self) > _SHOWN else []


@dataclass(frozen=True, eq=False)
class Table(_Columnar):
    """A result without queries, such as similar items or scored pairs."""

    columns: dict[str, Array]


@dataclass(frozen=True, eq=False)
class Slate(_Columnar):
    """Shortlists: the rows of query 0 best first, then those of query 1, ...; as many a query as there are.

    columns: user_id, item_id, score (what the order is by), rank (from 1), retrieval_score (log probability
    in the catalogue; of a popular item, log of its share of the training rows), one column a head such as
    rating, and source: "retrieval", or "popular" where the model was not asked.
    query: int64 [rows], the number of the request's row. positions: int32 [rows], catalogue positions.
    retrieval_ranks: int64 [rows], where retrieval had each item, from 1, among those the filters leave.
    """

    columns: dict[str, Array]
    query: Longs = field(repr=False)
    positions: Ints = field(repr=False)
    items: Items = field(repr=False)
    retrieval_ranks: Longs | None = field(default=None, repr=False)

    def _repr_html_(self) -> str:
        """With columns of the items beside their ids, the first few that are no vectors."""
        shown = [name for name, column in self.items.columns.items() if _readable(column)]
        beside = [name for name in shown if name not in self.columns][:_BESIDE]
        return _Columnar._repr_html_(self.with_items(beside))

    def of(self, query: int) -> Slate:
        """The rows of one query."""
        return self._take(self.query == query)

    def first(self, k: int) -> Slate:
        """The first k rows of a slate of one query."""
        return self._take(np.arange(min(k, len(self))))

    def with_items(self, names: Sequence[str]) -> Slate:
        """The slate with raw columns of the items, such as title, beside their ids."""
        for name in names:
            if name not in self.items.columns:
                raise RequestError(
                    f"items have no column {name!r}", hint=did_you_mean(name, self.items.columns)
                )
        joined = {
            name: take_rows(self.items.columns[name], self.positions.astype(np.int64)) for name in names
        }
        before = {name: self.columns[name] for name in ("user_id", "item_id")}
        columns = {**before, **joined, **self.columns}
        return Slate(columns, self.query, self.positions, self.items, self.retrieval_ranks)

    def _take(self, rows: Array) -> Slate:
        columns = {name: column[rows] for name, column in self.columns.items()}
        ranks = None if self.retrieval_ranks is None else self.retrieval_ranks[rows]
        return Slate(columns, self.query[rows], self.positions[rows], self.items, ranks)


def plain_values(column: Array) -> list[Any]:
    """A column's Python values; lists without their padding, missing whole numbers as None."""
    if column.ndim == 2 and column.dtype.kind == "O":
        return [[text for text in row if text] for row in column.tolist()]
    if column.dtype.kind == "i":
        least = np.iinfo(column.dtype).min
        return [None if value == least else value for value in column.tolist()]
    values: list[Any] = column.tolist()
    return values


def _readable(column: Array) -> bool:
    """Whether a column says something to a person: a number a row, texts, lists of texts."""
    return column.ndim == 1 or column.dtype.kind == "O"


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
