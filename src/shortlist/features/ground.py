"""A log made ready for aggregates: residuals of its events, and its entries sorted under every key."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np

from shortlist._typing import Array, Doubles, Longs
from shortlist.errors import SpecError
from shortlist.features.keys import LEVELS, Table, cross, level
from shortlist.features.log import Log
from shortlist.features.running import NONE, Clock, Running, Totals
from shortlist.specs.aggregates import ACTIVITY, ITEM, POPULARITY, USER, Aggregate
from shortlist.specs.features import AsOf

SHRINK = 5.0
"""Ratings of the mean that every item and user is thought to have had already, in the means of residuals."""

Par = Literal["rating", "items", "users", "both"]
"""What a rating is measured against: the global mean, or besides its item's, its user's, or both means."""


class Key(NamedTuple):
    """Columns that a row and an event share. `as_of` matters where one is a count of events."""

    by: tuple[str, ...]
    bins: int
    as_of: AsOf

    @classmethod
    def of(cls, by: tuple[str, ...], bins: int, as_of: AsOf) -> Key:
        derived = POPULARITY in by or ACTIVITY in by
        return cls(tuple(sorted(by)), bins, as_of if derived else "row")

    def within(self, table: Table) -> tuple[tuple[str, int], ...]:
        """Its columns in a table, as the table codes them."""
        return tuple((name, self.bins) for name in self.by if (name, self.bins) in table.codings)


def par_of(spec: Aggregate) -> Par:
    """What the events of an aggregate are measured against."""
    if spec.of == "rating":
        return "rating"
    return "items" if USER in spec.by else "users" if ITEM in spec.by else "both"


@dataclass(frozen=True, eq=False)
class Ground:
    """The T events of a log. `above` float64 [T] is their rating less the global mean, None without ratings.
    behind: the ground whose items' means and popularity hold, where the log is of users it does not know."""

    log: Log
    users: Longs
    above: Doubles | None
    clock: Clock
    user_table: Table
    item_table: Table
    behind: Ground | None = None
    cache: dict[Any, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, log: Log, mean: float, user_table: Table, item_table: Table) -> Ground:
        above = None if log.ratings is None else log.ratings.astype(np.float64) - mean
        return cls(log, log.users.astype(np.int64), above, Clock.of(log.times), user_table, item_table)

    def running(self, key: Key) -> Running:
        """The entries under a key."""
        if key not in self.cache:
            log, as_of = self.log, key.as_of
            counts = {
                name: self.counts(name, self.users, log.items, log.times, as_of)
                for name in (POPULARITY, ACTIVITY)
                if name in key.by
            }
            keys = self.keys(key, self.user_table, self.users, log.items, counts)
            self.cache[key] = Running.of(keys, self._checked_size(key), log.times, self.clock)
        found: Running = self.cache[key]
        return found

    def keys(self, key: Key, table: Table, users: Longs, items: Array, counts: dict[str, Longs]) -> Longs:
        """The keys of m users, rows of `table`, with an item each: int64 [m, L], -1 unused. Users of another
        table than the ground's are not of its log. counts: int64 [m] for "popularity" and "activity" where
        the key has them."""
        keys = table.crossed(key.within(table), table.rows(users))
        if USER in key.by:
            ours = (users < self.log.num_users) & (table is self.user_table)
            keys = cross(keys, np.where(ours, users, NONE)[:, None], self.log.num_users)
        codes, size = self._item_codes(key)
        if ITEM in key.by or key.within(self.item_table):
            known = np.where((items >= 0) & (items < self.num_items), items, self.num_items)
            keys = cross(keys, codes[known], size)
        for name in counts:
            keys = cross(keys, level(counts[name])[:, None], LEVELS)
        return keys

    @property
    def num_items(self) -> int:
        if "items" not in self.cache:
            self.cache["items"] = max(len(self.item_table), int(self.log.items.max(initial=-1)) + 1)
        return int(self.cache["items"])

    def _item_codes(self, key: Key) -> tuple[Longs, int]:
        """Every item's part of the key, [N + 1, L], the last for an item that is not known."""
        at = ("codes", key.by, key.bins)
        if at not in self.cache:
            items, wanted = np.arange(self.num_items + 1), key.within(self.item_table)
            codes = self.item_table.crossed(wanted, self.item_table.rows(items))
            size = self.item_table.size(wanted)
            if ITEM in key.by:
                items[-1] = NONE
                codes, size = cross(codes, items[:, None], self.num_items), size * self.num_items
            self.cache[at] = codes, size
        found: tuple[Longs, int] = self.cache[at]
        return found

    def size(self, key: Key) -> int:
        """How many keys there can be."""
        size = self.user_table.size(key.within(self.user_table)) * self._item_codes(key)[1]
        size *= LEVELS ** ((POPULARITY in key.by) + (ACTIVITY in key.by))
        return int(size) * (self.log.num_users if USER in key.by else 1)

    def _checked_size(self, key: Key) -> int:
        if (size := self.size(key)) >= 2**62:
            raise SpecError(f"the key {list(key.by)!r} has {size:.1e} combinations of values: too many")
        return size

    def counts(self, name: str, users: Longs, items: Array, times: Longs, as_of: AsOf) -> Longs:
        """How many events m items ("popularity") or users ("activity") have, as of m times; int64 [m]."""
        by = ITEM if name == POPULARITY else USER
        ground = self.behind if self.behind and by == ITEM else self
        return ground._past(Key((by,), 0, "row"), "rating", users, items, times, as_of)[1]

    def totals(self, key: Key, par: Par, as_of: AsOf, square: bool) -> Totals:
        """Running sums of the entries' residuals, or of their squares."""
        at = ("totals", key, par, as_of, square)
        if at not in self.cache:
            values = self.residuals(par, as_of)
            self.cache[at] = self.running(key).totals(values * values if square else values)
        found: Totals = self.cache[at]
        return found

    def residuals(self, par: Par, as_of: AsOf) -> Doubles:
        """What each event's rating is above par, float64 [T]. The means it is measured against are of events
        of an earlier second than the event ("row") or of all; an item's mean leaves out the event's user, a
        user's mean the event's item."""
        at = ("residuals", par, as_of)
        if at not in self.cache:
            assert self.above is not None
            values = self.above
            if par in ("items", "both"):
                values = values - self._mean(ITEM, "rating", as_of)
            if par in ("users", "both"):
                # leave-one-out, other users' means of residuals would know of the row's rating of its item
                plain = par == "both" and as_of == "leave-one-out"
                values = values - self._mean(USER, "rating" if plain else "items", as_of)
            self.cache[at] = values
        found: Doubles = self.cache[at]
        return found

    def _mean(self, by: str, par: Par, as_of: AsOf) -> Doubles:
        """The shrunk mean of each event's item over other users, or of its user over other items."""
        ground = self.behind or self
        where = self.users, self.log.items, self.log.times
        total, count = ground._past(Key((by,), 0, "row"), par, *where, as_of)
        if ground is self and (as_of == "leave-one-out" or self.repeats):
            own, times = ground._past(Key((ITEM, USER), 0, "row"), par, *where, as_of)
            total, count = total - own, count - times
        return np.where(count > 0, total / (count + SHRINK), 0.0)

    @property
    def repeats(self) -> bool:
        if "repeats" not in self.cache:
            self.cache["repeats"] = self.log.repeats
        return bool(self.cache["repeats"])

    def _past(
        self, key: Key, par: Par, users: Longs, items: Array, times: Longs, as_of: AsOf
    ) -> tuple[Doubles, Longs]:
        """Sum (zeros without ratings) and number of events under a key of ids, as of m times; [m] each."""
        running, spans = self.running(key), None
        if as_of == "row" and users is self.users and items is self.log.items and times is self.log.times:
            spans = running.own_spans()
        if spans is None:
            coded = running.coded(self.keys(key, self.user_table, users, items, {})[:, 0])
            spans = running.spans(coded, times, np.full(len(coded), NONE), as_of, 0.0, 0)
        none = self.above is None
        sums = np.zeros(len(users)) if none else self.totals(key, par, as_of, False).over(spans)
        return sums, spans.counts
