"""New events beside those a model was trained on: checked, told apart from known ones, in one table."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import polars as pl

from shortlist.api.keeping import Start, canonical, columns_read
from shortlist.api.sources import read_tables
from shortlist.data import tables
from shortlist.data.columns import column_types
from shortlist.data.dataset import Dataset, covering
from shortlist.data.reading import Source
from shortlist.data.splits import Split
from shortlist.errors import DataError, did_you_mean
from shortlist.specs.recipe import DataSource

LEAKS = "unknown: its rows were chosen by whoever gave them"
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

    Raises DataError for events that lack a column the old have, or hold another type in it.
    """
    split = events if isinstance(events, Split) else None
    if split is not None:
        given, users, items = split.train, split.users, split.items
    elif isinstance(events, Dataset):
        given, users, items = events.interactions, events.users, events.items
    else:
        given = tables.interactions(events)
    more_users = None if users is None else canonical(tables.users(users))
    more_items = None if items is None else canonical(tables.items(items))
    wanted = columns_read(start.model, start.rows.columns)
    extra = [name for name in given.columns if name not in wanted]
    new = _typed(given, start.rows.select(wanted))
    fresh = _unknown(new, start.rows.select(wanted))
    known_users, known_items = start.users["user_id"], start.items["item_id"]
    told_users, told_items = (
        _merged(start.users, more_users, "user_id"),
        _merged(start.items, more_items, "item_id"),
    )
    people, things = covering(told_users, fresh, "user_id"), covering(told_items, fresh, "item_id")
    rows = pl.concat([start.rows.select(wanted), fresh])
    notes = [
        *_said_of_rows(new, fresh, start.rows),
        _said_of_new("users", people["user_id"], known_users),
        _said_of_new("items", things["item_id"], known_items),
        _said_of_bare("users", told_users, people),
        _said_of_bare("items", told_items, things),
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


def named_as(roles: DataSource | None, events: Path, items: Path | None, users: Path | None) -> Dataset:
    """Files read as a recipe's data is: the same names of columns, units of time and types of events."""
    own = DataSource(interactions=str(events)) if roles is None or roles.dataset else roles
    files = {
        "interactions": str(events),
        "items": "" if items is None else str(items),
        "users": "" if users is None else str(users),
    }
    return read_tables(msgspec.structs.replace(own, **files))


def _typed(given: pl.DataFrame, old: pl.DataFrame) -> pl.DataFrame:
    """The columns of the old rows, in their types."""
    kinds, now = column_types(old), column_types(given)
    for name in old.columns:
        if name not in now:
            raise DataError(
                f"the new events have no column {name!r}, which training reads",
                hint=did_you_mean(name, given.columns),
            )
        if now[name] != kinds[name] and (now[name], kinds[name]) != ("int", "float"):
            raise DataError(
                f"column {name!r} of the new events holds {now[name]}, training had {kinds[name]}",
                hint="give it the type it had",
            )
    return given.select(pl.col(name).cast(dtype) for name, dtype in old.schema.items())


def _unknown(new: pl.DataFrame, old: pl.DataFrame) -> pl.DataFrame:
    """The new rows that equal no old one."""
    names = [name for name, dtype in old.schema.items() if not dtype.is_nested()]
    return new.join(old.select(names), on=names, how="anti", nulls_equal=True, maintain_order="left")


def _merged(old: pl.DataFrame, new: pl.DataFrame | None, key: str) -> pl.DataFrame:
    """The old table with the new one's rows: in place of the old where an id is known, else at the end. A row
    that says nothing of a known id changes nothing."""
    if new is None:
        return old
    others = [name for name in new.columns if name != key]
    silent = pl.all_horizontal(pl.col(name).is_null() for name in others) if others else pl.lit(True)
    new = new.filter(~(silent & pl.col(key).is_in(old[key].implode())))
    both = pl.concat([old, new.select(key, pl.exclude(key))], how="diagonal_relaxed")
    order = both.select(pl.col(key).unique(maintain_order=True))
    latest = both.unique(key, keep="last")
    return order.join(latest, on=key, how="left", maintain_order="left")


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


def _said_of_new(what: str, ids: pl.Series, known: pl.Series) -> str:
    count = len(ids) - len(known)
    return f"{count:,} new {what if count != 1 else what[:-1]}" if count else ""


def _said_of_bare(what: str, told: pl.DataFrame, whole: pl.DataFrame) -> str:
    """Of ids that only the events know, where others have columns."""
    count, columns = whole.height - told.height, told.columns[1:]
    if not count or not columns:
        return ""
    named = what if count != 1 else what[:-1]
    missing = ", ".join(columns[:MOST_NAMED])
    return f"of {count:,} new {named} the id alone is known: no table gives {missing}"
