"""Checked tables: columns get their roles and canonical types, and every bad value its row number.

Rows are counted from 0, as polars and pandas count them.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

import polars as pl

from shortlist.data.columns import column_types, to_columns
from shortlist.data.reading import Source, describe_source, read_table
from shortlist.data.times import DAY, FARTHEST_SECOND, PER_SECOND, parsed, scaled, unit_of_size
from shortlist.errors import DataError, did_you_mean

__all__ = ["column_types", "interactions", "items", "join_users", "read_table", "to_columns", "users"]

_DROP = "drop the rows without one"
_STRAY = (
    "repair or drop these rows (shortlist data validate shows them); or, where {name!r} holds no times:"
    ' shortlist init --timestamp none (timestamp="" in Python)'
)
_FORM = "leave time_unit out, or state the form of the texts, such as %d.%m.%Y"
_MIXED = "these look like milliseconds among seconds: bring all rows to one unit"


def interactions(
    source: Source,
    *,
    user: str = "user_id",
    item: str = "item_id",
    rating: str | None = None,
    timestamp: str | None = None,
    weight: str | None = None,
    event: str | None = None,
    event_weights: Mapping[str, float] | None = None,
    time_unit: str = "",
    delimiter: str = "",
    place: str = "",
    unrated: bool = False,
) -> pl.DataFrame:
    """A checked table of what people did: user_id, item_id (String), then rating (Float64), timestamp
    (Int64, seconds since 1970), weight (Float64) where there are, then all other columns as context.

    source: whatever `read_table` takes. The names say which column plays which role; the three optional
    roles are filled by columns of their own name when not given, and left out when there is none.
    An optional role given as "" is played by no column: one of its own name is left out.
    Integer ids become their decimal form; dates, times, ISO texts and numbers in milli-, micro- and
    nanoseconds (told by their size) become seconds. time_unit: "s", "ms", "us", "ns", "yyyymmdd" or a
    `strptime` pattern, where that is not to be found out. event: a column of types of events; a row's
    weight is its type's in `event_weights`, times its own, and rows of weight 0 are left out.
    Rows keep their order and repeated rows are kept (`describe` counts them). One user, one item or equal
    ratings are no error here.

    Raises DataError, with the row and the value, for a missing column, a wrong type, a missing id,
    a missing or non-finite rating or weight, a negative weight, an event type without weight, and a missing
    or fractional timestamp, or one in milliseconds among seconds. place: what messages call the source.
    unrated: rows may have no rating, and keep none (null).
    """
    frame = read_table(source, strings={user, item}, delimiter=delimiter)
    place = place or describe_source(source)
    roles = {"user_id": user, "item_id": item}
    for role, name in (("rating", rating), ("timestamp", timestamp), ("weight", weight)):
        if name == "":
            frame = frame.drop(role, strict=False)
        elif name is not None or role in frame.columns:
            roles[role] = name or role
    _require_roles(frame, roles, place)
    if event and event not in frame.columns:
        raise DataError(
            f"{place} has no column {event!r} (role event)", hint=did_you_mean(event, frame.columns)
        )
    checked = [_ids(frame[user], place), _ids(frame[item], place)]
    if "rating" in roles:
        checked.append(_ratings(frame[roles["rating"]], place, missing=unrated))
    if "weight" in roles:
        checked.append(_numbers(frame[roles["weight"]], place))
    if "timestamp" in roles:
        checked.append(_timestamps(frame[roles["timestamp"]], place, time_unit))
    if "weight" in roles:
        negative = frame[roles["weight"]].cast(pl.Float64, strict=False) < 0
        _refuse(frame, negative, roles["weight"], place, "a weight of at least 0")
    # checked under the source's own names, which messages tell
    frame = frame.with_columns(checked).rename({name: role for role, name in roles.items()})
    if event:
        frame = _by_event(frame, event, event_weights or {}, place)
    first = [r for r in ("user_id", "item_id", "rating", "timestamp", "weight") if r in frame.columns]
    return frame.select(*first, pl.exclude(first))


def users(source: Source, user: str = "user_id", *, delimiter: str = "", place: str = "") -> pl.DataFrame:
    """A checked table of users: user_id (String, each once), then all other columns.

    Raises DataError for a missing id column, a missing id, or an id given twice (with its row).
    """
    return _entities(source, "user_id", user, delimiter, place)


def items(source: Source, item: str = "item_id", *, delimiter: str = "", place: str = "") -> pl.DataFrame:
    """A checked table of items, the catalogue in its row order: item_id (String, each once), then all
    other columns. Raises DataError as `users` does."""
    return _entities(source, "item_id", item, delimiter, place)


def join_users(interactions: pl.DataFrame, users: pl.DataFrame) -> pl.DataFrame:
    """The interactions with their user's columns added; row order kept, null where the user is not in
    the table. Raises DataError when both tables have a column of one name."""
    both = sorted((set(interactions.columns) & set(users.columns)) - {"user_id"})
    if both:
        raise DataError(
            f"the interactions and the users both have {', '.join(map(repr, both))}",
            hint="rename the column in one of the tables",
        )
    return interactions.join(users, on="user_id", how="left", maintain_order="left")


def split_lists(frame: pl.DataFrame, lists: Mapping[str, str]) -> pl.DataFrame:
    """The texts of some columns as lists, by the sign between their parts; empty parts are left out."""
    found = [(name, sign) for name, sign in lists.items() if frame.schema.get(name) == pl.String]
    parts = {name: pl.col(name).str.split(sign).list.eval(_stripped()) for name, sign in found}
    return frame.with_columns(**parts)


def _stripped() -> pl.Expr:
    texts = pl.element().str.strip_chars()
    return texts.filter(texts != "")


def _entities(source: Source, role: str, name: str, delimiter: str, place: str) -> pl.DataFrame:
    place = place or describe_source(source)
    frame = read_table(source, strings={name}, delimiter=delimiter)
    _require_roles(frame, {role: name}, place)
    frame = frame.with_columns(_ids(frame[name], place))
    twice = ~frame[name].is_first_distinct()
    _refuse(frame, twice, name, place, "each id once", hint="keep one row an id")
    return frame.rename({name: role}).select(role, pl.exclude(role))


def _require_roles(frame: pl.DataFrame, roles: dict[str, str], place: str) -> None:
    for role, name in roles.items():
        if name not in frame.columns:
            found = "; shortlist init finds out which columns are what" if name == role else ""
            raise DataError(
                f"{place} has no column {name!r} (role {role})",
                hint=did_you_mean(name, frame.columns) + found,
            )
        if name != role and role in frame.columns and role not in roles.values():
            raise DataError(
                f"{place}: {name!r} is to be {role}, but a column {role!r} exists too",
                hint="drop or rename one of them",
            )
    if len(set(roles.values())) < len(roles):
        raise DataError(f"{place}: one column cannot play two roles: {roles}")


def _refuse(
    frame: pl.DataFrame, bad: pl.Series, name: str, place: str, wanted: str, *, hint: str = "", also: str = ""
) -> None:
    """Raise for the first row where `bad` is true, showing its value and how many more there are."""
    if not bad.any():
        return
    row = bad.arg_max() or 0
    shown = frame[name][row]
    more = int(bad.sum()) - 1
    raise DataError(
        f"{place}: column {name!r}, row {row}: expected {wanted}, got {shown!r}"
        + (f" (and {more} more such rows)" if more else "")
        + also,
        hint=hint,
    )


def _wrong_type(column: pl.Series, place: str, wanted: str, hint: str = "") -> DataError:
    found = f"{column[0]!r} ({column.dtype})"
    return DataError(f"{place}: column {column.name!r}, row 0: expected {wanted}, got {found}", hint=hint)


def _ids(column: pl.Series, place: str) -> pl.Series:
    frame, name = column.to_frame(), column.name
    if column.dtype.is_float():
        _refuse(frame, ~column.is_finite().fill_null(False), name, place, "an id", hint=_DROP)
    if not (column.dtype.is_integer() or column.dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null)):
        raise _wrong_type(column, place, "a string or an integer", "convert the ids first")
    ids = column.cast(pl.String)
    _refuse(frame, ids.is_null() | (ids == ""), name, place, "an id", hint=_DROP)
    return ids


def _ratings(column: pl.Series, place: str, *, missing: bool) -> pl.Series:
    hint = ""
    if column.null_count():
        hint = f"leave these rows out (Polars: table.drop_nulls({column.name!r}); of a server's events:"
        hint += (
            " shortlist events export --rated), or read no ratings: shortlist init --rating none; shortlist"
        )
        hint += " data validate tells of all that is wrong"
    return _numbers(column, place, missing=missing, hint=hint)


def _numbers(column: pl.Series, place: str, *, missing: bool = False, hint: str = "") -> pl.Series:
    frame, name = column.to_frame(), column.name
    if not (column.dtype.is_numeric() or column.dtype in (pl.String, pl.Boolean, pl.Null)):
        raise _wrong_type(column, place, "a number")
    numbers = column.cast(pl.Float64, strict=False)
    bad = numbers.is_null() | ~numbers.is_finite().fill_null(False)
    if missing:
        bad &= column.is_not_null()
    commas = column.dtype == pl.String and column.filter(bad).str.contains(r"^\s*\d+,\d+\s*$").any()
    hint = "write decimal points, not commas" if commas else hint or "drop or repair these rows"
    _refuse(frame, bad, name, place, "a finite number", hint=hint)
    return numbers


def _timestamps(column: pl.Series, place: str, unit: str) -> pl.Series:
    frame, name = column.to_frame(), column.name
    if column.dtype == pl.String:
        column = parsed(column, unit)
        lost, rows = column.null_count(), len(column)
        also, hint = "", _FORM if unit in (*PER_SECOND, DAY) else ""
        if lost < rows:
            also = f"; it looks like times, but {lost:,} of {rows:,} rows cannot be read as such"
            hint = _STRAY.format(name=name)
        _refuse(frame, column.is_null(), name, place, _wanted_time(unit), hint=hint, also=also)
    if column.dtype.is_float():
        whole = column.is_finite() & ((column == column.floor()) | (unit in PER_SECOND))
        bad = ~whole.fill_null(False)
        _refuse(
            frame, bad, name, place, "whole seconds since 1970", hint="round to seconds, drop missing times"
        )
    elif not (column.dtype.is_integer() or column.dtype in (pl.Datetime, pl.Date, pl.Null)):
        raise _wrong_type(column, place, "a time")
    _refuse(frame, column.is_null(), name, place, "a time", hint=_DROP)
    if column.dtype.is_numeric() and unit not in (*PER_SECOND, DAY):
        unit = unit_of_size(column)
    times = scaled(column, unit)
    _refuse(frame, times.is_null(), name, place, "a day as YYYYMMDD")
    far = times.abs() > FARTHEST_SECOND
    _refuse(frame, far, name, place, "seconds since 1970", hint=_MIXED)
    return times


def _wanted_time(unit: str) -> str:
    if unit in (*PER_SECOND, DAY):
        return f"a time as a number ({unit})"
    return f"a time of the form {unit}" if "%" in unit else "a time (seconds since 1970, or ISO 8601)"


def _by_event(frame: pl.DataFrame, event: str, weights: Mapping[str, float], place: str) -> pl.DataFrame:
    """The rows with the weight of their event's type (1 where they have none), multiplied with that of their
    own where they have one; those of weight 0 are left out, and so is the column of types."""
    wrong = [kind for kind, weight in weights.items() if not 0 <= weight < inf]
    if wrong:
        raise DataError(f"event_weights: {wrong[0]!r} must count at least 0, got {weights[wrong[0]]!r}")
    weights = {str(kind): float(weight) for kind, weight in weights.items()}
    types = frame[event].cast(pl.String)
    known = types.is_in(list(weights)) | types.is_null()
    told = f"an event type with a weight ({', '.join(sorted(weights))})"
    kind = types[(~known).arg_max() or 0]
    hint = f"give it one, 0 to leave its rows out: event_weights = {{ {kind} = 1 }}, or --set"
    hint += f" data.event_weights.{kind}=1"
    _refuse(frame, ~known, event, place, told, hint=hint)
    amounts = types.replace_strict(weights, default=1.0, return_dtype=pl.Float64).alias("weight")
    if "weight" in frame.columns:
        amounts = amounts * frame["weight"]
    frame = frame.with_columns(amounts.alias("weight")).drop(event).filter(amounts > 0)
    if not frame.height:
        raise DataError(f"{place}: every row has the weight 0", hint="give a type of events a weight above 0")
    return frame
