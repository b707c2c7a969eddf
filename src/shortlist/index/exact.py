"""Exact search: blocked matrix products, filters applied inside, ties settled by rule.

Slates are ordered by score descending, then catalogue position ascending.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from shortlist._typing import Bools, Floats, Found, Ints, Longs, Relation
from shortlist.errors import DataError, RequestError
from shortlist.index.rows import Rows, blocks, log_sum_exp, pairs
from shortlist.index.ties import Again, best, favoured, products, slack_for, slack_of_one
from shortlist.index.top import top_k as top_k
from shortlist.state.seen import Seen
from shortlist.state.storage import save_array, save_json

_BLOCK_SCORES = 1 << 22  # scores held at once: 16 MiB in float32, near what a core's caches like

_FEW = 8  # one allowed item in so many: looking at their vectors alone is faster from there on
_CACHED_SCORES = 1 << 18  # 1 MiB: what a core's own cache holds


def block_rows(num_items: int) -> int:
    """How many rows of scores over `num_items` candidates are worked on at once."""
    return max(1, _BLOCK_SCORES // max(1, num_items))


def _height(num_items: int) -> int:
    """Queries at once: scores that stay in a core's cache, but enough rows for a fast product."""
    return max(min(32, block_rows(num_items)), _CACHED_SCORES // max(1, num_items))


@dataclass(frozen=True, eq=False)
class ExactIndex:
    """Every score is computed: what is found is right, in time that grows with the number of items."""

    rows: Rows

    @classmethod
    def of(cls, vectors: Floats) -> ExactIndex:
        """An index of item vectors float32 [N, d], which may be mapped and are not copied."""
        return cls(Rows.of(vectors))

    @property
    def kind(self) -> str:
        return "exact"

    @property
    def removed(self) -> Longs:
        return self.rows.removed

    def __len__(self) -> int:
        return len(self.rows)

    def search(
        self,
        queries: Floats,
        k: int,
        *,
        allow: Bools | None = None,
        exclude: Relation | None = None,
        bonus: tuple[Relation, float] | None = None,
        log_z: bool = False,
    ) -> Found:
        """See `Index.search`. Raises RequestError for k < 1, DataError for shapes that do not fit or NaN."""
        require_search(self, queries, k, allow, exclude, bonus)
        if allow is not None and not log_z:
            places = np.flatnonzero(allow)
            if len(places) * _FEW <= len(self):
                return Found(*self.among(queries, k, self._present(places), exclude, bonus))
        positions, found = _nothing(len(queries), min(k, len(self)))
        total = np.empty(len(queries), np.float32) if log_z else None
        mask, height = self.rows.present(allow), _height(len(self))
        room = np.empty(
            (min(height, len(queries)), len(self)), np.float32
        )  # given back, it is paid for again
        for part in blocks(len(queries), height):
            scores = self._scores(queries[part], part, bonus, room[: part.stop - part.start])
            if total is not None:
                total[part] = self._log_z(scores)
            if exclude is not None:
                row, item = pairs(exclude, part)
                scores.reshape(-1)[row * scores.shape[1] + item] = -np.inf  # half the time of two indices
            if len(self):
                again, slack = self._again(queries[part], part, bonus), self._slack(queries[part], bonus)
                positions[part], found[part] = best(scores, min(k, len(self)), again, mask, slack)
        return Found(positions, found, total)

    def among(
        self,
        queries: Floats,
        k: int,
        places: Longs,
        exclude: Relation | None = None,
        bonus: tuple[Relation, float] | None = None,
    ) -> tuple[Ints, Floats]:
        """The same search among these places alone, ascending [m]: only their vectors are looked at."""
        positions, found = _nothing(len(queries), min(k, len(self)))
        if not len(places):
            return positions, found
        vectors, width = self.rows.vectors(places), min(k, len(places))
        for part in blocks(len(queries), _height(len(places))):
            scores = queries[part] @ vectors.T
            if bonus is not None:
                row, column = _columns(bonus[0], part, places)
                scores[row, column] += np.float32(bonus[1])
            if exclude is not None:
                row, column = _columns(exclude, part, places)
                scores[row, column] = -np.inf
            again, slack = (
                self._again(queries[part], part, bonus, places),
                self._slack(queries[part], bonus, vectors),
            )
            columns, found[part, :width] = best(scores, width, again, slack=slack)
            positions[part, :width] = np.where(columns >= 0, places[columns], -1)
        return positions, found

    def log_z(self, queries: Floats, bonus: tuple[Relation, float] | None = None) -> Floats:
        """See `Index.log_z`."""
        require_search(self, queries, 1, None, None, bonus)
        total = np.empty(len(queries), np.float32)
        for part in blocks(len(queries), block_rows(len(self))):
            total[part] = self._log_z(self._scores(queries[part], part, bonus))
        return total

    def updated(self, places: Longs, vectors: Floats) -> ExactIndex:
        """See `Index.updated`; raises as `Rows.updated`."""
        return ExactIndex(self.rows.updated(places, vectors))

    def without(self, places: Longs) -> ExactIndex:
        """See `Index.without`; raises as `Rows.without`."""
        return ExactIndex(self.rows.without(places))

    def vectors(self, positions: Longs) -> Floats:
        """See `Index.vectors`; raises as `Rows.vectors`."""
        return self.rows.vectors(positions)

    def save(self, folder: Path) -> None:
        """Write what there is beside the vectors: which items are removed."""
        folder.mkdir(parents=True, exist_ok=True)
        save_json(folder / "index.json", {"kind": self.kind})
        save_array(folder / "removed.npy", self.rows.removed)

    def describe(self) -> dict[str, Any]:
        """Plain values."""
        rows = self.rows
        return {
            "kind": self.kind,
            "items": len(rows) - len(rows.removed),
            "recall": 1.0,
            "delta": len(rows.places),
            "removed": len(rows.removed),
        }

    def _scores(
        self,
        queries: Floats,
        part: slice,
        bonus: tuple[Relation, float] | None,
        room: Floats | None = None,
    ) -> Floats:
        scores = self.rows.scores(queries, room)
        if bonus is not None:
            row, item = pairs(bonus[0], part)
            scores[row, item] += np.float32(bonus[1])
        return scores

    def _again(
        self,
        queries: Floats,
        part: slice,
        bonus: tuple[Relation, float] | None,
        places: Longs | None = None,
    ) -> Again:
        """What scores pairs of these queries and positions (or numbers of places) one by one."""

        def again(rows: Longs, columns: Longs) -> Floats:
            at = columns if places is None else places[columns]
            scores = products(queries, rows, self.rows.vectors, at)
            if bonus is not None:
                scores += favoured(rows, at, *pairs(bonus[0], part), bonus[1])
            return scores

        return again

    def _slack(
        self, queries: Floats, bonus: tuple[Relation, float] | None, among: Floats | None = None
    ) -> Floats | float:
        longest = self.rows.longest if among is None else self.rows.longest_of(among)
        much = 0.0 if bonus is None else bonus[1]
        return (
            slack_of_one(queries, longest, much) if len(queries) == 1 else slack_for(queries, longest, much)
        )

    def _present(self, places: Longs) -> Longs:
        removed = self.rows.removed
        return places[~np.isin(places, removed)] if len(removed) else places

    def _log_z(self, scores: Floats) -> Floats:
        if len(self.rows.removed):
            scores[:, self.rows.removed] = -np.inf  # they are found no more either
        return log_sum_exp(scores)


def _nothing(num_queries: int, k: int) -> tuple[Ints, Floats]:
    """What is found where nothing is: positions and scores [b, k]."""
    return np.full((num_queries, k), -1, np.int32), np.full((num_queries, k), -np.inf, np.float32)


def _columns(relation: Relation, part: slice, places: Longs) -> tuple[Longs, Longs]:
    """The pairs of a relation whose items are among the places, as (row, place's number)."""
    row, item = pairs(relation, part)
    column = np.minimum(np.searchsorted(places, item), len(places) - 1)
    there = places[column] == item
    return row[there], column[there]


def require_search(
    index: ExactIndex,
    queries: Floats,
    k: int,
    allow: Bools | None,
    exclude: Relation | None,
    bonus: tuple[Relation, float] | None,
) -> None:
    """Raises RequestError for k < 1, DataError for shapes that do not fit."""
    if k < 1:
        raise RequestError(f"k is {k}; at least one candidate must be asked for", hint="use k >= 1")
    if queries.ndim != 2 or queries.shape[1] != index.rows.width:
        raise DataError(f"queries {queries.shape} and items of width {index.rows.width} do not share a width")
    if allow is not None and allow.shape != (len(index),):
        raise DataError(f"allow must be bool ({len(index)},), not {allow.dtype} {allow.shape}")
    for name, relation in (("exclude", exclude), ("bonus", None if bonus is None else bonus[0])):
        if relation is None:
            continue
        if len(relation.indptr) != len(queries) + 1:
            raise DataError(f"{name} has {len(relation.indptr) - 1} rows for {len(queries)} queries")
        items = relation.indices
        if len(items) and not (items.min() >= 0 and items.max() < len(index)):
            raise DataError(f"{name} names an item outside 0..{len(index) - 1}")


def search(
    queries: Floats,
    items: Floats,
    k: int,
    *,
    exclude: Bools | Seen | None = None,
    users: ArrayLike | None = None,
    allow: Bools | None = None,
    block: int | None = None,
) -> tuple[Ints, Floats]:
    """The k items of highest inner product for each query, filters applied inside.

    Args:
        queries: [b, d] query vectors.
        items: [N, d] item vectors, row = catalogue position.
        k: how many to return; where fewer are left the rest is padded.
        exclude: True [b, N] where an item must not be returned, or a `Seen` looked up by `users` [b].
        users: user index a query, needed with a `Seen`; -1 has seen nothing.
        allow: True [N] or [b, N] where an item may be returned.
        block: queries worked on at once.

    Returns:
        Positions int32 [b, k] padded with -1 and scores [b, k] padded with -inf, ordered by score
        descending, then position ascending.

    Raises `RequestError` for k < 1, and `DataError` for shapes that do not fit or NaN scores.
    """
    if k < 1:
        raise RequestError(f"k is {k}; at least one candidate must be asked for", hint="use k >= 1")
    if queries.ndim != 2 or items.ndim != 2 or queries.shape[1] != items.shape[1]:
        raise DataError(f"queries {queries.shape} and items {items.shape} do not share a width")
    if isinstance(exclude, Seen) and users is None:
        raise RequestError("a seen relation was given to exclude by, but no users", hint="pass users=[...]")
    block = block or block_rows(len(items))
    positions = np.full((len(queries), k), -1, np.int32)
    scores = np.full((len(queries), k), -np.inf, np.result_type(queries, items))
    user_of = None if users is None else np.asarray(users, np.int64)
    for start in range(0, len(queries), block):
        rows = slice(start, start + block)
        values = queries[rows] @ items.T
        mask = _allowed(rows, values.shape, exclude, user_of, allow)
        positions[rows], scores[rows] = top_k(values, k, mask)
    return positions, scores


def _allowed(
    rows: slice,
    shape: tuple[int, ...],
    exclude: Bools | Seen | None,
    users: Longs | None,
    allow: Bools | None,
) -> Bools | None:
    if exclude is None and allow is None:
        return None
    mask = np.ones(shape, np.bool_)
    if allow is not None:
        mask &= allow if allow.ndim == 1 else allow[rows]
    if isinstance(exclude, Seen):
        assert users is not None
        mask &= ~exclude.mask(users[rows], shape[1])
    elif exclude is not None:
        mask &= ~exclude[rows]
    return mask
