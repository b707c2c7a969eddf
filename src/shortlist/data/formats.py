"""Delimited text of any dialect (`layouts` finds out which) -> polars DataFrame."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection
from pathlib import Path

import polars as pl

from shortlist.data.layouts import NO_NUMBER, Layout, family, layout_of
from shortlist.data.torn import too_long
from shortlist.errors import DataError

_OUTSIDE_QUOTES = rb'"(?:[^"]|"")*"|(%s)'
_UNIT = "\x1f"
"""What a delimiter of several characters becomes: polars takes single bytes only."""
_SAMPLE = 65_536
_COPY = re.compile(r"_duplicated_\d+$")
"""What polars adds to a name that a header has already."""


def read_delimited(
    data: bytes, path: Path, strings: Collection[str] = (), delimiter: str = ""
) -> pl.DataFrame:
    """The table in `data`, the (unpacked) content of the file `path`, whose name may tell its family.

    delimiter: "" looks for it. A column is int, else float, if every value reads as one and none has a
    leading zero ("02215" stays text), else string; those named in `strings` stay strings. Raises DataError
    for text that is not UTF-8 (MovieLens' own files may be Latin-1), holds no line or two columns of one
    name, and for lines of more fields than the first, with their numbers; PolarsError for what else is wrong.
    """
    name = path.name.removesuffix(".gz")
    data = _utf8(data, path, latin=family(name) is not None)
    layout = layout_of(data[:_SAMPLE].decode(errors="ignore"), name, delimiter)
    try:
        frame = _parsed(data, layout)
    except pl.exceptions.ComputeError as error:
        raise _torn(data, layout, path) or error from None
    if layout.atomic:
        return _atomic(frame, layout)
    frame = _without_row_numbers(frame)
    frame = frame.select(pl.col(c) if c in strings else inferred(frame[c]) for c in frame.columns)
    return _with_genres(frame) if re.fullmatch(r"u\.item", name) else frame


def inferred(column: pl.Series) -> pl.Series:
    """Integers, else floats, else the strings they are. Decided by every value, not by the first ones."""
    if column.null_count() == len(column) or column.str.contains(NO_NUMBER).any():
        return column
    for dtype in (pl.Int64, pl.Float64):
        cast = column.cast(dtype, strict=False)
        if cast.null_count() == column.null_count():
            return cast
    return column


def _parsed(data: bytes, layout: Layout) -> pl.DataFrame:
    separator = layout.delimiter
    if len(separator.encode()) > 1:
        data = _with_one_byte(data, separator)
        separator = _UNIT
    try:
        frame = pl.read_csv(
            data,
            separator=separator,
            infer_schema=False,
            has_header=not layout.names or bool(layout.atomic),
            quote_char='"' if layout.quoted else None,
        )
    except pl.exceptions.NoDataError:
        raise DataError("the text is empty", hint="the table needs a header and at least one row") from None
    if not layout.names and any(_COPY.search(name) for name in frame.columns):
        _require_different(data, separator, quoted=layout.quoted)
    names = layout.names or tuple(name.strip().replace('""', '"') for name in frame.columns)
    return (
        frame.rename(dict(zip(frame.columns, names, strict=True))) if len(set(names)) == len(names) else frame
    )


def _torn(data: bytes, layout: Layout, path: Path) -> DataError | None:
    """What is said of lines with too many fields, where there are any."""
    said = too_long(data.decode(), layout.delimiter, quoted=layout.quoted)
    if not said:
        return None
    return DataError(
        f"cannot read {path} as {path.name.removesuffix('.gz').rpartition('.')[2]}: {said}",
        hint="repair these lines (quotes around fields that hold the delimiter?) or leave them out;"
        f" shortlist data validate {shlex.quote(str(path))} shows the first of them",
    )


def _require_different(data: bytes, separator: str, *, quoted: bool) -> None:
    """DataError for two columns of one name, the second of which would be read under a name nobody gave."""
    quote = '"' if quoted else None
    first = pl.read_csv(
        data, separator=separator, has_header=False, n_rows=1, infer_schema=False, quote_char=quote
    )
    places: dict[str, int] = {}
    for place, name in enumerate(first.row(0), 1):
        if name and places.setdefault(name, place) != place:
            raise DataError(
                f"the header has {name!r} twice: columns {places[name]} and {place}",
                hint="rename one of them in the file, or leave it out",
            )


def _with_one_byte(data: bytes, delimiter: str) -> bytes:
    if _UNIT.encode() in data:
        raise DataError(
            f"the delimiter {delimiter!r} cannot be replaced: the text holds the byte 0x1f",
            hint="write the table with a delimiter of one character",
        )
    if b'"' not in data:
        return data.replace(delimiter.encode(), _UNIT.encode())
    pattern = re.compile(_OUTSIDE_QUOTES % re.escape(delimiter.encode()))
    return pattern.sub(lambda found: _UNIT.encode() if found[1] else found[0], data)


def _without_row_numbers(frame: pl.DataFrame) -> pl.DataFrame:
    """Without a nameless first column that counts the rows: what pandas writes beside the data."""
    first = frame.columns[0]
    if frame.width < 2 or first not in ("", "Unnamed: 0"):
        return frame
    numbers = frame[first].cast(pl.Int64, strict=False)
    counts = pl.int_range(frame.height, eager=True)
    return frame.drop(first) if (numbers == counts).fill_null(False).all() else frame


def _atomic(frame: pl.DataFrame, layout: Layout) -> pl.DataFrame:
    """Columns as RecBole's header types them: texts, numbers, and lists of either with spaces between."""
    columns = []
    for name, kind in zip(layout.names, layout.atomic, strict=True):
        column = pl.col(name)
        if kind.endswith("_seq"):
            inner: pl.DataType = pl.Float64() if kind == "float_seq" else pl.String()
            column = column.str.strip_chars().str.split(" ").cast(pl.List(inner))
        elif kind == "float":
            numbers = frame[name].cast(pl.Float64, strict=False)
            wrong = numbers.is_null() & frame[name].is_not_null()
            if wrong.any():
                row = wrong.arg_max() or 0
                raise DataError(f"column {name!r}, row {row}: expected a float, got {frame[name][row]!r}")
            column = pl.lit(numbers)
        columns.append(column.alias(name))
    return frame.select(columns)


def _with_genres(frame: pl.DataFrame) -> pl.DataFrame:
    """MovieLens' u.item with its flags as one list of genres (the first flag says that none is known)."""
    from shortlist.data.movielens_files import GENRES_100K

    flags = frame.columns[6:]
    if len(flags) != len(GENRES_100K):
        return frame
    named = [pl.when(pl.col(f) == 1).then(pl.lit(g)) for f, g in zip(flags, GENRES_100K, strict=True)]
    return frame.select(*frame.columns[:5], genres=pl.concat_list(named).list.drop_nulls())


def _utf8(data: bytes, path: Path, *, latin: bool) -> bytes:
    """The text without byte order mark, checked; Latin-1 is rewritten where it is allowed."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        if latin:
            return data.decode("latin-1").encode()
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path} is not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start} (line {line})",
            hint=f"convert it first, for instance: iconv -f latin1 -t utf-8 {path.name}",
        ) from None
    return data
