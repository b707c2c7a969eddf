"""Any source -> checked tables: columns get their roles, guessed where nobody named them; notes say how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from shortlist.data import tables
from shortlist.data.columns import readable
from shortlist.data.reading import Source, describe_source, read_table
from shortlist.data.roles import CANONICAL, NO_COLUMN, Guess, Roles, event_weights, guess_key, guess_roles
from shortlist.data.times import PER_SECOND, unit_of_size

Named = Mapping[str, str | None]
"""Columns by role: None where the role is to be guessed, "" where no column plays it."""


@dataclass(frozen=True)
class Events:
    """Checked interactions. user, item: what their columns were called; guessed: the roles, where they were
    guessed; notes: what a reader should know of how the table was read."""

    rows: pl.DataFrame
    user: str
    item: str
    guessed: Roles | None = None
    notes: tuple[str, ...] = ()

    @property
    def guesses(self) -> tuple[str, ...]:
        """A sentence for every role a column plays without being called by its name or named by somebody."""
        found = () if self.guessed is None else self.guessed.guesses
        return tuple(
            f"the {guess.role} is {guess.column!r}: {guess.said}"
            for guess in found
            if guess.role != "context" and not guess.given and guess.column != CANONICAL[guess.role]
        )


@dataclass(frozen=True)
class Entities:
    """A checked table of users or items, the column that held their ids, how it was found, and notes."""

    table: pl.DataFrame
    key: str
    guessed: Guess | None = None
    notes: tuple[str, ...] = ()

    @property
    def guesses(self) -> tuple[str, ...]:
        """A sentence, where the ids' column was found by what it holds."""
        found = self.guessed
        if found is None or found.given or found.column == CANONICAL[found.role]:
            return ()
        return (f"the {found.role}'s id in its own table is {found.column!r}: {found.said}",)


def read_events(
    source: Source,
    named: Named,
    *,
    weights: Mapping[str, float] | None = None,
    time_unit: str = "",
    delimiter: str = "",
    guess: bool = True,
    place: str = "",
    unrated: bool = False,
) -> Events:
    """The interactions in a source. guess: whether roles that were not named are guessed, or else played by
    columns of their usual names where there are such. Raises DataError as `guess_roles` and
    `tables.interactions` do, which tells of place and unrated."""
    place = place or describe_source(source)
    user, item = named.get("user") or CANONICAL["user"], named.get("item") or CANONICAL["item"]
    frame, left_out = readable(read_table(source, strings={user, item}, delimiter=delimiter))
    roles = guess_roles(frame, named, place, time_unit) if guess else None
    if roles is not None:
        user, item = roles.column("user") or user, roles.column("item") or item
        if frame[user].dtype.is_float() or frame[item].dtype.is_float():
            frame, _ = readable(read_table(source, strings={user, item}, delimiter=delimiter))
        named = {role: roles.column(role) or NO_COLUMN for role in CANONICAL}
        time_unit = time_unit or roles.time_unit
    event = named.get("event") or None
    if event and event in frame.columns and weights is None:
        weights = dict(roles.event_weights) if roles and roles.event_weights else event_weights(frame[event])
    rows = tables.interactions(
        frame,
        user=user,
        item=item,
        rating=named.get("rating"),
        timestamp=named.get("timestamp"),
        weight=named.get("weight"),
        event=event,
        event_weights=weights,
        time_unit=time_unit,
        place=place,
        unrated=unrated,
    )
    notes = (
        *_notes_of_times(frame, named, time_unit),
        *_notes_of_events(event, weights),
    )
    return Events(rows, user, item, roles, (*notes, *_notes_of_columns(left_out, place)))


def read_entities(
    source: Source,
    side: str,
    events: Events,
    *,
    key: str | None = None,
    delimiter: str = "",
    guess: bool = True,
) -> Entities:
    """The table of "user"s or "item"s in a source. key: the column of their ids; where it is not named it is
    the one that holds the interactions' ids (guess), or the one called as theirs. Raises DataError as
    `guess_key`, `tables.users` and `tables.items` do."""
    place = describe_source(source)
    name = events.user if side == "user" else events.item
    frame, left_out = readable(read_table(source, strings={key or name}, delimiter=delimiter))
    found = None
    if guess:
        found = guess_key(frame, side, events.rows[f"{side}_id"], name=name, given=key, place=place)
        key = found.column
    key = key or name
    if key in frame.columns and frame[key].dtype.is_float():
        frame, _ = readable(read_table(source, strings={key}, delimiter=delimiter))
    read = tables.users if side == "user" else tables.items
    table = read(frame, key, place=place)
    return Entities(table, key, found, tuple(_notes_of_columns(left_out, place)))


def _notes_of_times(frame: pl.DataFrame, named: Named, unit: str) -> list[str]:
    name = named.get("timestamp") if named.get("timestamp") is not None else "timestamp"
    if not name or name not in frame.columns:
        return []
    if unit and frame[name].dtype.is_temporal():
        return [f"{name!r} holds dates or times: the stated unit {unit} is not used"]
    if not unit and frame[name].dtype.is_numeric():
        unit = unit_of_size(frame[name])
    if unit in PER_SECOND and unit != "s":
        return [f"the times of {name!r} are in {unit}: divided by {PER_SECOND[unit]:,} to seconds"]
    return [f"the times of {name!r} are read as {unit}"] if "%" in unit else []


def _notes_of_events(event: str | None, weights: Mapping[str, float] | None) -> list[str]:
    if not event or not weights:
        return []
    kept = ", ".join(f"{kind} {weight:g}" for kind, weight in weights.items() if weight)
    lost = ", ".join(kind for kind, weight in weights.items() if not weight)
    return [f"events of {event!r} count by type: {kept}" + (f"; left out: {lost}" if lost else "")]


def _notes_of_columns(left_out: Mapping[str, str], place: str) -> list[str]:
    return [
        f"{place}: {name!r} is left out: no feature reads the type {kind}" for name, kind in left_out.items()
    ]
