"""Reading what the strict reader refuses: lines that do not fit, broken JSON, columns of several types."""

from __future__ import annotations

import csv
import gzip
import json
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from os import PathLike
from pathlib import Path
from typing import Any

import polars as pl

from shortlist.data.checks.finding import Example
from shortlist.data.layouts import DELIMITED, layout_of
from shortlist.data.reading import Source, read_table
from shortlist.data.torn import numbered_fields
from shortlist.errors import DataError

_LOST = "\N{REPLACEMENT CHARACTER}"
_LINES = (".jsonl", ".ndjson", ".json")
_PLAIN = {bool, int, float, str, date, datetime}
_SHOWN = 60


@dataclass(frozen=True)
class Raw:
    """A table as it is. torn: lines of the file that are no rows, or only in part. refused: why the strict
    reader does not read it; "" where it does."""

    frame: pl.DataFrame
    torn: tuple[Example, ...] = ()
    refused: str = ""


def read_raw(source: Source, strings: Collection[str] = ()) -> Raw:
    """The table in `source`, as `read_table` gives it; where that refuses, row by row, with the lines that
    could not be read beside it. Raises the DataError of `read_table` where nothing can be read."""
    try:
        return Raw(read_table(source, strings=strings))
    except DataError as error:
        found = _leniently(source)
        if found is None or not found.frame.height or not found.frame.width:
            raise error
        return replace(found, refused=str(error).split("\n")[0])


def _leniently(source: Source) -> Raw | None:
    if not isinstance(source, str | PathLike):
        columns = _columns_of(source)
        return None if columns is None else Raw(_frame(columns))
    path = Path(source)
    suffix = path.with_suffix("").suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()
    if not path.is_file() or suffix not in (*_LINES, *DELIMITED):
        return None
    data = path.read_bytes()
    try:
        data = gzip.decompress(data) if path.suffix.lower() == ".gz" else data
        if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
            return None
        text = data.decode("utf-8-sig", "replace")
        return _json_lines(text) if suffix in _LINES else _delimited(text, path.name.removesuffix(".gz"))
    except (OSError, EOFError, csv.Error, DataError):
        return None


def _json_lines(text: str) -> Raw:
    records: list[Mapping[str, Any]] = []
    torn = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            found = json.loads(line) if line.strip() else None
        except (ValueError, RecursionError):
            found = line
        if isinstance(found, Mapping):
            records.append(found)
        if _LOST in line or not (found is None or isinstance(found, Mapping)):
            torn.append(_torn(number, line))
    names = dict.fromkeys(str(name) for record in records for name in record)
    return Raw(_frame({name: [record.get(name) for record in records] for name in names}), tuple(torn))


def _delimited(text: str, name: str) -> Raw | None:
    layout = layout_of(text[:65_536], name)
    reader = numbered_fields(text, layout.delimiter, quoted=layout.quoted)
    header = list(layout.names)
    if not header or layout.atomic:
        written = [field.strip() for field in next(reader, (1, []))[1]]
        header = header or written
    if not header or len(set(header)) < len(header):
        return None
    rows, torn = [], []
    for number, fields in reader:
        if not fields:
            continue
        if len(fields) != len(header) or any(_LOST in field for field in fields):
            torn.append(_torn(number, layout.delimiter.join(fields)))
        rows.append([*fields[: len(header)], *[""] * (len(header) - len(fields))])
    columns = {name: [row[at] or None for row in rows] for at, name in enumerate(header)}
    return Raw(pl.DataFrame(columns, schema=dict.fromkeys(header, pl.String)), tuple(torn))


def _torn(number: int, line: str) -> Example:
    return Example(f"line {number}: {line[:_SHOWN]!r}{'...' if len(line) > _SHOWN else ''}")


def _columns_of(source: Any) -> dict[str, list[Any]] | None:
    """The columns of an object the reader refused: a mapping, rows as mappings, or a pandas table."""
    if isinstance(source, Mapping):
        listed = {str(name): _listed(values) for name, values in source.items()}
        sizes = {len(values) for values in listed.values() if values is not None}
        ragged = len(sizes) != 1 or None in listed.values()
        return None if ragged else {name: values or [] for name, values in listed.items()}
    if type(source).__module__.split(".")[0] == "pandas" and hasattr(source, "columns"):
        return {str(name): list(source[name].tolist()) for name in source.columns}
    if isinstance(source, Sequence) and all(isinstance(row, Mapping) for row in source):
        names = dict.fromkeys(str(name) for row in source for name in row)
        return {name: [row.get(name) for row in source] for name in names}
    return None


def _listed(values: Any) -> list[Any] | None:
    try:
        return list(values)
    except TypeError:
        return None


def _frame(columns: Mapping[str, list[Any]]) -> pl.DataFrame:
    return pl.DataFrame({name: _series(values) for name, values in columns.items()})


def _series(values: list[Any]) -> pl.Series:
    """One plain type where the values have one, else texts."""
    kinds = {type(value) for value in values} - {type(None)}
    try:
        if kinds <= {int, float} or (len(kinds) == 1 and kinds <= _PLAIN):
            return pl.Series(values, dtype=None if kinds else pl.String, strict=float not in kinds)
    except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError):
        pass
    return pl.Series([None if value is None else _text(value) for value in values], dtype=pl.String)


def _text(value: Any) -> str:
    return str(value).encode("utf-8", "replace").decode("utf-8")
