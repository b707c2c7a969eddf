"""The first pass over interactions that are too large for memory: checked, and laid down as numbers."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from shortlist._typing import Array, Longs
from shortlist.api.preparing import label, needed, weights_of
from shortlist.data import tables
from shortlist.data.coded import Coded, Column, blocks
from shortlist.data.coding import Coder
from shortlist.data.columns import column_types, in_rows, texts_of, to_columns
from shortlist.data.reading import Source, describe_source, parquet_files
from shortlist.errors import DataError, did_you_mean
from shortlist.features.store import GrowingArray, StoreWriter
from shortlist.specs.models import Model


@dataclass(frozen=True)
class Roles:
    """Which columns of a source play which role, as in `tables.interactions`."""

    user: str = "user_id"
    item: str = "item_id"
    rating: str | None = None
    timestamp: str | None = None
    weight: str | None = None

    def checked(self, rows: Source) -> pl.DataFrame:
        return tables.interactions(
            rows,
            user=self.user,
            item=self.item,
            rating=self.rating,
            timestamp=self.timestamp,
            weight=self.weight,
        )

    def source_name(self, name: str) -> str:
        """The source's name of a column."""
        named = {"user_id": self.user, "item_id": self.item, "rating": self.rating, "weight": self.weight}
        return (named | {"timestamp": self.timestamp}).get(name) or name


@dataclass(frozen=True)
class Staged:
    """n rows laid down. columns: what the query tower reads; users, items: the ids; times: int64 [n], where
    there are any. All are mapped files."""

    columns: dict[str, Column]
    users: Coded
    items: Coded
    times: Longs | None


@dataclass
class _Piece:
    """A column on its way: its kind, a coder for texts, the file, and for lists the longest there can be."""

    kind: str
    file: GrowingArray
    coder: Coder = field(default_factory=Coder)
    width: int = 0
    lengths: list[int] = field(default_factory=list)

    def read(self, column: pl.Series) -> Array:
        """A chunk as numbers; called from several threads."""
        if self.kind == "string":
            return self.coder.codes(column)
        if self.kind == "strings":
            texts, lengths = texts_of(column)
            self.lengths.append(int(lengths.max(initial=0)))
            return in_rows(self.coder.codes(texts), lengths, max(1, self.width), -1)
        rows = to_columns(column.to_frame())[column.name]
        if self.kind == "vector" and rows.shape[1] != self.width:
            if rows.shape[1]:
                raise DataError(
                    f"column {column.name!r} holds vectors of {rows.shape[1]} and {self.width} numbers"
                )
            return np.full((len(rows), self.width), np.nan, np.float32)
        return rows

    def column(self) -> Column:
        """All of it, mapped; texts in coded form."""
        if self.kind not in ("string", "strings"):
            mapped: Array = np.load(self.file.path, mmap_mode="r")
            return mapped
        codes = np.load(self.file.path, mmap_mode="r+")
        ranks, values = self.coder.ranks()
        for block in blocks(len(codes)):
            codes[block] = ranks[codes[block]]
        return Coded(codes if self.kind == "string" else codes[:, : max(1, *self.lengths)], values)


def stage(
    model: Model,
    source: Any,
    roles: Roles,
    users: pl.DataFrame | None,
    folder: Path,
    writer: StoreWriter,
    chunk_rows: int,
) -> Staged:
    """Read the source once. Labels and weights go to the writer, other columns to files in `folder`."""
    reading = _Reading(model, _needed_of(model, source, roles), roles, users, folder)
    total = 0.0
    try:
        for own, direct in reading.chunks(chunk_rows):
            for name, array in own.items():
                reading.pieces[name].file.append(array)
            for name, array in direct.items():
                writer.append(name, array)
            total += float(direct["weights"].sum())
    finally:
        for piece in reading.pieces.values():
            piece.file.close()
    if total <= 0:
        raise DataError("weights must not be all zero")
    columns = {name: piece.column() for name, piece in reading.pieces.items()}
    people, things, times = columns["user_id"], columns["item_id"], columns.get("timestamp")
    assert isinstance(people, Coded) and isinstance(things, Coded) and not isinstance(times, Coded)
    return Staged({name: columns[name] for name in reading.query}, people, things, times)


def _needed_of(model: Model, source: Any, roles: Roles) -> pl.LazyFrame:
    """The columns a model needs of the source, as they are."""
    rows = (
        source
        if isinstance(source, pl.LazyFrame)
        else pl.scan_parquet(parquet_files(Path(source)), hive_partitioning=True)
    )
    wanted = ["user_id", "item_id", "timestamp", "weight", *(head.label for head in model.heads)]
    wanted += [f.column for f in model.query.features]
    try:
        known = rows.collect_schema().names()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"cannot read {describe_source(source)}: {error}") from error
    names = dict.fromkeys(map(roles.source_name, wanted))
    for role in (roles.user, roles.item):
        if role not in known:
            raise DataError(f"the source has no column {role!r}", hint=did_you_mean(role, known))
    return rows.select(name for name in names if name in known)


class _Reading:
    """A source on its way to numbers, chunk by chunk, each chunk in a thread of its own."""

    def __init__(
        self, model: Model, rows: pl.LazyFrame, roles: Roles, users: pl.DataFrame | None, folder: Path
    ) -> None:
        known = rows.collect_schema().names()
        given = {r: name for r in ("rating", "timestamp", "weight") if (name := getattr(roles, r)) in known}
        self.model, self.rows, self.users = model, rows, users
        self.roles = Roles(roles.user, roles.item, **given)
        first = rows.head(1).collect()
        if not first.height:
            raise DataError("there are no training rows")
        table = self._table(self.roles.checked(first))
        self.query = needed(model.features("query"), table.columns, "user_id", "query")
        names = dict.fromkeys([*self.query, "item_id", *(n for n in table.columns if n == "timestamp")])
        kinds = column_types(table.select(*names))
        self.pieces = {
            name: _Piece(
                kinds[name], GrowingArray(folder / f"{at}.npy"), width=self._width(name, table[name])
            )
            for at, name in enumerate(names)
        }

    def chunks(self, chunk_rows: int) -> Iterator[tuple[dict[str, Array], dict[str, Array]]]:
        """In the order of the source: arrays for the pieces, and what is stored as it is."""
        workers = pl.thread_pool_size()
        waiting: deque[Future[tuple[dict[str, Array], dict[str, Array]]]] = deque()
        with ThreadPoolExecutor(workers) as threads:
            for first, chunk in self._raw(chunk_rows):
                waiting.append(threads.submit(self._read, first, chunk))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _raw(self, chunk_rows: int) -> Iterator[tuple[int, pl.DataFrame]]:
        first = 0
        try:
            for batch in self.rows.collect_batches(chunk_size=chunk_rows, maintain_order=True):
                for block in blocks(batch.height, chunk_rows):
                    yield first, batch[block]
                    first += block.stop - block.start
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DataError(f"cannot read the source after row {first:,}: {error}") from error

    def _read(self, first: int, chunk: pl.DataFrame) -> tuple[dict[str, Array], dict[str, Array]]:
        try:
            rows = self.roles.checked(chunk)
            table = self._table(rows)
            own = {name: piece.read(table[name]) for name, piece in self.pieces.items()}
            direct = {f"labels/{head.label}": label(rows, head.label) for head in self.model.heads}
            return own, direct | {"weights": weights_of(rows, zeros=True)}
        except DataError as error:
            if not first:
                raise
            raise DataError(f"{error} (counted from row {first:,})", hint=error.hint) from error

    def _table(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows with the columns of their users, where a feature needs them."""
        absent = any(f.column not in rows.columns for f in self.model.query.features)
        return tables.join_users(rows, self.users) if absent and self.users is not None else rows

    def _width(self, name: str, column: pl.Series) -> int:
        """The most values a row of a list column can have; 0 for other columns."""
        if isinstance(column.dtype, pl.Array):
            return column.dtype.size
        if not isinstance(column.dtype, pl.List):
            return 0
        stranger = self.users is not None and name in self.users.columns
        source = self.users.lazy() if stranger and self.users is not None else self.rows
        longest = source.select(pl.col(name).list.len().max()).collect(engine="streaming").item()
        return int(longest or 0)
