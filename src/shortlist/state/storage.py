"""State on disk: numbers as memory-mapped .npy files, text as JSON. Nothing is ever unpickled."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from shortlist._typing import Array, Columns


def save_array(path: Path, array: Array) -> None:
    """Write numbers as .npy."""
    np.save(path, np.ascontiguousarray(array), allow_pickle=False)


def load_array(path: Path) -> Array:
    """Numbers of a .npy file, mapped: read from disk where they are used. ValueError for another file."""
    try:
        # as a plain array, which NumPy slices faster than its memmap
        array: Array = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except ValueError as error:
        raise ValueError(f"{path} holds no array of numbers: {error}") from error
    return array


def save_json(path: Path, value: Any) -> None:
    """Write plain values. ValueError for a number that is not finite, which JSON cannot hold."""
    _require_finite(value, path.name)
    path.write_bytes(msgspec.json.encode(value, order="deterministic"))


def load_json(path: Path) -> Any:
    """Plain values of a JSON file."""
    return msgspec.json.decode(path.read_bytes())


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
    """Columns that `save_columns` wrote."""
    listed: list[Mapping[str, Any]] = load_json(folder / "columns.json")
    return {
        c["name"]: _text(c["text"]) if "text" in c else load_array(_file(folder, c["file"])) for c in listed
    }


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
    if Path(name).name != name:
        raise ValueError(f"{name!r} is no file of {folder}")
    return folder / name


def _text(values: list[Any]) -> Array:
    wide = bool(values) and isinstance(values[0], list)
    out = np.empty((len(values), len(values[0])) if wide else len(values), object)
    if values:
        out[:] = values
    return out
