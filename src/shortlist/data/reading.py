"""Files and table objects -> polars DataFrame, as they are; `tables` gives the columns their roles."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from shortlist.errors import DataError

Source = str | PathLike[str] | Any
"""A path, or a polars, pandas or Arrow table, or a mapping of columns, or a sequence of row mappings."""

_PARQUET = (".parquet", ".pq", ".brotli")
_DELIMITED = (".csv", ".tsv", ".txt", ".tab")
_LINES = (".jsonl", ".ndjson")
_ARROW = (".arrow", ".feather", ".ipc")
_DELIMITERS = (",", "\t", ";", "|")
_LEADING_ZERO = r"^[+-]?0\d"


def read_table(source: Source, *, strings: Collection[str] = ()) -> pl.DataFrame:
    """The table in `source`, in its row order.

    Paths: Parquet (a file, or a folder of them in name order), CSV/TSV (also .gz; the delimiter is the
    most frequent of , tab ; | in the header), JSONL, Arrow IPC. Objects: polars (eager or lazy),
    pandas, anything with the Arrow stream interface, a mapping of columns, a sequence of row mappings.

    A CSV column is int, else float, if every value reads as one and none has a leading zero ("02215"
    stays text), else string. Columns named in `strings` stay strings.

    Raises DataError for a missing or unreadable file, an unknown format, text that is not UTF-8 (with
    its byte offset and line), and a table without rows or columns.
    """
    frame = _from_path(Path(source), strings) if isinstance(source, str | PathLike) else _from_object(source)
    if not frame.width or not frame.height:
        raise DataError(
            f"{describe_source(source)} has {frame.height} rows and {frame.width} columns: nothing to read",
            hint="the table needs a header and at least one row",
        )
    return frame


def describe_source(source: Source) -> str:
    """A short name of a source for messages: its path, or its type."""
    return str(source) if isinstance(source, str | PathLike) else f"the {type(source).__name__}"


def _from_path(path: Path, strings: Collection[str]) -> pl.DataFrame:
    if not path.exists():
        here = path.parent
        near = get_close_matches(path.name, [p.name for p in here.iterdir()]) if here.is_dir() else []
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"looked in {here.absolute()}"
        raise DataError(f"no such file: {path}", hint=hint)
    if path.is_dir():
        return _from_folder(path)
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty (0 bytes)", hint="was the download or export interrupted?")
    suffix = path.with_suffix("").suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()
    try:
        if suffix in _DELIMITED:
            return _read_delimited(path, suffix, strings)
        if suffix in _PARQUET:
            return pl.read_parquet(path)
        if suffix in _LINES:
            return pl.read_ndjson(path, infer_schema_length=None)
        if suffix in _ARROW:
            return pl.read_ipc(path)
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise DataError(f"cannot read {path} as {suffix[1:]}: {error}", hint="is the file whole?") from error
    raise DataError(
        f"{path}: unknown format {path.suffix!r}",
        hint="known: " + ", ".join((*_PARQUET, *_DELIMITED, *_LINES, *_ARROW)),
    )


def parquet_files(path: Path) -> list[Path]:
    """The Parquet files of a folder in name order, or the file itself. DataError where there is none."""
    if path.is_file() and path.suffix.lower() in _PARQUET:
        return [path]
    if not path.is_dir():
        raise DataError(
            f"{path} is no Parquet file, nor a folder of them", hint="write the table as Parquet first"
        )
    files = sorted(p for p in path.rglob("*") if p.suffix.lower() in _PARQUET)
    if not files:
        raise DataError(
            f"the folder {path} holds no Parquet file", hint="name the file itself for other formats"
        )
    return files


def _from_folder(path: Path) -> pl.DataFrame:
    files = parquet_files(path)
    try:
        return pl.concat([pl.read_parquet(file) for file in files])
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"cannot read the Parquet files of {path} as one table: {error}") from error


def _read_delimited(path: Path, suffix: str, strings: Collection[str]) -> pl.DataFrame:
    data = path.read_bytes()
    if path.suffix.lower() == ".gz":
        import gzip
        import zlib

        try:
            data = gzip.decompress(data)
        except (EOFError, OSError, zlib.error) as error:
            raise DataError(
                f"cannot read {path} as csv: damaged or cut-off gzip data ({error})",
                hint="get the file again, or unpack it by hand",
            ) from error
    _require_utf8(data, path)
    header = data.split(b"\n", 1)[0].decode("utf-8-sig").strip()
    delimiter = "\t" if suffix == ".tsv" else max(_DELIMITERS, key=header.count)
    try:
        frame = pl.read_csv(data, separator=delimiter, infer_schema=False)
    except pl.exceptions.NoDataError:
        raise DataError(f"{path} is empty", hint="the table needs a header and at least one row") from None
    return frame.select(pl.col(c) if c in strings else _inferred(frame[c]) for c in frame.columns)


def _require_utf8(data: bytes, path: Path) -> None:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path} is not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start} (line {line})",
            hint=f"convert it first, for instance: iconv -f latin1 -t utf-8 {path.name}",
        ) from None


def _inferred(column: pl.Series) -> pl.Series:
    """Integers, else floats, else the strings they are. Decided by every value, not by the first ones."""
    if column.null_count() == len(column) or column.str.contains(_LEADING_ZERO).any():
        return column
    for dtype in (pl.Int64, pl.Float64):
        cast = column.cast(dtype, strict=False)
        if cast.null_count() == column.null_count():
            return cast
    return column


def _from_object(source: Any) -> pl.DataFrame:
    if isinstance(source, pl.DataFrame):
        return source
    if isinstance(source, pl.LazyFrame):
        return source.collect()
    try:
        if type(source).__module__.split(".")[0] == "pandas":
            return _from_pandas(source)
        if isinstance(source, Mapping):
            return pl.DataFrame({str(name): _series(values) for name, values in source.items()})
        if hasattr(source, "__arrow_c_stream__") or isinstance(source, Sequence):
            # Every row decides the types, so that a late string is found rather than dropped.
            return pl.DataFrame(source, infer_schema_length=None)
    except (pl.exceptions.PolarsError, TypeError, ValueError) as error:
        raise DataError(f"cannot read {describe_source(source)} as a table: {error}") from error
    raise DataError(
        f"cannot read a table from {type(source).__name__}",
        hint="give a path, a polars, pandas or Arrow table, or a dict of columns",
    )


def _series(values: Any) -> pl.Series:
    if isinstance(values, list | tuple) and {type(v) for v in values} <= {int, float, type(None)}:
        # Whole numbers beside a NaN are floats, as everywhere else; polars would refuse the mixture.
        floats = any(isinstance(v, float) for v in values)
        return pl.Series(values, dtype=pl.Float64 if floats else None, strict=not floats)
    return pl.Series(values)


def _from_pandas(table: Any) -> pl.DataFrame:
    # By hand, because polars asks for pyarrow to do it; the index is not data.
    columns = {}
    for name in table.columns:
        values = table[name].to_numpy()
        if values.dtype.kind in "iufbM":
            columns[str(name)] = pl.Series(values)
        else:
            plain = [None if _is_missing(v) else v for v in values.tolist()]
            columns[str(name)] = pl.Series(plain, strict=True)
    return pl.DataFrame(columns)


def _is_missing(value: object) -> bool:
    missing_float = isinstance(value, float | np.floating) and np.isnan(value)
    return value is None or bool(missing_float) or type(value).__name__ in ("NAType", "NaTType")
