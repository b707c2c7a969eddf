"""From a request to the columns both sides of a model read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from shortlist._typing import Array, Columns, Longs
from shortlist.data.coded import Column
from shortlist.errors import RequestError
from shortlist.features.columns import ColumnType
from shortlist.features.fitted import type_of
from shortlist.features.history import DERIVED, Events
from shortlist.features.log import Standing
from shortlist.features.requests import (
    Request,
    fill_missing,
    is_missing,
    missing_column,
    read_request,
    take_rows,
)
from shortlist.features.schema import Schema
from shortlist.pipeline.histories import TOLD, Told, checked, require_seconds
from shortlist.state.catalogue import Items
from shortlist.state.users import Users

Ids = Iterable[Any] | str | int
"""Item ids, or one; for all queries, or a list (or None) for each."""
Where = Sequence[str | None] | str
"""A predicate on the items' columns, or one (or None) for each query."""


class Readable(NamedTuple):
    """What requests may hold: columns and their types, sizes of vectors, and what tells of a past."""

    types: dict[str, ColumnType]
    sizes: Mapping[str, int]
    told: Mapping[str, ColumnType]
    scale: tuple[float, float] | None
    items: bool

    @classmethod
    def of(cls, schema: Schema, users: Users, items: Items | None = None) -> Readable:
        """Besides what the model reads, every stored column and timestamp; with `items`, item_id and item
        columns too."""
        stored = {**(items.columns if items is not None else {}), **users.columns}
        types: dict[str, ColumnType] = {name: type_of(column) for name, column in stored.items()}
        types["timestamp"] = "int"
        if items is not None:
            types.update({name: kind for name, kind in schema.candidate.items() if name not in DERIVED})
        types.update({name: kind for name, kind in schema.query.items() if name not in DERIVED})
        types["user_id"] = "string"
        if items is not None:
            types["item_id"] = "string"
        told = TOLD if users.past is not None else {}
        scale = None if users.past is None else users.past.scale
        return cls(types | told, schema.sizes, told, scale, items is not None)


def read_queries(request: Request, readable: Readable) -> Columns:
    """A request's columns, user_id always among them.

    A request that tells when its history happened and names no timestamp stands a second after the last event
    told. RequestError for malformed requests and, of items, for a row without item_id.
    """
    may = TOLD | readable.types  # a history is refused by what it is, not as a column nobody knows
    columns = read_request(request, may, sizes=readable.sizes, whole=readable.told)
    if told := [name for name in columns if name not in readable.types]:
        raise RequestError(
            f"this model reads no past, so {told[0]!r} in the request says nothing to it",
            hint="ask without it; a model with a history or bag feature reads what a user did",
            column=told[0],
        )
    require_seconds("timestamp", columns)
    if readable.told:
        columns = checked(columns, readable.scale)
    if readable.items:
        _require_items(columns)
    if "user_id" not in columns:
        columns["user_id"] = missing_column("string", len(next(iter(columns.values()))))
    return columns


def query_columns(
    schema: Schema,
    users: Users,
    given: Columns,
    indices: Longs,
    events: Events | None = None,
    places: Longs | None = None,
    told: Told | None = None,
    times: Longs | None = None,
) -> dict[str, Column]:
    """The query side's columns: as given, else as stored of each user, else the default, else missing.

    What is made of past events is made of `events` as of each row's time; places: int64 [n], which event of
    the log a row is (-1: none), so that it does not see itself. times: those of `request_times`, where they
    are known.
    """
    out: dict[str, Column] = {}
    for name, kind in schema.query.items():
        if name in DERIVED:
            continue
        column = _asked(name, kind, schema.sizes.get(name, 1), users, given, indices)
        if name == "timestamp" and users.as_of is not None and (gone := is_missing(column)).any():
            column = np.where(gone, np.array(users.as_of, column.dtype), column)
        out[name] = column
    lengths = {name: schema.sizes.get(name, 1) for name in schema.query if name in DERIVED}
    if not lengths:
        return out
    if events is None:
        raise RequestError(
            f"this recommender holds no past events, but its model reads {next(iter(lengths))!r}"
        )
    times = request_times(users, given, indices) if times is None else times
    if told is not None and told.rows.all():
        return out | told.over(events).columns(lengths, told.standing(times))
    stored = events.columns(lengths, Standing.of(indices, times, places))
    return out | (stored if told is None else told.columns(events, lengths, times, stored))


def _asked(name: str, kind: ColumnType, size: int, users: Users, given: Columns, indices: Longs) -> Array:
    """A column as given, else as stored of each user, else missing."""
    stored, column = users.columns.get(name), given.get(name)
    if column is None and stored is not None and type_of(stored) == kind:
        return take_rows(stored, indices)
    if column is None:
        column = missing_column(kind, len(indices), size)
    return column if stored is None else fill_missing(column, take_rows(stored, indices))


def request_times(users: Users, given: Columns, indices: Longs) -> Longs:
    """The time of each request, int64 [n]: as given, else as stored of its user, else the default."""
    times: Array = given.get("timestamp", missing_column("int", len(indices)))
    if "timestamp" in users.columns:
        times = fill_missing(times, take_rows(users.columns["timestamp"], indices))
    latest = np.iinfo(np.int64).max // 2 if users.as_of is None else users.as_of
    return fill_missing(times, np.full(len(indices), latest, np.int64))


def candidate_columns(
    items: Items,
    schema: Schema,
    given: Columns,
    positions: Longs,
    raters: Events | None = None,
    at: Standing | None = None,
) -> dict[str, Column]:
    """The candidate side's columns: as given, else as stored of the item at each position, else missing.

    raters: the events of items, of which lists are made, as of where rows stand (after the last event).
    """
    out: dict[str, Column] = {}
    lengths = {name: schema.sizes.get(name, 1) for name in schema.candidate if name in DERIVED}
    if lengths and raters is not None:
        latest = np.full(len(positions), np.iinfo(np.int64).max // 2)
        out |= raters.columns(lengths, Standing.of(positions, latest) if at is None else at)
    for name, kind in schema.candidate.items():
        if name in out:
            continue
        column = given.get(name, missing_column(kind, len(positions), schema.sizes.get(name, 1)))
        stored = items.ids if name == "item_id" else items.columns.get(name)
        out[name] = column if stored is None else fill_missing(column, take_rows(stored, positions))
    return out


def require_k(k: object) -> None:
    """RequestError where k is not a count."""
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise RequestError(f"k must be a whole number of at least 1, got {k!r}", argument="k")


def is_list(value: object) -> bool:
    """Whether a value holds others: no text, and not one id."""
    return isinstance(value, Iterable) and not isinstance(value, str | bytes)


def id_list(name: str, ids: Any) -> Array:
    """Item ids, or one, as texts: object [n]. RequestError, saying `name`, where one is no id."""
    listed = list(ids) if is_list(ids) else [ids]
    out = np.empty(len(listed), object)
    for row, value in enumerate(listed):
        if isinstance(value, bool) or not isinstance(value, str | int | np.integer):
            raise RequestError(f"{name}[{row}]: expected an item id, got {value!r} ({type(value).__name__})")
        out[row] = str(value)
    return out


def _require_items(columns: Columns) -> None:
    gone = is_missing(columns["item_id"]) if "item_id" in columns else np.ones(1, np.bool_)
    if gone.any():
        raise RequestError(f"row {int(np.argmax(gone))} of the request has no item_id")
