"""A catalogue, or the users, to be searched and paged: nothing is copied but one text of all names."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Generic, NamedTuple

import numpy as np
from msgspec import UNSET

from shortlist._typing import Array, Bools, Columns, Doubles, Ints, Longs
from shortlist.errors import RequestError, did_you_mean
from shortlist.pipeline.slate import plain_values
from shortlist.server.answers.columns import Row, beside

_SAMPLE = 2_000  # rows that tell what a column is
_END = "\n"
_BLOCK = 1 << 17  # rows whose masks are looked at together
_RARE = 2_000  # rows that hold a text: as many are found at once, wherever they are
_LOOKS = 30_000  # rows that are looked at for one page, where more hold it: some 30 ms


class Found(NamedTuple):
    """Rows of a page, and where the next one begins, if there may be more."""

    rows: Longs
    next: int | None


class Browser(Generic[Row]):
    """Rows of ids and columns. What is searched is each row's id and its name: the column `title` or `name`,
    else the first column of texts that mostly differ. row: what rows are told as. left_out: rows that are not
    shown. popular: all rows, the most popular first; log_popularity: float [n], beside it."""

    def __init__(
        self,
        row: type[Row],
        ids: Sequence[Any],
        columns: Columns,
        left_out: Bools | None = None,
        popular: Ints | None = None,
        log_popularity: Doubles | None = None,
    ) -> None:
        self.row, self.ids, self.columns = row, ids, columns
        self.popular, self.log_popularity = popular, log_popularity
        self._left_out = left_out
        self.shown = {n: c for n, c in columns.items() if c.ndim == 1 or c.dtype.kind == "O"}
        named: list[str] = [name for name in ("title", "name") if name in columns]
        named += [name for name, column in columns.items() if _tells_apart(column)]
        self.name = named[0] if named else None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def ready(self) -> bool:
        """Whether texts can be searched without making the one text of all names first."""
        return "_texts" in self.__dict__

    def prepare(self) -> None:
        """Make what searching texts needs: about a second for a million rows."""
        _ = self._texts

    def num_shown(self, allow: Bools | None = None) -> int:
        """Rows that may be found without a text."""
        if self._left_out is None:
            return len(self) if allow is None else int(np.count_nonzero(allow))
        return int(np.count_nonzero(~self._left_out if allow is None else allow & ~self._left_out))

    def search(
        self,
        text: str,
        after: int,
        limit: int,
        allow: Bools | None = None,
        *,
        by_popularity: bool = False,
        first: int = -1,
    ) -> Found:
        """The next rows from `after` on whose id or name holds a text, whatever its case; "": all.

        allow: bool [n], rows that may be found. by_popularity: `after` counts in that order. first: a row
        that comes before all others, where it may be found. Only so many rows are looked at in one call: a
        page may be short, or empty, and still name a next one.
        """
        lead = first if first >= 0 and self._may_show(np.array([first]), allow)[0] else -1
        found = [lead] if lead >= 0 and after == 0 else []
        order = self.popular if by_popularity else None
        if not text:
            places, then = self._plain(after, limit + 1 - len(found), allow, order, lead)
        else:
            places, then = self._holding(text.casefold(), after, limit + 1 - len(found), allow, order, lead)
        rows = [*found, *(places if order is None else order[places].tolist())]
        if len(rows) > limit:
            then = places[-1]
        return Found(np.array(rows[:limit], np.int64), then)

    def rows(self, places: Longs) -> list[Row]:
        """All that is stored of rows, but for vectors. Of a catalogue, with `popularity`, each one's share of
        the training rows (one row is added to every item), `popularity_rank`, its place from 1 in that order,
        and `removed`, of those that are left out. A stored column of such a name stays what it is."""
        id_column = self.row.__struct_fields__[0]
        told: dict[str, list[Any]] = {id_column: [str(self.ids[place]) for place in places.tolist()]}
        told |= {name: plain_values(np.asarray(column[places])) for name, column in self.shown.items()}
        if self.log_popularity is not None:
            told.setdefault("popularity", np.exp(self.log_popularity[places]).tolist())
            told.setdefault("popularity_rank", (self._ranks[places] + 1).tolist())
        if self._left_out is not None:
            told.setdefault("removed", [gone or UNSET for gone in self._left_out[places].tolist()])
        return list(map(beside(self.row, tuple(told)), *told.values()))

    def column(self, name: str) -> Array:
        """A column by its name. RequestError."""
        if name not in self.columns:
            raise RequestError(f"there is no column {name!r}", hint=did_you_mean(name, self.columns))
        return self.columns[name]

    # Each gives places (rows, or places of an order) and where to go on, if not all was looked at.

    def _plain(
        self, after: int, limit: int, allow: Bools | None, order: Ints | None, lead: int
    ) -> tuple[list[int], int | None]:
        """Without a text, whole arrays at a time."""
        shown: list[int] = []
        for start in range(after, len(self), _BLOCK):
            stop = min(len(self), start + _BLOCK)
            rows = np.arange(start, stop) if order is None else order[start:stop]
            kept = self._may_show(rows, allow) & (rows != lead)
            shown += (np.flatnonzero(kept)[: limit - len(shown)] + start).tolist()
            if len(shown) >= limit:
                break
        return shown, None

    def _holding(
        self, text: str, after: int, limit: int, allow: Bools | None, order: Ints | None, lead: int
    ) -> tuple[list[int], int | None]:
        """With a text: all rows that hold it, where they are few; else row by row, so far as that may go."""
        rows = self._rare(text)
        if rows is not None:
            rows = rows[self._may_show(rows, allow) & (rows != lead)]
            places = rows if order is None else np.sort(self._ranks[rows])
            return places[np.searchsorted(places, after) :][:limit].tolist(), None
        whole, ends = self._texts
        every = np.arange(len(self)) if order is None else order
        left = np.flatnonzero(self._may_show(every[after:], allow)) + after
        shown: list[int] = []
        for place, row in zip(left[:_LOOKS].tolist(), every[left[:_LOOKS]].tolist(), strict=True):
            start = int(ends[row - 1]) if row else 0
            if row != lead and whole.find(text, start, int(ends[row])) >= 0:
                shown.append(place)
                if len(shown) >= limit:
                    return shown, None
        return shown, int(left[_LOOKS]) if len(left) > _LOOKS else None

    def _may_show(self, rows: Longs | Ints, allow: Bools | None) -> Bools:
        kept = np.ones(len(rows), np.bool_) if allow is None else allow[rows]
        return kept if self._left_out is None else kept & ~self._left_out[rows]

    def _rare(self, text: str) -> Longs | None:
        """All rows that hold a text, ascending; None where they are many."""
        whole, ends = self._texts
        rows: list[int] = []
        at = whole.find(text)
        while at >= 0:
            rows.append(int(np.searchsorted(ends, at, side="right")))
            if len(rows) > _RARE:
                return None
            at = whole.find(text, int(ends[rows[-1]]))
        return np.array(rows, np.int64)

    @cached_property
    def _ranks(self) -> Ints:
        """The place of each row in the order of popularity."""
        assert self.popular is not None
        ranks = np.empty(len(self.popular), np.int32)
        ranks[self.popular] = np.arange(len(ranks), dtype=np.int32)
        return ranks

    @cached_property
    def _texts(self) -> tuple[str, Longs]:
        """All rows as one text, a line each, and where each line ends."""
        names = [""] * len(self.ids) if self.name is None else self.columns[self.name].tolist()
        lines = [
            f"{identity} {name}".replace(_END, " ").casefold() + _END
            for identity, name in zip(self.ids, names, strict=True)
        ]
        ends = np.cumsum(np.fromiter(map(len, lines), np.int64, len(lines)))
        return "".join(lines), ends


def _tells_apart(column: Array) -> bool:
    if column.dtype != object or column.ndim != 1 or not len(column):
        return False
    some = column[:_SAMPLE].tolist()
    return 2 * len(set(some)) > len(some)
