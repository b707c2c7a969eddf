"""Blocks of a large table as bytes, one after another in one file, and the table that they make.

CSV and JSON lines are that file. Parquet is made of it once it is whole: its blocks are the columns' bytes in
MessagePack, which Polars is given one by one and writes as one table, so that a table larger than memory
needs none. Only that needs Polars; the same rows give the same bytes, in whatever blocks they came.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from shortlist._typing import Array, Longs
from shortlist.errors import DataError, MissingExtra

if TYPE_CHECKING:
    import polars as pl

ENDINGS = (".parquet", ".csv", ".jsonl")

_GROUP = 1 << 16  # rows of a row group: what a reader skips, and what the writer holds of each column


class Texts(NamedTuple):
    """A column of texts: the place int [n] of each row's text among `values`."""

    codes: Longs
    values: Sequence[str]

    def expand(self) -> list[str]:
        """The texts, one a row."""
        return [self.values[code] for code in self.codes.tolist()]


Columns = Mapping[str, Array | Texts]
"""Columns of one length by name: numbers [n] or Texts."""


def require_ending(path: Path) -> str:
    """The format a path's name asks for.

    Raises DataError for one there is none for, MissingExtra for Parquet where Polars is not installed.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise DataError(
            f"{path}: cannot tell the format from the ending {path.suffix!r}",
            hint=f"name a file that ends in {', '.join(ENDINGS)}",
        )
    if ending == ".parquet":
        _require_polars()
    return ending


def _require_polars() -> None:
    try:
        import polars  # noqa: F401
    except ImportError:
        raise MissingExtra("polars", "tables", "writing .parquet (.csv and .jsonl need nothing)") from None


def num_rows(columns: Columns) -> int:
    """How many rows columns of one length have."""
    first = next(iter(columns.values()))
    return len(first.codes if isinstance(first, Texts) else first)


def encode(ending: str, columns: Columns, *, first: bool) -> bytes:
    """A block's bytes. first: whether it begins its file, where a CSV has its header."""
    if ending == ".parquet":
        return _packed(columns)
    plain = {name: _values(column) for name, column in columns.items()}
    if ending == ".csv":
        return _csv(plain, header=first)
    lines = (dict(zip(plain, row, strict=True)) for row in zip(*plain.values(), strict=True))
    return msgspec.json.Encoder().encode_lines(lines)


def write_parquet(blocks: Path, ends: Sequence[int], path: Path) -> None:
    """Make one table of the blocks of a file, of which block i ends at byte ends[i]; onto the disk, in their
    order. Raises OSError where it cannot be written."""
    import polars as pl
    from polars.io.plugins import register_io_source

    def read(*_: Any) -> Iterator[pl.DataFrame]:  # all of it is asked for: no columns, rows or predicate
        with blocks.open("rb") as file:
            for start, end in pairwise((0, *ends)):
                yield pl.DataFrame(_unpacked(file.read(end - start)))

    try:
        table = register_io_source(read, schema=next(read()).schema if ends else pl.Schema())
        table.sink_parquet(
            path, compression="zstd", compression_level=1, row_group_size=_GROUP, sync_on_close="all"
        )
    except (
        pl.exceptions.PolarsError,
        msgspec.MsgspecError,
    ) as error:  # what the system says comes as a text, with its number
        number = re.search(r"\(os error (\d+)\)", str(error))
        said = (int(number[1]), os.strerror(int(number[1]))) if number else (str(error),)
        raise OSError(*said) from error


class _Coded(msgspec.Struct, array_like=True):
    """A column: numbers of a dtype, or texts by the places they have among some, which need a third of the
    time that an Arrow stream takes."""

    dtype: str
    data: bytes
    texts: list[str] | None = None


def _packed(columns: Columns) -> bytes:
    return msgspec.msgpack.encode({name: _coded(column) for name, column in columns.items()})


def _coded(column: Array | Texts) -> _Coded:
    if not isinstance(column, Texts):
        return _Coded(column.dtype.str, column.tobytes())
    places = np.asarray(column.codes, np.int32)
    return _Coded(places.dtype.str, places.tobytes(), list(column.values))


def _unpacked(block: bytes) -> dict[str, pl.Series]:
    import polars as pl

    made = {}
    for name, column in msgspec.msgpack.decode(block, type=dict[str, _Coded]).items():
        made[name] = pl.Series(values=np.frombuffer(column.data, column.dtype))
        if column.texts is not None:
            made[name] = pl.Series(values=column.texts, dtype=pl.String).gather(made[name])
    return made


def _values(column: Array | Texts) -> list[Any]:
    """Plain values; None for what is not a number."""
    values: list[Any] = column.expand() if isinstance(column, Texts) else column.tolist()
    return [None if value != value else value for value in values]


class _Lines(NamedTuple):
    """Takes rows that end in both signs of a line's end, so that cells with either are quoted (Python 3.11
    looks for no other), and ends them in "\\n"."""

    lines: list[str]

    def write(self, row: str) -> None:
        self.lines.append(row[:-2] + "\n")


def _csv(columns: Mapping[str, list[Any]], *, header: bool) -> bytes:
    lines: list[str] = []
    writer = csv.writer(_Lines(lines), lineterminator="\r\n")
    if header:
        writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return "".join(lines).encode()
