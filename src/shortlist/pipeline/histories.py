"""Histories told in a request: what a user did, who training may never have seen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b

import numpy as np

from shortlist._typing import MISSING_INT, Array, Bools, Columns, Longs
from shortlist.data.coded import Coded, Column
from shortlist.errors import RequestError
from shortlist.features.columns import ColumnType
from shortlist.features.history import DERIVED, Events
from shortlist.features.log import Log, Standing
from shortlist.features.requests import fill_missing, is_missing, missing_column
from shortlist.state.catalogue import Items
from shortlist.state.seen import Seen

TOLD: dict[str, ColumnType] = {
    "history": "strings",
    "history_timestamp": "ints",
    "history_rating": "floats",
}
"""What a request may say of its user's past, the most recent first."""
RESERVED = tuple(dict.fromkeys((*DERIVED, *TOLD)))
"""Names that mean something made of past events, so that no column of one's own is read under them."""
FARTHEST_SECOND = 100_000_000_000
"""The year 5138; milliseconds pass it from 1973 on."""
APART = 60
"""Seconds between events of a history without times, which then ends so long before its request."""


def checked(given: Columns, scale: tuple[float, float] | None) -> Columns:
    """A request's columns, once what they tell of a past can be: timestamp is a second after the last event
    told where it is not given. scale: the least and the greatest rating known.

    Raises RequestError naming row, column and index for a time that is not in seconds or not before the
    request's, for a rating off the scale, and for times or ratings of no history.
    """
    for name in ("history_timestamp", "history_rating"):
        if name in given and "history" not in given:
            raise RequestError(
                f"the request has {name!r} but no 'history'", hint="give the items these are of as history"
            )
    if "history_rating" in given and scale is not None:
        _require_scale(given["history_rating"], scale)
    if "history_timestamp" not in given:
        return given
    require_seconds("history_timestamp", given)
    then = given["history_timestamp"]
    now = given.get("timestamp", missing_column("int", len(then)))
    told = then != MISSING_INT
    late = told & (now != MISSING_INT)[:, None] & (then >= now[:, None])
    if late.any():
        row, index = (int(k) for k in np.argwhere(late)[0])
        raise RequestError(
            f"row {row}, column 'history_timestamp', index {index}: expected a time before the request's"
            f" timestamp {now[row]}, got {then[row, index]}",
            hint="a history comes before its request: give a later timestamp, or none",
        )
    next_second = np.where(told.any(axis=1), then.max(axis=1) + 1, MISSING_INT)
    return {**given, "timestamp": fill_missing(now, next_second)}


def require_seconds(name: str, given: Columns) -> None:
    """RequestError where a column, if there, holds times beyond the year 5138 on either side."""
    if name not in given or given[name].dtype.kind not in "if":
        return
    times = given[name]
    far = (times > FARTHEST_SECOND) | ((times < -FARTHEST_SECOND) & (times != MISSING_INT))
    if far.any():
        row, *index = (int(k) for k in np.argwhere(far)[0])
        place = "".join(f", index {k}" for k in index)
        raise RequestError(
            f"row {row}, column {name!r}{place}: expected seconds since 1970, got {times[far][0]}",
            hint="divide milliseconds by 1000 first",
        )


def _require_scale(ratings: Array, scale: tuple[float, float]) -> None:
    with np.errstate(over="ignore"):
        rounded = ratings.astype(np.float32)  # as known ones are
    off = (rounded < scale[0]) | (rounded > scale[1])
    if off.any():
        row, index = (int(k) for k in np.argwhere(off)[0])
        raise RequestError(
            f"row {row}, column 'history_rating', index {index}: expected a rating from {scale[0]:g} to"
            f" {scale[1]:g}, as in training, got {ratings[row, index]:g}",
            hint="bring ratings to the scale of training, or leave history_rating out",
        )


@dataclass(frozen=True, eq=False)
class Told:
    """The histories of n requests. rows: bool [n], which tell one. log: of all n, users being rows."""

    rows: Bools
    log: Log

    @classmethod
    def of(cls, given: Columns, items: Items, times: Longs) -> Told | None:
        """None where no request tells a history. Items that are not in the catalogue are left out. Raises
        RequestError where times or ratings are not as many as items."""
        if "history" not in given:
            return None
        ids = np.asarray(given["history"])
        rows = ~is_missing(ids)
        row, rank = np.nonzero(ids != "")
        then = times[row] - APART * (rank + 1)
        if "history_timestamp" in given:
            known = _beside("history_timestamp", given, ids)[row, rank]
            then = np.where(known == MISSING_INT, then, known)
        ratings = None
        if "history_rating" in given:
            ratings = _beside("history_rating", given, ids)[row, rank]
        positions = items.positions(ids[row, rank])
        kept = np.flatnonzero(positions >= 0)[::-1]  # of one second, the last told is the first that happened
        log, _ = Log.of(
            row[kept],
            positions[kept],
            then[kept],
            None if ratings is None else ratings[kept],
            len(ids),
        )
        return cls(rows, log)

    def __getitem__(self, rows: slice | Longs) -> Told:
        """The histories of some requests."""
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(len(self.rows))
            first, last = int(self.log.indptr[start]), int(self.log.indptr[stop])
            kept: slice | Longs = slice(first, last)
            indptr = self.log.indptr[start : stop + 1] - first
        else:
            counts = np.diff(self.log.indptr)[rows]
            indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
            kept = np.arange(indptr[-1]) + np.repeat(self.log.indptr[rows] - indptr[:-1], counts)
        ratings = None if self.log.ratings is None else self.log.ratings[kept]
        return Told(self.rows[rows], Log(indptr, self.log.items[kept], self.log.times[kept], ratings))

    def key(self, row: int) -> bytes:
        """Of what one request tells: the same for equal histories only."""
        found = self._keys[row]
        if found is None:
            log = self.log
            own = slice(int(log.indptr[row]), int(log.indptr[row + 1]))
            told = blake2b(log.items[own].tobytes(), digest_size=16)
            told.update(log.times[own].tobytes())
            if log.ratings is not None:
                told.update(b"rated" + log.ratings[own].tobytes())
            found = self._keys[row] = told.digest()
        return found

    @cached_property
    def _keys(self) -> list[bytes | None]:
        return [None] * len(self.rows)

    def seen(self) -> Seen:
        """The items of every history."""
        return Seen.from_pairs(self.log.users, self.log.items, self.log.num_users)

    def standing(self, times: Longs) -> Standing:
        """Where the requests stand among their own histories, at their times."""
        return Standing.of(np.arange(len(times)), times)

    def over(self, events: Events) -> Events:
        """The told events among those training knows."""
        return replace(events, log=self.log, base=events, _made={})

    def columns(
        self, events: Events, lengths: dict[str, int], times: Longs, stored: dict[str, Column]
    ) -> dict[str, Column]:
        """Columns made of past events: of the history where one is told, else as `stored`."""
        fresh = self.over(events).columns(lengths, self.standing(times))
        return {name: _chosen(self.rows, fresh[name], stored[name]) for name in lengths}


def _beside(name: str, given: Columns, ids: Array) -> Array:
    """A list that goes with the items: a value for each, or none at all."""
    values = np.asarray(given[name])
    missing = MISSING_INT if values.dtype.kind == "i" else np.nan
    wide = np.full((len(ids), max(ids.shape[1], values.shape[1])), missing, values.dtype)
    wide[:, : values.shape[1]] = values
    there = wide != missing if values.dtype.kind == "i" else ~np.isnan(wide)
    lengths = (ids != "").sum(axis=1)
    due = np.arange(wide.shape[1]) < lengths[:, None]
    wrong = there.any(axis=1) & (there != due).any(axis=1)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise RequestError(
            f"row {row}, column {name!r}: {there[row].sum()} values for a history of {lengths[row]} items",
            hint="give one for every item of history, the most recent first, or none",
        )
    return wide[:, : ids.shape[1]]


def _chosen(where: Bools, first: Column, second: Column) -> Column:
    """Rows of `first` where true, else of `second`; lists are padded to one width."""
    if isinstance(first, Coded):
        assert isinstance(second, Coded)
        return Coded(_rows(where, first.codes, second.codes, -1), first.values)
    assert not isinstance(second, Coded)
    missing = MISSING_INT if first.dtype.kind == "i" else np.nan
    return _rows(where, first, second, missing)


def _rows(where: Bools, first: Array, second: Array, missing: float) -> Array:
    if first.ndim == 1:
        return np.where(where, first, second)
    out = np.full((len(where), max(first.shape[1], second.shape[1])), missing, first.dtype)
    out[where, : first.shape[1]] = first[where]
    out[~where, : second.shape[1]] = second[~where]
    return out
