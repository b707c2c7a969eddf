"""The aggregates of pairs of what is asked and items: of lists of candidates quickly, of other pairs as they
are defined."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist._typing import Array, Bools, Columns, Floats, Longs
from shortlist.features.history import Events
from shortlist.features.log import Log, Standing
from shortlist.features.requests import blanked, fill_missing, take_rows
from shortlist.pipeline.histories import Told
from shortlist.pipeline.stages import Aggregator, no_aggregates
from shortlist.specs.aggregates import columns_read
from shortlist.state.users import Users

if TYPE_CHECKING:
    from shortlist.features.aggregates import Aggregates, Ready
    from shortlist.features.listed import Listed
    from shortlist.features.persons import Face

_LISTED = 8  # candidates of a query from which on it pays to make what depends on the query alone apart


@dataclass(frozen=True, eq=False)
class Figures:
    """The aggregates of each head over the events training knew. over: by head; users: who they are of."""

    over: dict[str, Ready]
    users: Users
    events: Events | None
    _listed: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls, aggregates: dict[str, Aggregates], users: Users, items: Columns, events: Events | None
    ) -> Figures:
        past = users.past
        if past is None:
            return cls({}, users, events)
        return cls(
            {name: a.over(past.log, users.columns, items) for name, a in aggregates.items()}, users, events
        )

    @cached_property
    def read(self) -> list[str]:
        """The users' columns that aggregates read."""
        specs = [spec for ready in self.over.values() for spec in ready.aggregates.specs]
        return sorted(columns_read(specs) & set(self.users.columns))

    def listed(self, head: str) -> Listed | None:
        """What makes a head's of lists of candidates; None where there is no quicker way."""
        if head not in self._listed:
            from shortlist.features.listed import Listed

            self._listed[head] = Listed.of(self.over[head])
        found: Listed | None = self._listed[head]
        return found

    def aggregator(
        self, at: Standing, told: Told | None, given: Columns, unknown: dict[str, Bools]
    ) -> Aggregator:
        """Of rows that stand there and, some of them, tell a history; given: their columns; unknown: where
        these lack one."""
        return _Asked(self, at, told, given, unknown).numbers if self.over else no_aggregates


_UNKNOWN = object()  # equal to no value, as False would be to 0


@dataclass(frozen=True, eq=False)
class _Asked:
    figures: Figures
    at: Standing
    told: Told | None
    given: Columns
    unknown: dict[str, Bools]

    def numbers(self, rows: Longs, positions: Longs) -> dict[str, Floats]:
        """See `stages.Aggregator`."""
        count = lists_of(rows)
        free = count >= _LISTED and bool((self.at.places < 0).all())
        return {name: self._values(name, rows, positions, count if free else 0) for name in self.figures.over}

    def _values(self, head: str, rows: Longs, positions: Longs, count: int) -> Floats:
        listed = self.figures.listed(head) if count else None
        if listed is None:
            return self._each(head, None, rows, positions)
        asking = rows[::count]
        askers = [self._asker(listed, row) for row in asking.tolist()]
        lists = listed.values(askers, self.at.times[asking], positions.reshape(-1, count))
        out: Floats = lists.reshape(len(rows), -1)
        if listed.rest is not None:
            columns = [column for column, _ in listed.sorted.rest]
            out[:, columns] = self._each(head, listed.rest, rows, positions)
        return out

    def _each(self, head: str, part: Ready | None, rows: Longs, positions: Longs) -> Floats:
        """As they are defined. part: some of the head's."""
        ready = self.figures.over[head] if part is None else part
        out = ready.values(self.at.rows(rows), positions)
        if self.told is not None and (own := self.told.rows[rows]).any():
            events = self.figures.events
            log = self.told.log if events is None else events.at_par(self.told.log)
            of_row = Standing.of(rows[own], self.at.times[rows[own]])
            out[own] = ready.with_users(log, self._people).values(of_row, positions[own])
        return out

    @cached_property
    def _people(self) -> Columns:
        """What users are like: as given, else as stored."""
        return {
            name: self._column(name, np.arange(len(self.at.users))) for name in self.figures.users.columns
        }

    def _column(self, name: str, rows: Longs) -> Array:
        stored = take_rows(self.figures.users.columns[name], self.at.users[rows])
        found = fill_missing(self.given[name][rows], stored) if name in self.given else stored
        return blanked(found, self.unknown[name][rows]) if name in self.unknown else found

    # Lists

    def _asker(self, listed: Listed, row: int) -> Any:
        from shortlist.features.listed import Asker
        from shortlist.features.persons import Face

        user = int(self.at.users[row])
        if self.told is None or not self.told.rows[row]:
            table = listed.ready.everyone.user_table
            return Asker(user, user, None, partial(Face.of, table, user))
        key = user, self.told.key(row), *(self._given(name, row) for name in self.figures.read)
        return Asker(key, user, partial(self._log, row), partial(self._face, listed, row))

    def _given(self, name: str, row: int) -> Any:
        """What the row itself says of its user."""
        if name in self.unknown and self.unknown[name][row]:
            return _UNKNOWN
        value = self.given[name][row] if name in self.given else None
        return tuple(value.tolist()) if isinstance(value, np.ndarray) else value

    def _log(self, row: int) -> Log:
        """What a row tells."""
        assert self.told is not None
        log, events = self.told.of_row(row), self.figures.events
        return log if events is None else events.at_par(log)

    def _face(self, listed: Listed, row: int) -> Face:
        from shortlist.features.persons import Face

        names = self.figures.read
        if not any(name in self.given or name in self.unknown for name in names):
            return Face.of(listed.ready.everyone.user_table, int(self.at.users[row]))
        own = {name: self._column(name, np.array([row])) for name in names}
        return Face.of(listed.ready.everyone.user_table.of_others(own), 0)


def lists_of(rows: Longs) -> int:
    """How many items each row has, where all have as many, one row after the other; else 0."""
    if not len(rows):
        return 0
    other = np.flatnonzero(rows != rows[0])
    count = int(other[0]) if len(other) else len(rows)
    if not count or len(rows) % count:
        return 0
    lists = rows.reshape(-1, count)
    return count if bool((lists == lists[:, :1]).all()) else 0
