"""Small tables as text, read without Polars: what the base install reads rows and new items from."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from shortlist.data.layouts import NO_NUMBER, layout_of
from shortlist.errors import DataError, MissingExtra

_TEXT, _LINES = (".csv", ".tsv"), (".jsonl", ".ndjson")
PLAIN = (*_TEXT, *_LINES)
"""File name endings of what is read here."""
_COUNTERS = ("", "Unnamed: 0")


def read_rows(path: Path, *, delimiter: str = "") -> list[dict[str, Any]]:
    """The rows of a file of CSV, TSV or JSON lines: of text, every value is the text it is.

    delimiter: of text; "" is the usual one of the ending. Raises DataError for a missing, unreadable or empty
    file, with its line where one is at fault.
    """
    return _rows(_text(path), path, delimiter)


def read_columns(path: Path, *, strings: Collection[str] = (), delimiter: str = "") -> dict[str, list[Any]]:
    """The columns of such a file: of text its numbers as numbers, but in the columns `strings`, and None
    where nothing is; delimiter: "" looks for it. MissingExtra for what only Polars reads."""
    if path.is_file() and path.suffix.lower() not in PLAIN:
        raise MissingExtra(
            "polars", "tables", f"reading {path.suffix or path} ({', '.join(PLAIN)} need nothing)"
        )
    text, is_text = _text(path), path.suffix.lower() in _TEXT
    if is_text:
        layout = layout_of(text, path.name, delimiter)
        if layout.names or len(layout.delimiter) > 1:
            raise MissingExtra("polars", "tables", f"reading {path}, which has no usual header or delimiter,")
        delimiter = layout.delimiter
    rows = _rows(text, path, delimiter)
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name.strip(): [row.get(name) for row in rows] for name in names}
    if is_text:
        columns = {name: [_value(one, name in strings) for one in columns[name]] for name in columns}
    return {
        name: column
        for name, column in columns.items()
        if not (name in _COUNTERS and len(columns) > 1 and column == list(range(len(column))))
    }


def _text(path: Path) -> str:
    if not path.is_file():
        raise DataError(f"no such file: {path}", hint=f"looked in {path.absolute().parent}")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8: byte at offset {error.start}", hint=f"iconv -f latin1 -t utf-8 {path.name}"
        ) from error


def _rows(text: str, path: Path, delimiter: str) -> list[dict[str, Any]]:
    suffix = path.suffix.lower()
    if suffix in _LINES:
        rows = _lines(text, path)
    else:
        rows = _delimited(text, delimiter or ("\t" if suffix == ".tsv" else ","), path)
    if not rows:
        raise DataError(f"{path} has no rows", hint="it needs a header and at least one row")
    return rows


def _delimited(text: str, delimiter: str, path: Path) -> list[dict[str, Any]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    header = list(reader.fieldnames or ())
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{path}: the header has {twice!r} twice", hint="rename one of them, or leave it out")
    rows = []
    try:
        for row in reader:
            if None in row or None in row.values():
                raise DataError(
                    f"{path}, line {reader.line_num}: expected {len(header)} fields, as in the header"
                )
            rows.append(dict(row))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}") from error
    return rows


def _lines(text: str, path: Path) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}, line {number}: not valid JSON: {error}") from error
        if not isinstance(row, dict):
            raise DataError(f"{path}, line {number}: expected an object, got {line.strip()[:40]}")
        rows.append(row)
    return rows


def _value(text: Any, is_text: bool) -> Any:
    """A text as the number it is, if it is one whose digits come back; None where nothing is."""
    if is_text or re.match(NO_NUMBER, text) or "_" in text:
        return text or None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text or None
