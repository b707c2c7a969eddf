"""New events beside those a model was trained on: checked, told apart from known ones, in one table."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import polars as pl

from shortlist.api.keeping import Start, canonical, columns_read
from shortlist.api.merging import Merged, in_types, merged, require_same_clock
from shortlist.api.preparing import may_lack
from shortlist.api.sources import read_tables
from shortlist.data import tables
from shortlist.data.dataset import Dataset, covering
from shortlist.data.reading import Source, describe_source, read_table
from shortlist.data.roles import CANONICAL
from shortlist.data.splits import Split
from shortlist.data.times import units_of
from shortlist.errors import DataError, did_you_mean
from shortlist.specs.models import Model
from shortlist.specs.recipe import DataSource

LEAKS = "unknown: its rows were chosen by whoever gave them"
IDS = ("user_id", "item_id")
EXPORTED = {*IDS, "timestamp", "event_id"}
"""Columns that every export of a server's events has."""
NEW = "the new events"
MOST_NAMED = 5
"""Columns named in a note."""


@dataclass(frozen=True)
class News:
    """Old rows, then new ones, as the training rows of a split. num_old: how many are old; notes: sentences
    about what was found."""

    split: Split = field(repr=False)
    num_old: int
    notes: tuple[str, ...] = ()

    @property
    def num_new(self) -> int:
        return self.split.train.height - self.num_old


def news_of(
    start: Start, events: Source | Dataset | Split, items: Source | None, users: Source | None
) -> News:
    """New events and the old ones in one split.

    Raises DataError for events that lack a column the old have, for a column of another type, and for times
    in another unit.
    """
    split, place = events if isinstance(events, Split) else None, NEW
    if split is not None:
        given, users, items = split.train, split.users, split.items
    elif isinstance(events, Dataset):
        given, users, items = events.interactions, events.users, events.items
        place = events.place or place
    else:
        place = place if isinstance(events, pl.DataFrame) else describe_source(events)
        given = tables.interactions(events, unrated=not needs_ratings(start.model))
    if "rating" not in given.columns and not learns_ratings(start.model):
        given = given.with_columns(rating=pl.lit(None, pl.Float64))
    more_users = None if users is None else canonical(tables.users(users))
    more_items = None if items is None else canonical(tables.items(items))
    wanted = columns_read(start.model, start.rows.columns)
    extra = [name for name in given.columns if name not in (*wanted, "rating", *_alike(given))]
    new = _typed(given, start.rows.select(wanted), place)
    fresh = _unknown(new, start.rows.select(wanted))
    known_users, known_items = start.users["user_id"], start.items["item_id"]
    told_users = merged(start.users, more_users, "user_id", "users")
    told_items = merged(start.items, more_items, "item_id", "items")
    people = covering(told_users.table, fresh, "user_id")
    things = covering(told_items.table, fresh, "item_id")
    rows = pl.concat([start.rows.select(wanted), fresh])
    notes = [
        *_said_of_rows(new, fresh, start.rows),
        _said_of_unrated(fresh, start.model),
        _said_of_new("users", people["user_id"], known_users),
        _said_of_new("items", things["item_id"], known_items),
        _said_of_changed("users", told_users),
        _said_of_changed("items", told_items),
        _said_of_bare("users", told_users.table, people),
        _said_of_bare("items", told_items.table, things),
        "" if split is None else _said_of_learned(split.validation, start.rows),
        f"columns that training does not read: {', '.join(extra[:MOST_NAMED])}" if extra else "",
    ]
    nothing = rows.clear()
    rule = f"{start.rows.height} rows, then {fresh.height} new events"
    whole = Split(
        rows,
        nothing if split is None else split.validation,
        nothing if split is None else split.test,
        people,
        things,
        rule if split is None else split.rule,
        None,
        LEAKS if split is None else split.leaks,
    )
    return News(whole, start.rows.height, tuple(note for note in notes if note))


def named_as(
    roles: DataSource | None, events: Path, items: Path | None = None, users: Path | None = None
) -> Dataset:
    """Files read as a recipe's data is: the same names of columns, units of time and types of events. The
    events may also be called as in a server's export, and have no ratings."""
    return read_tables(*_read(roles, events, items, users), unrated=True)


def _read(
    roles: DataSource | None, events: Path, items: Path | None, users: Path | None
) -> tuple[DataSource, pl.DataFrame]:
    """How the files are to be read, and the table of events."""
    own = DataSource(interactions=str(events)) if roles is None or roles.dataset else roles
    files = {"items": "" if items is None else str(items), "users": "" if users is None else str(users)}
    own = msgspec.structs.replace(own, interactions=str(events), **files)
    frame = read_table(events, strings={own.user, own.item, *IDS}, delimiter=own.delimiter)
    if set(frame.columns) >= EXPORTED:
        frame = _completed(frame, own)
    return as_exported(own, frame), frame


def _completed(frame: pl.DataFrame, own: DataSource) -> pl.DataFrame:
    """A server's events with the columns that an export leaves out where no event has a value."""
    if own.rating and not {own.rating, "rating"} & set(frame.columns):
        frame = frame.with_columns(rating=pl.lit(None, pl.Float64))
    if own.weight and not {own.weight, "weight"} & set(frame.columns):
        frame = frame.with_columns(weight=1.0)
    return frame


def as_exported(own: DataSource, frame: pl.DataFrame) -> DataSource:
    """The source with the names of a server's export in place of those of its own that a table lacks, and
    with seconds where the times are a server's."""
    has = set(frame.columns)
    taken = {
        role: name
        for role, name in CANONICAL.items()
        if name in has and getattr(own, role) and getattr(own, role) not in has
    }
    # tables of users and items stay called as they were
    keys = {f"{r}_key": getattr(own, f"{r}_key") or getattr(own, r) for r in ("user", "item") if r in taken}
    serves = has >= EXPORTED and own.time_unit and own.timestamp == "timestamp"
    if "timestamp" in taken or (serves and "s" in units_of(frame["timestamp"])):
        taken["time_unit"] = "s"
    return msgspec.structs.replace(own, **taken, **keys)


def _alike(rows: pl.DataFrame) -> tuple[str, ...]:
    """The column of weights where all are 1, which says nothing."""
    return ("weight",) if "weight" in rows.columns and (rows["weight"] == 1).all() else ()


def learns_ratings(model: Model) -> bool:
    """Whether ratings are a label."""
    return any(head.label == "rating" for head in model.heads)


def needs_ratings(model: Model) -> bool:
    """Whether every row needs a rating: they are a label, and a row without it would teach nothing."""
    return learns_ratings(model) and not may_lack(model, "rating")


def rated_as_needed(
    model: Model, roles: DataSource | None, events: Path, items: Path | None, users: Path | None
) -> tuple[Dataset, tuple[str, ...]]:
    """`named_as`, and notes of the events that were left out: those without a rating where the model learns
    nothing from them, and those of types that weigh nothing; and of those without a type, which count 1."""
    source, frame = _read(roles, events, items, users)
    notes = []
    if needs_ratings(model) and source.rating in frame.columns:
        kept = frame.drop_nulls(source.rating)
        if not kept.height:
            raise DataError(
                f"{events}: no event has a rating, which this model learns",
                hint="a recipe that only retrieves needs none",
            )
        if empty := frame.height - kept.height:
            notes.append(
                f"{_events(empty)} without a rating {_were(empty)} left out: this model learns ratings alone"
            )
        frame = kept
    data = read_tables(source, frame, unrated=True)
    if source.event and (untyped := frame[source.event].null_count()):
        notes.append(f"{_events(untyped)} without a type {_were(untyped)} counted 1")
    if idle := frame.height - data.interactions.height:
        kinds = ", ".join(kind for kind, weight in source.event_weights.items() if not weight)
        told = f" ({kinds})" if kinds else ""
        notes.append(f"{_events(idle)} of types that weigh 0{told} {_were(idle)} left out")
    return data, tuple(notes)


def _typed(given: pl.DataFrame, old: pl.DataFrame, place: str) -> pl.DataFrame:
    """The columns of the old rows, in their types. place: what messages call the new ones."""
    for name in old.columns:
        if name not in given.columns:
            raise DataError(
                f"{place} {'have' if place == NEW else 'has'} no column {name!r}, which training reads",
                hint=did_you_mean(name, given.columns),
            )
    typed = in_types(given.select(old.columns), old, place)
    require_same_clock(typed, old, place)
    return typed


def _unknown(new: pl.DataFrame, old: pl.DataFrame) -> pl.DataFrame:
    """The new rows that equal no old one."""
    names = [name for name, dtype in old.schema.items() if not dtype.is_nested()]
    return new.join(old.select(names), on=names, how="anti", nulls_equal=True, maintain_order="left")


def _said_of_rows(new: pl.DataFrame, fresh: pl.DataFrame, old: pl.DataFrame) -> list[str]:
    known = new.height - fresh.height
    said = [f"{_events(fresh.height, 'new ')} after {old.height:,} known ones"]
    said += [f"{_events(known)} {_were(known)} known already and left out"] if known else []
    if "timestamp" in fresh.columns and fresh.height:
        latest = old["timestamp"].max()
        late = int((fresh["timestamp"] < latest).sum())
        if late:
            are = (
                "is earlier than the last known one, and takes its"
                if late == 1
                else "are earlier than the last known one, and take their"
            )
            said.append(f"{late:,} of them {are} place in time")
    return said


def _events(count: int, new: str = "") -> str:
    return f"{count:,} {new}event{'' if count == 1 else 's'}"


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _said_of_unrated(fresh: pl.DataFrame, model: Model) -> str:
    empty = fresh["rating"].null_count() if "rating" in fresh.columns else 0
    if not empty or not learns_ratings(model):
        return ""
    have = "has" if empty == 1 else "have"
    return f"{empty:,} of them {have} no rating: retrieval learns from them, ratings do not"


def _said_of_new(what: str, ids: pl.Series, known: pl.Series) -> str:
    count = len(ids) - len(known)
    return f"{count:,} new {what if count != 1 else what[:-1]}" if count else ""


def _said_of_changed(what: str, found: Merged) -> str:
    if not found.changed:
        return ""
    named = what if found.changed != 1 else what[:-1]
    return f"{found.changed:,} known {named} changed in {', '.join(found.columns[:MOST_NAMED])}"


def _said_of_learned(validation: pl.DataFrame, old: pl.DataFrame) -> str:
    keys = ["user_id", "item_id", "timestamp"]
    if any(key not in rows.columns for key in keys for rows in (validation, old)):
        return ""
    known = validation.join(old.select(keys).unique(), on=keys, how="semi").height
    return (
        f"{known:,} of {validation.height:,} validation rows were learned from before: their figures say how"
        " well the model remembers"
        if known
        else ""
    )


def _said_of_bare(what: str, told: pl.DataFrame, whole: pl.DataFrame) -> str:
    """Of ids that only the events know, where others have columns."""
    count, columns = whole.height - told.height, told.columns[1:]
    if not count or not columns:
        return ""
    named = what if count != 1 else what[:-1]
    missing = ", ".join(columns[:MOST_NAMED])
    return f"of {count:,} new {named} the id alone is known: no table gives {missing}"
