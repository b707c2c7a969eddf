"""A row's own past as columns, and the features that read them. NumPy only.

Columns made of the log:

    history, history_timestamp      item ids and times of the events at an earlier second, latest first
    seen, seen_residual             the distinct items of an earlier second, latest first; ratings above par
    nearest, nearest_timestamp      all events but the row's own ("leave-one-out"), the nearest in time first
    others, others_residual         as seen, of all distinct items but the row's own
    raters, raters_residual         of an item: who had it at an earlier second; ratings above their own par
    other_raters, other_raters_residual    the same of all but the row's user
    past_count, past_gap, past_span    how many events earlier; seconds since the last and since the first
    session_count                   events since the last pause of half an hour
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from shortlist._typing import MISSING_INT, Array, Doubles, Floats, Ints, Longs
from shortlist.data.coded import Coded, Column, Table
from shortlist.data.vocabulary import Vocabulary
from shortlist.features.columns import ColumnType
from shortlist.features.log import NOWHERE, Log, Standing
from shortlist.features.residuals import above, residuals, running
from shortlist.specs.features import AsOf, Bag, History
from shortlist.specs.gaps import GAPS

GAP_BUCKETS = len(GAPS) + 2
"""Buckets of gaps in time; bucket 0: the time is not known."""
PAUSE = 1800
"""Seconds without an event that end a session."""
NUMBERS = ("past_count", "past_gap", "past_span", "session_count")
LISTS: Mapping[str, tuple[AsOf, str]] = {
    "history": ("row", "items"),
    "history_timestamp": ("row", "times"),
    "nearest": ("leave-one-out", "items"),
    "nearest_timestamp": ("leave-one-out", "times"),
    "seen": ("row", "distinct"),
    "seen_residual": ("row", "residuals"),
    "others": ("leave-one-out", "distinct"),
    "others_residual": ("leave-one-out", "residuals"),
    "raters": ("row", "distinct"),
    "raters_residual": ("row", "residuals"),
    "other_raters": ("leave-one-out", "distinct"),
    "other_raters_residual": ("leave-one-out", "residuals"),
}
"""Names of the lists, whose events they hold, and what of them."""
DERIVED = (*LISTS, *NUMBERS)


def list_names(as_of: AsOf) -> tuple[str, str, str, str]:
    """The columns of events, their times, distinct items and their residuals, as of a row."""
    if as_of == "row":
        return "history", "history_timestamp", "seen", "seen_residual"
    return "nearest", "nearest_timestamp", "others", "others_residual"


def bag_names(bag: Bag) -> tuple[str, str]:
    """The columns a bag reads: distinct items (or users) and their residuals."""
    if bag.column == "item_id":
        return list_names(bag.as_of)[2:]
    return ("raters", "raters_residual") if bag.as_of == "row" else ("other_raters", "other_raters_residual")


@dataclass(frozen=True, eq=False)
class Events:
    """A log with what is derived from it once, and the ids of its items.

    Also of items: "users" are then catalogue positions, "items" their raters (`by_item`).

    ids: object [N], of items by catalogue position. mean: the training mean of ratings. base: the events that
    say what is usual of an item, where these are a few users' own. unrated: what stands in the log for
    ratings that rows lacked, where that can be told apart.
    """

    log: Log
    ids: Array = field(repr=False)
    mean: float = 0.0
    timed: bool = True
    base: Events | None = None
    unrated: float | None = None
    _made: dict[Any, Any] = field(default_factory=dict, repr=False)

    def by_item(self, users: Array) -> Events:
        """The same events of items; users: object [U], the ids of the log's users."""
        log, _ = self._turned()
        return Events(log, users, self.mean, self.timed)

    def places_by_item(self, places: Longs) -> Longs:
        """Places in the log as places in that of `by_item`; -1 stays."""
        return np.append(self._turned()[1], NOWHERE)[places]

    def _turned(self) -> tuple[Log, Longs]:
        def make() -> tuple[Log, Longs]:
            log = self.log
            return Log.of(log.items, log.users, log.times, log.ratings, len(self.ids))

        made: tuple[Log, Longs] = self._once("by item", make)
        return made

    @property
    def firsts(self) -> Log:
        """The first event of every user with every item."""
        made: Log = self._once("firsts", lambda: self.log.firsts())
        return made

    def residuals(self, as_of: AsOf) -> Floats:
        """How far each first event's rating lies above what the item's other events suggest; [T]."""

        def make() -> Floats:
            if self.log.ratings is None:
                return np.zeros(len(self.firsts), np.float32)
            if self.base is not None:
                return above(self.firsts, *self.base._measure(), self.mean, as_of)
            return residuals(self.log, self.mean, as_of)[self.firsts_at]

        made: Floats = self._once(f"residuals {as_of}", make)
        return made

    def at_par(self, log: Log) -> Log:
        """A log of others with its missing ratings at what these events suggest of their items."""
        if self.log.ratings is None:
            return log
        given = np.full(len(log), np.nan, np.float32) if log.ratings is None else log.ratings
        gone = np.isnan(given)
        if not gone.any():  # of an empty log too, which is to have ratings as others have
            return replace(log, ratings=given)
        mean = np.full(len(log), self.mean, np.float32)
        usual = mean - above(replace(log, ratings=mean), *self._measure(), self.mean, "row")
        return replace(log, ratings=np.where(gone, usual, given))

    def _measure(self) -> tuple[Log, Doubles | None]:
        """The events by item, and the running sums of their ratings."""
        by_item = self._turned()[0]
        return by_item, self._once("sums", lambda: running(by_item, self.mean))

    @property
    def firsts_at(self) -> Longs:
        """The place in the log of every first event."""
        made: Longs = self._once("firsts at", lambda: self.log.first_places())
        return made

    def first_places(self, places: Longs) -> Longs:
        """Places in the log as places among the firsts: of the first event of the same user and item."""

        def make() -> Longs:
            pairs = self.log.users * len(self.ids) + self.log.items
            order = np.argsort(pairs[self.firsts_at])
            found = np.searchsorted(pairs[self.firsts_at][order], pairs)
            return np.append(order[found], NOWHERE)

        if not len(places) or places.max() < 0:
            return places
        made: Longs = self._once("first places", make)[places]
        return made

    def columns(self, names: Mapping[str, int], at: Standing) -> dict[str, Column]:
        """The named columns of n rows; names: each list's greatest length (numbers: anything)."""
        shared: dict[Any, Any] = {}
        return {name: self._column(name, at, length, shared) for name, length in names.items()}

    def _column(self, name: str, at: Standing, length: int, shared: dict[Any, Any]) -> Column:
        if name in NUMBERS:
            if NUMBERS not in shared:
                shared[NUMBERS] = self._numbers(at)
            numbers: Longs = shared[NUMBERS][name]
            return numbers
        as_of, what = LISTS[name]
        all_of_it = what in ("items", "times")
        key = as_of, all_of_it, length
        if key not in shared:
            shared[key] = (
                self.log.past(at, as_of, length)
                if all_of_it
                else self.firsts.every(at._replace(places=self.first_places(at.places)), as_of, length)
            )
        places: Longs = shared[key]
        if what == "items":
            return self._coded(self.log.items, places)
        if what == "times":
            return _taken(self.log.times, places, MISSING_INT)
        if what == "distinct":
            return self._coded(self.firsts.items, places)
        return _taken(self.residuals(as_of), places, np.nan).astype(np.float64)

    def _coded(self, items: Ints, places: Longs) -> Coded:
        order, place_of = self.order
        codes = np.where(places >= 0, place_of[_at(items, places)], -1).astype(np.int32)
        return Coded(codes, order)

    @property
    def order(self) -> tuple[Array, Ints]:
        """The ids in ascending order, and each catalogue position's place there."""
        made: tuple[Array, Ints] = self._once("order", self._ordered)
        return made

    def _ordered(self) -> tuple[Array, Ints]:
        order = np.argsort(self.ids)
        place_of = np.empty(len(order), np.int32)
        place_of[order] = np.arange(len(order), dtype=np.int32)
        return self.ids[order], place_of

    def _numbers(self, at: Standing) -> dict[str, Longs]:
        start, stop = self.log.ranges(at, "row")
        any_ = stop > start
        times = self.log.times
        last, first = _at(times, stop - 1), _at(times, start)
        begins = self._once("sessions", self._sessions)
        fresh = any_ & (at.times - last <= PAUSE)
        return {
            "past_count": stop - start,
            "past_gap": np.where(any_ & self.timed, at.times - last, MISSING_INT),
            "past_span": np.where(any_ & self.timed, at.times - first, MISSING_INT),
            "session_count": np.where(fresh & self.timed, stop - _at(begins, stop - 1), 0),
        }

    def _sessions(self) -> Longs:
        """The place at which each event's session begins."""
        places = np.arange(len(self.log), dtype=np.int64)
        begins = np.ones(len(self.log), bool)
        begins[1:] = np.diff(self.log.times) > PAUSE
        begins[self.log.indptr[:-1][np.diff(self.log.indptr) > 0]] = True
        return np.maximum.accumulate(np.where(begins, places, 0)) if len(places) else places

    def _once(self, name: str, make: Any) -> Any:
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]


def _at(values: Array, places: Longs) -> Array:
    """Values at places, anything where there is none."""
    return values.take(places, mode="clip") if len(values) else np.zeros_like(places)


def _taken(values: Array, places: Longs, missing: float) -> Array:
    return np.where(places >= 0, _at(values, places), missing)


# Features


@dataclass(frozen=True)
class Recent:
    """History: slots of the events' items, int32 [n, length], padded with -1; and under "<key>@gap" the
    buckets of their gaps in time."""

    spec: History
    vocabulary: Vocabulary
    timed: bool
    type: ColumnType = "string"
    width: int = 0

    @property
    def rows(self) -> int | None:
        return self.vocabulary.size

    @property
    def columns(self) -> dict[str, ColumnType]:
        items, times, _, _ = list_names(self.spec.as_of)
        read: dict[str, ColumnType] = {items: "strings"}
        return read | ({times: "ints", "timestamp": "int"} if self.timed else {})

    @property
    def lengths(self) -> dict[str, int]:
        items, times, _, _ = list_names(self.spec.as_of)
        return dict.fromkeys((items, times) if self.timed else (items,), self.spec.length)

    def encode(self, columns: Table) -> dict[str, Array]:
        items, times, _, _ = list_names(self.spec.as_of)
        slots = slots_of(self.vocabulary, columns[items], self.spec.length)
        gaps = np.zeros(slots.shape, np.int32)
        if self.timed:
            now, then = np.asarray(columns["timestamp"]), np.asarray(columns[times])
            used = min(then.shape[1], self.spec.length)
            gaps[:, :used] = gap_buckets(now, then[:, :used])
        return {self.spec.key: slots, f"{self.spec.key}@gap": np.where(slots >= 0, gaps, 0)}

    def to_dict(self) -> dict[str, Any]:
        return {"vocabulary": self.vocabulary.to_dict(), "timed": self.timed}


@dataclass(frozen=True)
class Total:
    """Bag: slots of the items, int32 [n, at most length], padded with -1; and, if rated, under "<key>@weight"
    their residuals, float32."""

    spec: Bag
    vocabulary: Vocabulary
    type: ColumnType = "string"
    width: int = 0

    @property
    def rows(self) -> int | None:
        return self.vocabulary.size

    @property
    def columns(self) -> dict[str, ColumnType]:
        items, residual = bag_names(self.spec)
        read: dict[str, ColumnType] = {items: "strings"}
        return read | ({residual: "floats"} if self.spec.rated else {})

    @property
    def lengths(self) -> dict[str, int]:
        return dict.fromkeys(self.columns, self.spec.length)

    def encode(self, columns: Table) -> dict[str, Array]:
        items, residual = bag_names(self.spec)
        column = columns[items]
        slots = slots_of(self.vocabulary, column, min(max(1, column.shape[1]), self.spec.length))
        out: dict[str, Array] = {self.spec.key: slots}
        if self.spec.rated:
            given = np.asarray(columns[residual])[:, : slots.shape[1]]
            weights = np.zeros(slots.shape, np.float32)
            weights[:, : given.shape[1]] = np.nan_to_num(given)
            out[f"{self.spec.key}@weight"] = weights
        return out

    def to_dict(self) -> dict[str, Any]:
        return {"vocabulary": self.vocabulary.to_dict()}


def slots_of(vocabulary: Vocabulary, column: Column, length: int) -> Ints:
    """Rows of the table for lists of items [n, any] -> int32 [n, length]: -1 where missing, 0 unknown."""
    out = np.full((len(column), length), -1, np.int32)
    used = column[:, :length]
    if isinstance(used, Coded):
        table = np.append(vocabulary.slots_of(used), np.int32(-1))
        out[:, : used.shape[1]] = table[used.codes]
        return out
    present = used != ""
    out[:, : used.shape[1]][present] = vocabulary.lookup(used[present])
    return out


def gap_buckets(now: Longs, then: Longs) -> Ints:
    """Buckets of the time between rows [n] and events [n, L]: 0 where either is missing, else 1 and one more
    for every boundary of GAPS that is reached. Events after the row count by their distance."""
    gaps = np.abs(now[:, None] - then)
    found = 1 + np.searchsorted(np.array(GAPS, np.int64), gaps, side="right")
    known = (now != MISSING_INT)[:, None] & (then != MISSING_INT)
    return np.where(known, found, 0).astype(np.int32)
