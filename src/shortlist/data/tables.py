"""Checked tables: columns get their roles and canonical types, and every bad value its row number.

Rows are counted from 0, as polars and pandas count them.
"""

from __future__ import annotations

import polars as pl

from shortlist.data.columns import column_types, seconds, to_columns
from shortlist.data.reading import Source, describe_source, read_table
from shortlist.errors import DataError, did_you_mean

__all__ = ["column_types", "interactions", "items", "join_users", "read_table", "to_columns", "users"]

_DROP = "drop the rows without one"
_FARTHEST_SECOND = 100_000_000_000  # The year 5138; milliseconds pass it from 1973 on.


def interactions(
    source: Source,
    *,
    user: str = "user_id",
    item: str = "item_id",
    rating: str | None = None,
    timestamp: str | None = None,
    weight: str | None = None,
) -> pl.DataFrame:
    """A checked table of what people did: user_id, item_id (String), then rating (Float64), timestamp
    (Int64, seconds since 1970), weight (Float64) where there are, then all other columns as context.

    source: whatever `read_table` takes. The names say which column plays which role; the three optional
    roles are filled by columns of their own name when not given, and left out when there is none.
    Integer ids become their decimal form; dates, times and ISO texts become seconds. Rows keep their
    order and repeated rows are kept (`describe` counts them). One user, one item or equal ratings are
    no error here.

    Raises DataError, with the row and the value, for a missing column, a wrong type, a missing id,
    a missing or non-finite rating or weight, a negative weight, and a missing, fractional or
    millisecond timestamp.
    """
    frame = read_table(source, strings={user, item})
    place = describe_source(source)
    roles = {"user_id": user, "item_id": item}
    for role, name in (("rating", rating), ("timestamp", timestamp), ("weight", weight)):
        if name is not None or role in frame.columns:
            roles[role] = name or role
    frame = _with_roles(frame, roles, place)
    checked = [_ids(frame["user_id"], place), _ids(frame["item_id"], place)]
    checked += [_numbers(frame[role], place) for role in ("rating", "weight") if role in roles]
    if "timestamp" in roles:
        checked.append(_timestamps(frame["timestamp"], place))
    if "weight" in roles:
        _refuse(frame, frame["weight"] < 0, "weight", place, "a weight of at least 0")
    frame = frame.with_columns(checked)
    first = [r for r in ("user_id", "item_id", "rating", "timestamp", "weight") if r in roles]
    return frame.select(*first, pl.exclude(first))


def users(source: Source, *, user: str = "user_id") -> pl.DataFrame:
    """A checked table of users: user_id (String, each once), then all other columns.

    Raises DataError for a missing id column, a missing id, or an id given twice (with its row).
    """
    return _entities(source, "user_id", user)


def items(source: Source, *, item: str = "item_id") -> pl.DataFrame:
    """A checked table of items, the catalogue in its row order: item_id (String, each once), then all
    other columns. Raises DataError as `users` does."""
    return _entities(source, "item_id", item)


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


def _entities(source: Source, role: str, name: str) -> pl.DataFrame:
    place = describe_source(source)
    frame = _with_roles(read_table(source, strings={name}), {role: name}, place)
    frame = frame.with_columns(_ids(frame[role], place))
    twice = ~frame[role].is_first_distinct()
    _refuse(frame, twice, role, place, "each id once", hint="keep one row an id")
    return frame.select(role, pl.exclude(role))


def _with_roles(frame: pl.DataFrame, roles: dict[str, str], place: str) -> pl.DataFrame:
    for role, name in roles.items():
        if name not in frame.columns:
            raise DataError(
                f"{place} has no column {name!r} (role {role})", hint=did_you_mean(name, frame.columns)
            )
        if name != role and role in frame.columns and role not in roles.values():
            raise DataError(
                f"{place}: {name!r} is to be {role}, but a column {role!r} exists too",
                hint="drop or rename one of them",
            )
    if len(set(roles.values())) < len(roles):
        raise DataError(f"{place}: one column cannot play two roles: {roles}")
    return frame.rename({name: role for role, name in roles.items()})


def _refuse(
    frame: pl.DataFrame, bad: pl.Series, role: str, place: str, wanted: str, *, hint: str = ""
) -> None:
    """Raise for the first row where `bad` is true, showing its value and how many more there are."""
    if not bad.any():
        return
    row = bad.arg_max() or 0
    shown = frame[role][row]
    more = int(bad.sum()) - 1
    raise DataError(
        f"{place}: column {role!r}, row {row}: expected {wanted}, got {shown!r}"
        + (f" (and {more} more such rows)" if more else ""),
        hint=hint,
    )


def _wrong_type(column: pl.Series, place: str, wanted: str, hint: str = "") -> DataError:
    found = f"{column[0]!r} ({column.dtype})"
    return DataError(f"{place}: column {column.name!r}, row 0: expected {wanted}, got {found}", hint=hint)


def _ids(column: pl.Series, place: str) -> pl.Series:
    frame, role = column.to_frame(), column.name
    if column.dtype.is_float():
        _refuse(frame, ~column.is_finite().fill_null(False), role, place, "an id", hint=_DROP)
    if not (column.dtype.is_integer() or column.dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null)):
        raise _wrong_type(column, place, "a string or an integer", "convert the ids first")
    ids = column.cast(pl.String)
    _refuse(frame, ids.is_null() | (ids == ""), role, place, "an id", hint=_DROP)
    return ids


def _numbers(column: pl.Series, place: str) -> pl.Series:
    frame, role = column.to_frame(), column.name
    if not (column.dtype.is_numeric() or column.dtype in (pl.String, pl.Boolean, pl.Null)):
        raise _wrong_type(column, place, "a number")
    numbers = column.cast(pl.Float64, strict=False)
    bad = numbers.is_null() | ~numbers.is_finite().fill_null(False)
    _refuse(frame, bad, role, place, "a finite number", hint="drop or repair these rows")
    return numbers


def _timestamps(column: pl.Series, place: str) -> pl.Series:
    frame, role = column.to_frame(), column.name
    if column.dtype == pl.String:
        column = _parsed_times(column)
        _refuse(frame, column.is_null(), role, place, "a time (seconds since 1970, or ISO 8601)")
    if column.dtype.is_float():
        whole = column.is_finite() & (column == column.floor())
        bad = ~whole.fill_null(False)
        _refuse(
            frame, bad, role, place, "whole seconds since 1970", hint="round to seconds, drop missing times"
        )
    elif not (column.dtype.is_integer() or column.dtype in (pl.Datetime, pl.Date, pl.Null)):
        raise _wrong_type(column, place, "a time")
    _refuse(frame, column.is_null(), role, place, "a time", hint=_DROP)
    times = seconds(column)
    far = times.abs() > _FARTHEST_SECOND
    _refuse(
        frame,
        far,
        role,
        place,
        "seconds since 1970",
        hint="these look like milliseconds: divide by 1000 first",
    )
    return times


def _parsed_times(column: pl.Series) -> pl.Series:
    """Texts as whole numbers, else as ISO 8601 dates and times (UTC where no zone is given)."""
    numbers = column.cast(pl.Int64, strict=False)
    if numbers.null_count() == column.null_count():
        return numbers
    texts = column.str.strip_chars().str.replace("T", " ").str.replace("Z$", "+00:00")
    zoned = texts.str.to_datetime(
        "%Y-%m-%d %H:%M:%S%.f%:z", strict=False, time_unit="us"
    ).dt.replace_time_zone(None)
    plain = texts.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", strict=False, time_unit="us")
    dates = texts.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us"))
    minutes = texts.str.to_datetime("%Y-%m-%d %H:%M", strict=False, time_unit="us")
    found = pl.select(pl.coalesce(zoned, plain, dates, minutes).alias(column.name))
    # mostly whole numbers with a stray text: the text is what is wrong, not the numbers
    return found[column.name] if found[column.name].null_count() < numbers.null_count() else numbers
