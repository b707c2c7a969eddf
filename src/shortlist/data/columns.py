"""polars DataFrame -> the canonical NumPy columns every later part works on."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import polars as pl

from shortlist._typing import MISSING_INT, Array, Columns
from shortlist.data.coded import Coded, Column
from shortlist.data.coding import coded
from shortlist.errors import DataError, did_you_mean


def column_types(frame: pl.DataFrame) -> dict[str, str]:
    """Each column's canonical kind: "string", "int", "float", "strings" or "vector".

    Booleans, dates and times are "int" (seconds since 1970); lists of strings or integers "strings",
    lists of floats "vector". Raises DataError for a type without such a form.
    """
    return {name: _kind(name, dtype) for name, dtype in frame.schema.items()}


def readable(frame: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, str]]:
    """The columns that have a canonical kind, and the types of those left out for having none.

    The fields of a struct become columns `struct.field`; durations and times of day whole seconds.
    """
    while structs := [name for name, dtype in frame.schema.items() if isinstance(dtype, pl.Struct)]:
        for name in structs:
            fields = frame[name].struct.unnest()
            frame = frame.drop(name).with_columns(**{f"{name}.{field.name}": field for field in fields})
    frame = frame.with_columns(
        [pl.col(n).dt.total_seconds() for n, dtype in frame.schema.items() if dtype == pl.Duration]
        + [pl.col(n).cast(pl.Int64) // 10**9 for n, dtype in frame.schema.items() if dtype == pl.Time]
    )
    dropped = {}
    for name, dtype in frame.schema.items():
        try:
            _kind(name, dtype)
        except DataError:
            dropped[name] = str(dtype)
    return frame.drop(list(dropped)), dropped


def to_columns(frame: pl.DataFrame, names: Iterable[str] | None = None) -> Columns:
    """The columns `names` (all by default) of `frame` as NumPy arrays of n rows.

    string: object [n], null -> ""; int: int64 [n], null -> the smallest int64; float: float64 [n],
    null -> NaN; strings: object [n, L] padded with "" (L the longest list, at least 1; nulls inside a
    list are dropped); vector: float32 [n, size], null or [] -> a row of NaN (size 0 when every row is
    so). Raises DataError for an unknown name, a type without such a form, or vectors of unequal size
    (with the row, counted from 0).
    """
    return {column.name: _convert(column) for column in _chosen(frame, names)}


def to_coded_columns(frame: pl.DataFrame, names: Iterable[str] | None = None) -> dict[str, Column]:
    """As `to_columns`, with strings in coded form: what large tables are fitted and encoded from."""
    return {
        column.name: _coded(column) if _kind(column.name, column.dtype) in _TEXTS else _convert(column)
        for column in _chosen(frame, names)
    }


_TEXTS = ("string", "strings")


def _chosen(frame: pl.DataFrame, names: Iterable[str] | None) -> list[pl.Series]:
    wanted = frame.columns if names is None else list(names)
    for name in wanted:
        if name not in frame.columns:
            raise DataError(f"no column {name!r}", hint=did_you_mean(name, frame.columns))
    return [frame[name] for name in wanted]


def _kind(name: str, dtype: pl.DataType) -> str:
    if dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        return "string"
    if dtype.is_integer() or dtype in (pl.Boolean, pl.Date, pl.Datetime):
        return "int"
    if dtype.is_float() or dtype.is_decimal():
        return "float"
    inner = dtype.inner if isinstance(dtype, pl.List | pl.Array) else None
    if isinstance(inner, pl.DataType):
        if inner.is_float():
            return "vector"
        if inner.is_integer() or inner in (pl.String, pl.Categorical, pl.Enum, pl.Null):
            return "strings"
    raise DataError(
        f"column {name!r} has the type {dtype}, which no feature can read",
        hint="use strings, numbers, booleans, dates, or lists of strings or floats; or drop the column",
    )


def _convert(column: pl.Series) -> Array:
    kind = _kind(column.name, column.dtype)
    if kind == "string":
        return column.cast(pl.String).fill_null("").to_numpy().astype(object)
    if kind == "int":
        return seconds(column).fill_null(MISSING_INT).to_numpy()
    if kind == "float":
        return column.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    return _strings(column) if kind == "strings" else _vector(column)


def seconds(column: pl.Series) -> pl.Series:
    """Integers, booleans, dates and times as Int64; dates and times become seconds since 1970 (UTC,
    rounded down). Raises DataError for unsigned values beyond int64."""
    if column.dtype == pl.Date:
        return column.cast(pl.Int64) * 86_400
    if column.dtype == pl.Datetime:
        return column.dt.epoch("us") // 1_000_000
    try:
        return column.cast(pl.Int64)
    except pl.exceptions.InvalidOperationError as error:
        raise DataError(f"column {column.name!r} holds integers beyond 64 signed bits") from error


def _flattened(column: pl.Series) -> tuple[pl.Series, Array]:
    """The elements of all lists one after another, and the length [n] of each list (null: 0)."""
    if isinstance(column.dtype, pl.Array):
        column = column.arr.to_list()
    lengths = column.list.len().fill_null(0).to_numpy().astype(np.int64)
    return column.filter(pl.Series(lengths > 0)).explode(), lengths


def texts_of(column: pl.Series) -> tuple[pl.Series, Array]:
    """The texts of all lists one after another, nulls left out, and how many each row has: int64 [n]."""
    listed = column.arr.to_list() if isinstance(column.dtype, pl.Array) else column
    return _flattened(listed.cast(pl.List(pl.String)).list.drop_nulls())


def in_rows(elements: Array, lengths: Array, width: int, padding: object) -> Array:
    """Elements one after another -> [n, width], row i holding the next lengths[i] of them, then padding."""
    rows = np.repeat(np.arange(lengths.size), lengths)
    within = np.arange(rows.size) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    out = np.full((lengths.size, width), padding, dtype=elements.dtype)
    out[rows, within] = elements
    return out


def _strings(column: pl.Series) -> Array:
    elements, lengths = texts_of(column)
    return in_rows(elements.to_numpy().astype(object), lengths, max(1, int(lengths.max(initial=0))), "")


def _coded(column: pl.Series) -> Coded:
    if _kind(column.name, column.dtype) == "string":
        return coded(column)
    elements, lengths = texts_of(column)
    flat = coded(elements)
    return Coded(in_rows(flat.codes, lengths, max(1, int(lengths.max(initial=0))), -1), flat.values)


def _vector(column: pl.Series) -> Array:
    elements, lengths = _flattened(column)
    given = lengths > 0
    size = column.dtype.size if isinstance(column.dtype, pl.Array) else int(lengths.max(initial=0))
    if (lengths[given] != size).any():
        at = int(np.flatnonzero(given & (lengths != size))[0])
        raise DataError(
            f"column {column.name!r}, row {at}: expected a vector of {size} numbers, got {lengths[at]}",
            hint="vectors of one column all have the same size; leave missing ones null",
        )
    out = np.full((lengths.size, size), np.nan, dtype=np.float32)
    out[given] = elements.cast(pl.Float32).to_numpy().reshape(int(given.sum()), size)
    return out
