"""New events beside those a model was trained on: checked, told apart from known ones, in one table."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import polars as pl

from shortlist.api.keeping import Start, canonical, columns_read
from shortlist.api.merging import Merged, in_types, merged, require_same_clock
from shortlist.api.preparing import may_lack
from shortlist.api.sources import read_tables
from shortlist.data import tables
from shortlist.data.dataset import Dataset, covering
from shortlist.data.reading import Source, read_table
from shortlist.data.splits import Split
from shortlist.errors import DataError, did_you_mean
from shortlist.specs.models import Model
from shortlist.specs.recipe import DataSource

LEAKS = "unknown: its rows were chosen by whoever gave them"
_ASIDE = "rating_given"
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
    split = events if isinstance(events, Split) else None
    if split is not None:
        given, users, items = split.train, split.users, split.items
    elif isinstance(events, Dataset):
        given, users, items = events.interactions, events.users, events.items
    else:
        given = tables.interactions(events, unrated=not needs_ratings(start.model))
    if "rating" not in given.columns and not learns_ratings(start.model):
        given = given.with_columns(rating=pl.lit(None, pl.Float64))
    more_users = None if users is None else canonical(tables.users(users))
    more_items = None if items is None else canonical(tables.items(items))
    wanted = columns_read(start.model, start.rows.columns)
    extra = [name for name in given.columns if name not in (*wanted, "rating")]
    new = _typed(given, start.rows.select(wanted))
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
    roles: DataSource | None,
    events: Path,
    items: Path | None,
    users: Path | None,
    rows: pl.DataFrame | None = None,
) -> Dataset:
    """Files read as a recipe's data is: the same names of columns, units of time and types of events. rows:
    what is to be read of the events, in place of the file."""
    own = DataSource(interactions=str(events)) if roles is None or roles.dataset else roles
    files = {
        "interactions": str(events),
        "items": "" if items is None else str(items),
        "users": "" if users is None else str(users),
    }
    return read_tables(msgspec.structs.replace(own, **files), rows)


def learns_ratings(model: Model) -> bool:
    """Whether ratings are a label."""
    return any(head.label == "rating" for head in model.heads)


def needs_ratings(model: Model) -> bool:
    """Whether every row needs a rating: they are a label, and a row without it would teach nothing."""
    return learns_ratings(model) and not may_lack(model, "rating")


def rated_as_needed(
    model: Model, roles: DataSource | None, events: Path, items: Path | None, users: Path | None
) -> tuple[Dataset, str]:
    """`named_as`, of events of which some have no rating: these are left out, which a note says, where the
    model learns nothing from them; else they are kept, their rating missing."""
    own = DataSource(interactions=str(events)) if roles is None or roles.dataset else roles
    name = own.rating or "rating"
    frame = read_table(events, strings={own.user, own.item}, delimiter=own.delimiter)
    if name not in frame.columns and "event_id" in frame.columns and not needs_ratings(model):
        # a server's events, which have the column if one of them has a rating; elsewhere it may be misnamed
        frame = frame.with_columns(pl.lit(None, pl.Float64).alias(name))
    if name not in frame.columns or not (empty := frame[name].null_count()):
        return named_as(roles, events, items, users), ""
    if needs_ratings(model):
        kept = frame.filter(pl.col(name).is_not_null())
        if not kept.height:
            raise DataError(
                f"{events}: no event has a rating, which this model learns",
                hint="a recipe that only retrieves needs none",
            )
        note = f"{empty:,} events without a rating were left out: this model learns ratings alone"
        return named_as(roles, events, items, users, kept), note
    aside = frame.rename({name: _ASIDE})
    bare = None if roles is None else msgspec.structs.replace(roles, rating="")
    data = named_as(bare, events, items, users, aside)
    ratings = pl.col(_ASIDE).cast(pl.Float64).alias("rating")
    return replace(data, interactions=data.interactions.with_columns(ratings).drop(_ASIDE)), ""


def _typed(given: pl.DataFrame, old: pl.DataFrame) -> pl.DataFrame:
    """The columns of the old rows, in their types."""
    for name in old.columns:
        if name not in given.columns:
            raise DataError(
                f"the new events have no column {name!r}, which training reads",
                hint=did_you_mean(name, given.columns),
            )
    typed = in_types(given.select(old.columns), old, "the new events")
    require_same_clock(typed, old, "the new events")
    return typed


def _unknown(new: pl.DataFrame, old: pl.DataFrame) -> pl.DataFrame:
    """The new rows that equal no old one."""
    names = [name for name, dtype in old.schema.items() if not dtype.is_nested()]
    return new.join(old.select(names), on=names, how="anti", nulls_equal=True, maintain_order="left")


def _said_of_rows(new: pl.DataFrame, fresh: pl.DataFrame, old: pl.DataFrame) -> list[str]:
    known = new.height - fresh.height
    said = [f"{fresh.height:,} new events after {old.height:,} known ones"]
    said += [f"{known:,} events were known already and left out"] if known else []
    if "timestamp" in fresh.columns and fresh.height:
        latest = old["timestamp"].max()
        late = int((fresh["timestamp"] < latest).sum())
        if late:
            said.append(f"{late:,} of them are earlier than the last known one, and take their place in time")
    return said


def _said_of_unrated(fresh: pl.DataFrame, model: Model) -> str:
    empty = fresh["rating"].null_count() if "rating" in fresh.columns else 0
    if not empty or not learns_ratings(model):
        return ""
    return f"{empty:,} of them have no rating: retrieval learns from them, ratings do not"


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
