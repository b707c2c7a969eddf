"""A store as a table: events in the columns that training reads, page by page, whatever their number."""

from __future__ import annotations

import csv
import gzip
import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shortlist.errors import DataError, MissingExtra
from shortlist.server.events.event import COLUMNS, Event
from shortlist.server.events.store import PAGE, Store

PARQUET, CSV, LINES = (".parquet", ".pq"), (".csv", ".tsv"), (".jsonl", ".ndjson")
Row = Sequence[Any]


@dataclass(frozen=True)
class Choice:
    """Which events. kinds: their types (all where empty); since, until: their timestamps, until itself not
    among them; rated: only those with a rating."""

    kinds: Collection[str] = ()
    since: int | None = None
    until: int | None = None
    rated: bool = False

    def __contains__(self, event: object) -> bool:
        return (
            isinstance(event, Event)
            and (not self.kinds or event.event in self.kinds)
            and (self.since is None or event.timestamp >= self.since)
            and (self.until is None or event.timestamp < self.until)
            and (not self.rated or event.rating is not None)
        )


@dataclass
class Exported:
    """What was written: rows and columns. unrated: rows without a rating where others have one, which a
    table to train a rating from may not have; untyped: rows without a type where others have one."""

    path: Path
    rows: int = 0
    columns: tuple[str, ...] = ()
    unrated: int = 0
    untyped: int = 0


@dataclass
class _Found:
    """What a first pass saw, so that the second knows its columns."""

    rows: int = 0
    rated: int = 0
    weighted: int = 0
    typed: int = 0
    context: dict[str, set[str]] = field(default_factory=dict)

    def see(self, event: Event) -> None:
        self.rows += 1
        self.rated += event.rating is not None
        self.weighted += event.weight is not None
        self.typed += bool(event.event)
        for name, value in event.context.items():
            self.context.setdefault(name, set()).add(type(value).__name__)


def export(store: Store, path: str | Path, choice: Choice | None = None) -> Exported:
    """Write events, in the order they were kept, as Parquet, CSV or JSON lines (by the path's ending, the
    last two also .gz): user_id, item_id, event, rating, weight (1 where an event has none), timestamp,
    event_id, then the columns of their context. Columns that no event has are left out. Two passes of pages;
    the file appears whole or not at all.

    Raises DataError for an unknown ending and where there is nothing to write, MissingExtra for Parquet
    without Polars, StoreError where the store cannot be read.
    """
    path, wanted, last, found = Path(path), choice or Choice(), store.last(), _Found()
    _writer_of(path)
    for event in _events(store, last, wanted):
        found.see(event)
    if not found.rows:
        raise DataError(
            f"no events to export from {store.place}", hint="shortlist events stats says what there is"
        )
    names, types = _columns(found)
    rows = (_row(event, names) for event in _events(store, last, wanted))
    written = write_rows(path, names, types, rows)
    unrated = found.rows - found.rated if found.rated else 0
    untyped = found.rows - found.typed if found.typed else 0
    return Exported(path, written, tuple(names), unrated, untyped)


def export_impressions(store: Store, path: str | Path) -> Exported:
    """Write impressions, a row an item: request_id, user_id, item_id, position (from 1), propensity, bundle,
    variant, timestamp. Otherwise as `export`."""
    path = Path(path)
    types: dict[str, type] = dict.fromkeys(("request_id", "user_id", "item_id", "bundle", "variant"), str)
    types |= {"position": int, "propensity": float, "timestamp": int}
    names = ["request_id", "user_id", "item_id", "position", "propensity", "bundle", "variant", "timestamp"]
    if not store.impressions(0, 1):
        raise DataError(
            f"no impressions to export from {store.place}", hint="the server logs them where it is asked to"
        )
    return Exported(path, write_rows(path, names, types, _shown(store)), tuple(names))


def _events(store: Store, last: int, choice: Choice) -> Iterator[Event]:
    """Those up to a sequence, read page by page, so that no transaction stays open."""
    sequence = 0
    while sequence < last and (page := store.since(sequence, PAGE)):
        yield from (one.event for one in page if one.sequence <= last and one.event in choice)
        sequence = page[-1].sequence


def _shown(store: Store) -> Iterator[Row]:
    sequence = 0
    while page := store.impressions(sequence, PAGE // 10):
        for _, shown in page:
            for place, item in enumerate(shown.items):
                chance = shown.propensity[place] if shown.propensity else None
                end = shown.bundle, shown.variant, shown.timestamp
                yield shown.request_id, shown.user_id, item, place + 1, chance, *end
        sequence = page[-1].sequence


def _columns(found: _Found) -> tuple[list[str], dict[str, type]]:
    """Names in order, and the type of each column."""
    there = {"event": found.typed, "rating": found.rated, "weight": found.weighted}
    names = [name for name in COLUMNS if there.get(name, 1)]
    types: dict[str, type] = dict.fromkeys(("user_id", "item_id", "event", "event_id"), str)
    types |= {"rating": float, "weight": float, "timestamp": int}
    for name, kinds in sorted(found.context.items()):
        names.append(name)
        kinds.discard("NoneType")
        numbers = {frozenset({"int"}): int, frozenset({"bool"}): bool}
        types[name] = numbers.get(frozenset(kinds), float if kinds and kinds <= {"int", "float"} else str)
    return names, types


def _row(event: Event, names: Sequence[str]) -> Row:
    known = {
        "user_id": event.user_id,
        "item_id": event.item_id,
        "event": event.event or None,
        "rating": event.rating,
        "weight": 1.0 if event.weight is None else event.weight,
        "timestamp": event.timestamp,
        "event_id": event.event_id,
    }
    return [known[name] if name in known else event.context.get(name) for name in names]


# Files


def write_rows(path: Path, names: Sequence[str], types: dict[str, type], rows: Iterable[Row]) -> int:
    """Write rows into a file that appears whole or not at all; how many there were."""
    write = _writer_of(path)
    counted = _Counted(rows)
    with _whole(path) as draft:
        write(draft, names, types, counted)
    return counted.count


class _Counted:
    """Rows that are counted as they go."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.rows, self.count = rows, 0

    def __iter__(self) -> Iterator[Row]:
        for row in self.rows:
            self.count += 1
            yield row


Write = Callable[[Path, Sequence[str], dict[str, type], Iterable[Row]], None]


def _writer_of(path: Path) -> Write:
    suffix = path.suffix.lower()
    plain = path.with_suffix("").suffix.lower() if suffix == ".gz" else suffix
    if suffix in PARQUET:
        return _parquet
    if plain in CSV:
        return _csv
    if plain in LINES:
        return _lines
    known = ", ".join([*PARQUET, *CSV, *LINES])
    raise DataError(f"{path}: unknown format {path.suffix!r}", hint=f"known: {known}; text also as .gz")


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    draft = path.with_name(f".{path.name}.{os.getpid()}{''.join(path.suffixes[-2:])}")
    try:
        yield draft
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _open(draft: Path) -> Any:
    if draft.suffix == ".gz":
        return gzip.open(draft, "wt", encoding="utf-8", newline="")
    return open(draft, "w", encoding="utf-8", newline="")


def _csv(draft: Path, names: Sequence[str], types: dict[str, type], rows: Iterable[Row]) -> None:
    delimiter = "\t" if ".tsv" in draft.suffixes else ","
    with _open(draft) as out:
        writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
        writer.writerow(names)
        for row in rows:
            writer.writerow(["" if value is None else value for value in row])


def _lines(draft: Path, names: Sequence[str], types: dict[str, type], rows: Iterable[Row]) -> None:
    with _open(draft) as out:
        for row in rows:
            told = {name: value for name, value in zip(names, row, strict=True) if value is not None}
            out.write(json.dumps(told, ensure_ascii=False) + "\n")


def _parquet(draft: Path, names: Sequence[str], types: dict[str, type], rows: Iterable[Row]) -> None:
    try:
        import polars as pl
        from polars.io.plugins import register_io_source
    except ImportError:
        raise MissingExtra("polars", "tables", "writing Parquet") from None
    kinds = {str: pl.String, int: pl.Int64, float: pl.Float64, bool: pl.Boolean}
    schema = {name: kinds[types[name]] for name in names}

    def pages(columns: Any, predicate: Any, most: Any, size: Any) -> Iterator[pl.DataFrame]:
        page: list[Row] = []
        for row in rows:
            page.append([_as(types[name], value) for name, value in zip(names, row, strict=True)])
            if len(page) == PAGE:
                yield pl.DataFrame(page, schema, orient="row")
                page = []
        if page:
            yield pl.DataFrame(page, schema, orient="row")

    register_io_source(pages, schema=schema).sink_parquet(draft)


def _as(kind: type, value: Any) -> Any:
    """A value of a column of mixed types as the one type it has."""
    if value is None or isinstance(value, kind):
        return value
    return json.dumps(value) if kind is str else kind(value)
