"""Histories told in a request: what a user did, who training may never have seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b

import numpy as np

from shortlist._typing import MISSING_INT, Array, Bools, Columns, Floats, Ints, Longs
from shortlist.data.coded import Coded, Column
from shortlist.errors import RequestError
from shortlist.features.columns import ColumnType
from shortlist.features.history import DERIVED, Events
from shortlist.features.log import Log, Standing
from shortlist.features.requests import UNRATED, fill_missing, is_missing, missing_column
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
                f"the request has {name!r} but no 'history'",
                hint="give the items these are of as history",
                column=name,
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
            column="history_timestamp",
            index=index,
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
            column=name,
            index=index[0] if index else None,
        )


def _require_scale(ratings: Array, scale: tuple[float, float]) -> None:
    with np.errstate(over="ignore"):
        rounded = ratings.astype(np.float32)  # as known ones are
    off = ((rounded < scale[0]) | (rounded > scale[1])) & (ratings != UNRATED)
    if off.any():
        row, index = (int(k) for k in np.argwhere(off)[0])
        raise RequestError(
            f"row {row}, column 'history_rating', index {index}: expected a rating from {scale[0]:g} to"
            f" {scale[1]:g}, as in training, got {ratings[row, index]:g}",
            hint="bring ratings to the scale of training, or leave history_rating out",
            column="history_rating",
            index=index,
        )


@dataclass(frozen=True, eq=False)
class Past:
    """One user's history that is known already and need not be read, in the order it happened: catalogue
    positions int32 [n], seconds int64 [n] (None: it has no times), ratings float32 [n] on the scale of
    training (None: it has none), NaN where an event has none."""

    items: Ints
    times: Longs | None
    ratings: Floats | None

    def __len__(self) -> int:
        return len(self.items)

    @cached_property
    def key(self) -> bytes:
        """The same for equal histories only."""
        return _key(self.items, self.times, self.ratings)

    def before(self, time: int) -> Past:
        """What of it is earlier than a time; all of it where it has no times."""
        if self.times is None or not len(self) or self.times[-1] < time:
            return self
        own = slice(0, int(np.searchsorted(self.times, time)))
        return Past(self.items[own], self.times[own], None if self.ratings is None else self.ratings[own])


Pasts = Sequence[Past | None]
"""Of each request a history that is told beside it, where it tells none itself."""


def after(given: Columns, pasts: Pasts) -> Columns:
    """A request's columns, in which requests stand a second after the last event of their pasts if they name
    no time."""
    last = [
        MISSING_INT if past is None or past.times is None or not len(past) else int(past.times[-1]) + 1
        for past in pasts
    ]
    now = given.get("timestamp", missing_column("int", len(last)))
    return {**given, "timestamp": fill_missing(now, np.array(last, np.int64))}


def _key(items: Ints, times: Longs | None, ratings: Floats | None) -> bytes:
    told = blake2b(items.tobytes(), digest_size=16)
    for part in (times, ratings):
        told.update(b"" if part is None else part.dtype.char.encode() + part.tobytes())
    return told.digest()


@dataclass(frozen=True, eq=False)
class Told:
    """The histories of n requests. rows: bool [n], which tell one. log: of all n, users being rows."""

    rows: Bools
    log: Log
    pasts: Pasts = ()

    @classmethod
    def of(cls, given: Columns, items: Items, times: Longs, pasts: Pasts = ()) -> Told | None:
        """None where no request tells a history. Items that are not in the catalogue are left out. pasts: of
        requests that tell none. Raises RequestError where times or ratings are not as many as items."""
        told = cls._read(given, items, times) if "history" in given else None
        if not any(past is not None for past in pasts):
            return told
        known = cls._known(pasts, times)
        return known if told is None else known._and(told)

    @classmethod
    def _known(cls, pasts: Pasts, times: Longs) -> Told:
        """Of pasts alone, whose order stands."""
        none = np.zeros(0, np.int32)
        counts = [0 if past is None else len(past) for past in pasts]
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        held = [past for past in pasts if past is not None]
        clocks = [
            time - APART * np.arange(len(past), 0, -1) if past.times is None else past.times
            for past, time in zip(pasts, times.tolist(), strict=True)
            if past is not None
        ]
        ratings = None
        if any(past.ratings is not None for past in held):
            ratings = np.concatenate(
                [np.full(len(p), np.nan, np.float32) if p.ratings is None else p.ratings for p in held]
            )
        log = Log(indptr, np.concatenate([none, *(p.items for p in held)]), np.concatenate(clocks), ratings)
        return cls(np.array([past is not None for past in pasts], np.bool_), log, pasts)

    def _and(self, read: Told) -> Told:
        """These and what requests told themselves, which holds where both do."""
        parts = []
        for told, rows in ((self, self.rows & ~read.rows), (read, read.rows)):
            log, own = told.log, rows[told.log.users]
            ratings = np.full(len(log), np.nan, np.float32) if log.ratings is None else log.ratings
            parts.append((log.users[own], log.items[own], log.times[own], ratings[own]))
        users, items, times, every = (np.concatenate(both) for both in zip(*parts, strict=True))
        rated = self.log.ratings is not None or read.log.ratings is not None
        log, _ = Log.of(users, items, times, every if rated else None, len(self.rows))
        return Told(self.rows | read.rows, log)

    @classmethod
    def _read(cls, given: Columns, items: Items, times: Longs) -> Told:
        """Of what requests tell themselves."""
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
            ratings = np.where(ratings == UNRATED, np.nan, ratings)
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
        log = Log(indptr, self.log.items[kept], self.log.times[kept], ratings)
        pasts: Pasts = ()
        if self.pasts:
            chosen = range(*rows.indices(len(self.rows))) if isinstance(rows, slice) else rows.tolist()
            pasts = [self.pasts[row] for row in chosen]
        return Told(self.rows[rows], log, pasts)

    def of_row(self, row: int) -> Log:
        """What one request tells."""
        start, stop = int(self.log.indptr[row]), int(self.log.indptr[row + 1])
        ratings = None if self.log.ratings is None else self.log.ratings[start:stop]
        own = np.array([0, stop - start])
        return Log(own, self.log.items[start:stop], self.log.times[start:stop], ratings)

    def key(self, row: int) -> bytes:
        """Of what one request tells: the same for equal histories only."""
        past = self.pasts[row] if self.pasts else None
        if past is not None and past.times is not None:
            return past.key
        found = self._keys[row]
        if found is None:
            log = self.log
            own = slice(int(log.indptr[row]), int(log.indptr[row + 1]))
            ratings = None if log.ratings is None else log.ratings[own]
            found = self._keys[row] = _key(log.items[own], log.times[own], ratings)
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
        return replace(events, log=self.log, base=events, _made={"order": events.order})

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
            column=name,
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
