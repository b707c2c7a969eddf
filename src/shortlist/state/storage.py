"""State on disk: numbers as memory-mapped .npy files, text as JSON. Nothing is ever unpickled."""

from __future__ import annotations

import errno
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tokenize import TokenError
from typing import Any

import msgspec
import numpy as np

from shortlist._typing import Array, Columns
from shortlist.data.vocabulary import Vocabulary
from shortlist.errors import DataError

_NO_ARRAY = (ValueError, TypeError, EOFError, OverflowError, SyntaxError, TokenError)
"""What NumPy raises of a file that is no array."""


class _Column(msgspec.Struct, frozen=True, omit_defaults=True):
    """A column on disk: texts, or lists of texts of one length, or the name of a file of numbers."""

    name: str
    text: list[str | list[str]] | msgspec.UnsetType = msgspec.UNSET
    file: str | msgspec.UnsetType = msgspec.UNSET


def save_array(path: Path, array: Array) -> None:
    """Write numbers as .npy. OSError, with the file's name, where there is no room."""
    try:
        np.save(path, np.ascontiguousarray(array), allow_pickle=False)
    except OSError as error:
        if error.errno:
            raise
        said = "no room left for this file: the disk is full, or files may not be so large (ulimit -f)"
        raise OSError(errno.ENOSPC, said, str(path)) from error  # NumPy's own says only how many items


def load_array(path: Path) -> Array:
    """Numbers of a .npy file, mapped: read from disk where they are used. ValueError for another file."""
    try:
        # as a plain array, which NumPy slices faster than its memmap
        array: Array = np.asarray(np.lib.format.open_memmap(path, mode="r"))
    except _NO_ARRAY as error:
        raise ValueError(f"{path} holds no array of numbers: {error}") from error
    return array


def save_json(path: Path, value: Any) -> None:
    """Write plain values. ValueError for a number that is not finite, which JSON cannot hold."""
    _require_finite(value, path.name)
    path.write_bytes(msgspec.json.encode(value, order="deterministic"))


def load_json(path: Path, kind: Any = Any) -> Any:
    """Plain values of a JSON file, or those of a type. ValueError, naming the file, for anything else."""
    try:
        return _decoder(kind).decode(path.read_bytes())
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


@cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def load_ids(path: Path) -> Vocabulary:
    """Ids of a JSON file. ValueError, naming the file, where they are none, or not distinct."""
    values = load_json(path, list[str])
    try:
        return Vocabulary.of(values)
    except DataError as error:
        raise ValueError(f"{path}: {error}") from error


def save_columns(folder: Path, columns: Columns) -> None:
    """Write columns into a new folder: columns.json lists them in order, numbers get files of their own."""
    folder.mkdir()
    listed = []
    for number, (name, column) in enumerate(columns.items()):
        text = column.dtype.kind == "O"
        listed.append(
            {"name": name, "text": column.tolist()} if text else {"name": name, "file": f"{number}.npy"}
        )
        if not text:
            save_array(folder / f"{number}.npy", column)
    save_json(folder / "columns.json", listed)


def load_columns(folder: Path) -> Columns:
    """Columns that `save_columns` wrote. ValueError, naming the file, for anything else."""
    listed: list[_Column] = load_json(folder / "columns.json", list[_Column])
    return {column.name: _loaded(folder, column) for column in listed}


def _loaded(folder: Path, column: _Column) -> Array:
    if column.text is not msgspec.UNSET:
        return _text(column.text, f"{folder / 'columns.json'}: {column.name!r}")
    if column.file is msgspec.UNSET:
        raise ValueError(f"{folder / 'columns.json'}: {column.name!r} has neither texts nor a file")
    return load_array(_file(folder, column.file))


def _require_finite(value: Any, at: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{at} cannot hold {value}: JSON knows finite numbers only")
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _require_finite(inner, f"{at}: {name}")
    elif isinstance(value, list | tuple) and not all(type(inner) is str for inner in value):
        for number, inner in enumerate(value):
            _require_finite(inner, f"{at}[{number}]")


def _file(folder: Path, name: str) -> Path:
    if not name or Path(name).name != name:
        raise ValueError(f"{folder / 'columns.json'}: {name!r} is no file of {folder}")
    return folder / name


def _text(values: list[Any], what: str) -> Array:
    kinds = set(map(type, values))
    if len(kinds) > 1:
        raise ValueError(f"{what} has texts and lists of texts")
    widths = set(map(len, values)) if list in kinds else set()
    if len(widths) > 1:
        raise ValueError(f"{what} has lists of several lengths")
    out = np.empty((len(values), *widths), object)
    if values:
        out[:] = values
    return out
