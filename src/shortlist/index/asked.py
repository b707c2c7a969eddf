"""What is asked of an approximate index: some queries, what each must not get and what it favours."""

from __future__ import annotations

import numpy as np

from shortlist._typing import Bools, Floats, Ints, Longs, Relation
from shortlist.state.seen import Seen


class Asked:
    """Queries of a block and what each drops or favours: (row, item) pairs.

    items, item_rows: what the lists' own results must not hold: excluded, or with the bonus; dropped: how
    many each has. more, more_rows: with the bonus and not excluded. amount: the bonus.
    """

    def __init__(
        self, queries: Floats, part: slice, exclude: Relation | None, bonus: tuple[Relation, float] | None
    ) -> None:
        self.queries = queries
        self.exclude = None if exclude is None else _rows_of(exclude, part)
        self.bonus = None if bonus is None or not bonus[1] else (_rows_of(bonus[0], part), bonus[1])
        nothing = (np.zeros(0, np.int64), np.zeros(0, np.int64))
        self.item_rows, self.items = nothing if self.exclude is None else _long(*self.exclude.pairs())
        self.more_rows, self.more = nothing if self.bonus is None else _long(*self.bonus[0].pairs())
        self.amount = np.float32(0 if self.bonus is None else self.bonus[1])
        self._keys: Longs | None = None  # of what is dropped, in order
        if len(self.more):
            width = np.int64(1) << 32
            kept = ~np.isin(self.more_rows * width + self.more, self.item_rows * width + self.items)
            self.more_rows, self.more = self.more_rows[kept], self.more[kept]
            self.item_rows = np.concatenate([self.item_rows, self.more_rows])
            self.items = np.concatenate([self.items, self.more])
        self.dropped = np.bincount(self.item_rows, minlength=len(queries))

    def rows(self, at: Longs) -> Asked:
        """Some of the queries."""
        exclude = None if self.exclude is None else self.exclude.rows(at)
        bonus = None if self.bonus is None else (self.bonus[0].rows(at), self.bonus[1])
        return Asked(self.queries[at], slice(0, len(at)), exclude, bonus)

    def drops(self, rows: Longs, positions: Longs, size: int) -> Bools:
        """True where a query must not get the position from the lists."""
        if not len(self.items):
            return np.zeros(len(rows), np.bool_)
        if self._keys is None:
            self._keys = np.sort(self.item_rows * size + self.items)
        wanted = rows * size + positions
        at = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
        return np.asarray(self._keys[at] == wanted)


def _rows_of(relation: Relation, part: slice) -> Seen:
    bounds = relation.indptr[part.start : part.stop + 1]
    return Seen(bounds - bounds[0], relation.indices[bounds[0] : bounds[-1]])


def _long(rows: Longs, items: Ints) -> tuple[Longs, Longs]:
    return rows.astype(np.int64), items.astype(np.int64)
