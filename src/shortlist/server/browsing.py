"""A catalogue, or the users, to be searched and paged: nothing is copied but one text of all names."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np

from shortlist._typing import Array, Bools, Columns, Longs
from shortlist.errors import RequestError, did_you_mean
from shortlist.pipeline.slate import plain_values

_SAMPLE = 2_000  # rows that tell what a column is
_END = "\n"


class Found(NamedTuple):
    """Rows of a page, and where the next one begins, if there is more."""

    rows: Longs
    next: int | None


class Browser:
    """Rows of ids and columns. What is searched is each row's id and its name: the column `title` or `name`,
    else the first column of texts that mostly differ. left_out: rows that are not shown."""

    def __init__(
        self, id_column: str, ids: Sequence[Any], columns: Columns, left_out: Bools | None = None
    ) -> None:
        self.id_column, self.ids, self.columns = id_column, ids, columns
        self._left_out = left_out
        self.shown = {n: c for n, c in columns.items() if c.ndim == 1 or c.dtype.kind == "O"}
        named: list[str] = [name for name in ("title", "name") if name in columns]
        named += [name for name, column in columns.items() if _tells_apart(column)]
        self.name = named[0] if named else None

    def __len__(self) -> int:
        return len(self.ids)

    def search(self, text: str, after: int, limit: int, allow: Bools | None = None) -> Found:
        """The next rows from `after` on whose id or name holds a text, whatever its case; "": all.

        allow: bool [n], rows that may be found.
        """
        found: list[int] = []
        row = after
        while len(found) <= limit:
            row = self._next(text.casefold(), row)
            if row < 0:
                return Found(np.array(found, np.int64), None)
            if (allow is None or allow[row]) and (self._left_out is None or not self._left_out[row]):
                found.append(row)
            row += 1
        return Found(np.array(found[:limit], np.int64), found[limit])

    def rows(self, places: Longs) -> list[dict[str, Any]]:
        """All that is stored of rows, but for vectors."""
        values = {name: plain_values(np.asarray(column[places])) for name, column in self.shown.items()}
        ids = [str(self.ids[place]) for place in places.tolist()]
        names = (self.id_column, *values)
        return [dict(zip(names, row, strict=True)) for row in zip(ids, *values.values(), strict=True)]

    def column(self, name: str) -> Array:
        """A column by its name. RequestError."""
        if name not in self.columns:
            raise RequestError(f"there is no column {name!r}", hint=did_you_mean(name, self.columns))
        return self.columns[name]

    def _next(self, text: str, start: int) -> int:
        """The first row from `start` on that holds a text; -1: none."""
        if start >= len(self.ids):
            return -1
        if not text:
            return start
        whole, ends = self._texts
        at = whole.find(text, ends[start - 1] if start else 0)
        return -1 if at < 0 else bisect_right(ends, at)

    @cached_property
    def _texts(self) -> tuple[str, list[int]]:
        """All rows as one text, a line each, and where each line ends."""
        names = [""] * len(self.ids) if self.name is None else self.columns[self.name].tolist()
        lines = [
            f"{identity} {name}".replace(_END, " ").casefold() + _END
            for identity, name in zip(self.ids, names, strict=True)
        ]
        return "".join(lines), list(accumulate(map(len, lines)))


def _tells_apart(column: Array) -> bool:
    if column.dtype != object or column.ndim != 1 or not len(column):
        return False
    some = column[:_SAMPLE].tolist()
    return 2 * len(set(some)) > len(some)
