"""Files, folders and table objects -> polars DataFrame, as they are; `tables` gives columns their roles."""

from __future__ import annotations

import io
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable, Collection
from difflib import get_close_matches
from os import PathLike
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import polars as pl

from shortlist.data.formats import inferred, read_delimited
from shortlist.data.layouts import DELIMITED
from shortlist.data.objects import from_object
from shortlist.errors import DataError

Source = str | PathLike[str] | Any
"""A path, or a polars, pandas or Arrow table, or a mapping of columns, or a sequence of row mappings."""

_PARQUET = (".parquet", ".pq", ".brotli")
_LINES = (".jsonl", ".ndjson", ".json")
_ARROW = (".arrow", ".feather", ".ipc")
_FORMATS = {"Parquet": _PARQUET, "Arrow": _ARROW, "JSON lines": _LINES, "delimited text": DELIMITED}
_NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"


def read_table(source: Source, *, strings: Collection[str] = (), delimiter: str = "") -> pl.DataFrame:
    """The table in `source`, in its row order.

    Paths: Parquet, Arrow IPC (files or streams), delimited text (`formats` says which), JSON lines (or one
    JSON array of objects), text and lines also as .gz; or a folder of files of one of these, in name order,
    whose folders named key=value (Hive partitions) become columns. Objects: see `objects.from_object`.

    A column of text is int, else float, if every value reads as one and none has a leading zero ("02215"
    stays text), else string. Columns named in `strings` stay strings. delimiter: of text; "" looks for it.

    Raises DataError for a missing or unreadable file, an unknown format, text that is not UTF-8 (with
    its byte offset and line), and a table without rows or columns.
    """
    if not isinstance(source, str | PathLike):
        frame = from_object(source)
    else:
        frame = _from_path(Path(source), strings, delimiter)
    if not frame.width or not frame.height:
        raise DataError(
            f"{describe_source(source)} has {frame.height} rows and {frame.width} columns: nothing to read",
            hint="the table needs a header and at least one row",
        )
    return frame


def describe_source(source: Source) -> str:
    """A short name of a source for messages: its path, or its type."""
    return str(source) if isinstance(source, str | PathLike) else f"the {type(source).__name__}"


def parquet_files(path: Path) -> list[Path]:
    """The Parquet files of a folder in name order, or the file itself. DataError where there is none."""
    if path.is_file() and path.suffix.lower() in _PARQUET:
        return [path]
    if not path.is_dir():
        raise DataError(
            f"{path} is no Parquet file, nor a folder of them", hint="write the table as Parquet first"
        )
    files = [file for file in _files(path) if _ending(file) in _PARQUET]
    if not files:
        raise DataError(
            f"the folder {path} holds no Parquet file", hint="name the file itself for other formats"
        )
    return files


def _from_path(path: Path, strings: Collection[str], delimiter: str) -> pl.DataFrame:
    if not path.exists():
        here = path.parent
        near = get_close_matches(path.name, [p.name for p in here.iterdir()]) if here.is_dir() else []
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"looked in {here.absolute()}"
        raise DataError(f"no such file: {path}", hint=hint)
    return _from_folder(path, strings, delimiter) if path.is_dir() else _from_file(path, strings, delimiter)


def _from_file(path: Path, strings: Collection[str], delimiter: str) -> pl.DataFrame:
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty (0 bytes)", hint="was the download or export interrupted?")
    suffix = _ending(path)
    readers: dict[tuple[str, ...], Callable[[], pl.DataFrame]] = {
        DELIMITED: lambda: read_delimited(_content(path), path, strings, delimiter),
        _PARQUET: lambda: pl.read_parquet(path, hive_partitioning=False),
        _LINES: lambda: _read_json(_content(path)),
        _ARROW: lambda: _read_arrow(path),
    }
    for suffixes, read in readers.items():
        if suffix in suffixes:
            try:
                return read()
            except (pl.exceptions.PolarsError, OSError, ValueError) as error:
                hint = "is the file whole? every line must hold as many fields as the first"
                raise DataError(
                    f"cannot read {path} as {suffix[1:]}: {error}",
                    hint=hint if suffixes is DELIMITED else "is the file whole?",
                ) from error
    raise DataError(
        f"{path}: unknown format {path.suffix!r}",
        hint="known: " + ", ".join(ending for endings in _FORMATS.values() for ending in endings),
    )


def _ending(path: Path) -> str:
    """The name's ending in lower case; of a file with gzip's, the one before that."""
    suffix = path.suffix.lower()
    return path.with_suffix("").suffix.lower() if suffix == ".gz" else suffix


def _content(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix.lower() == ".gz":
        data = _unpacked(data, path)
    if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        raise DataError(
            f"{path} is UTF-16, not UTF-8",
            hint="save it as UTF-8 (spreadsheets: CSV UTF-8), or convert it: iconv -f utf-16 -t utf-8",
        )
    return data


def _unpacked(data: bytes, path: Path) -> bytes:
    import gzip
    import zlib

    try:
        return gzip.decompress(data)
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(
            f"cannot read {path} as {_ending(path)[1:]}: damaged or cut-off gzip data ({error})",
            hint="get the file again, or unpack it by hand",
        ) from error


def _read_json(data: bytes) -> pl.DataFrame:
    data = data.removeprefix(b"\xef\xbb\xbf").lstrip()
    read = pl.read_json if data.startswith(b"[") else pl.read_ndjson
    return read(io.BytesIO(data), infer_schema_length=None)


def _read_arrow(path: Path) -> pl.DataFrame:
    with path.open("rb") as file:
        is_file = file.read(6) in (b"ARROW1", b"FEA1")
    return pl.read_ipc(path) if is_file else pl.read_ipc_stream(path)


def _files(path: Path) -> list[Path]:
    """The files of a folder and the folders in it, in the order of their names; not those that writers leave
    for themselves (names that begin with . or _)."""
    inside = ((file, file.relative_to(path).parts) for file in path.rglob("*") if file.is_file())
    return sorted(file for file, parts in inside if not any(p.startswith((".", "_")) for p in parts))


def _from_folder(path: Path, strings: Collection[str], delimiter: str) -> pl.DataFrame:
    """All files of the format that comes first in `_FORMATS`, one below the other."""
    files = _files(path)
    found = {form: [f for f in files if _ending(f) in endings] for form, endings in _FORMATS.items()}
    chosen = next((those for those in found.values() if those), [])
    if not chosen:
        raise DataError(
            f"the folder {path} holds no table: {len(files)} files, none of them of a known format",
            hint="known: " + ", ".join(ending for endings in _FORMATS.values() for ending in endings),
        )
    keys = [_partition(file.relative_to(path)) for file in chosen]
    # Text that each file would type by itself is typed once, when all of it is there.
    frames = [_from_file(file, strings, delimiter) for file in chosen]
    _require_alike(chosen, frames)
    try:
        return _joined(frames, keys)
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"cannot read the files of {path} as one table: {error}", hint="name one file of them"
        ) from error


def _partition(path: Path) -> dict[str, str | None]:
    """The keys and values of the folders on the way: day=2024-01-01 -> {"day": "2024-01-01"}."""
    pairs = (part.split("=", 1) for part in path.parts[:-1] if "=" in part)
    return {unquote(key): None if value == _NULL_PARTITION else unquote(value) for key, value in pairs}


def _require_alike(files: list[Path], frames: list[pl.DataFrame]) -> None:
    for file, frame in zip(files, frames, strict=True):
        if set(frame.columns) != set(frames[0].columns):
            raise DataError(
                f"{files[0]} and {file} are different tables: {frames[0].columns} and {frame.columns}",
                hint="name the file itself where a folder holds several tables",
            )


def _joined(frames: list[pl.DataFrame], keys: list[dict[str, str | None]]) -> pl.DataFrame:
    """One below the other, the columns in the order of the first. A column that is numbers in one file and
    text in another is text, whole numbers beside floats are floats."""
    whole = pl.concat([frame.select(frames[0].columns) for frame in frames], how="vertical_relaxed")
    for key in dict.fromkeys(key for one in keys for key in one):
        if key not in whole.columns:
            values = [
                pl.repeat(one.get(key), frame.height, dtype=pl.String, eager=True)
                for one, frame in zip(keys, frames, strict=True)
            ]
            whole = whole.with_columns(inferred(pl.concat(values)).alias(key))
    return whole
