"""Encoded rows on disk: one .npy file an array and a manifest, read as mapped files. NumPy only.

    manifest.json       format, rows, the encoder's content hash; each array's file, type and shape
    00.query_user_id.id.npy, 01.candidates.npy, ...

Names are those of `Examples`: "query/<feature key>", "candidates", "labels/<name>", "weights", "users";
whoever writes may add arrays and files of its own.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from shortlist._typing import Array
from shortlist.errors import DataError
from shortlist.features.batches import Examples

FORMAT = 1
MANIFEST = "manifest.json"
_AGAIN = "encode the data again"


class GrowingArray:
    """A .npy file that grows by rows; its shape is put into the header when it is closed."""

    def __init__(self, path: Path) -> None:
        self.path, self.shape = path, (0,)
        self._file: BinaryIO | None = None
        self._dtype = np.dtype(np.float64)

    def append(self, rows: Array) -> None:
        """Rows of one type and one shape. ValueError for others than before."""
        if self._file is None:
            self._file, self._dtype, self.shape = self.path.open("wb"), rows.dtype, (0, *rows.shape[1:])
            self._header()
        if rows.dtype != self._dtype or rows.shape[1:] != self.shape[1:]:
            raise ValueError(
                f"{self.path.name} holds {self._dtype} {self.shape[1:]}, got {rows.dtype} {rows.shape[1:]}"
            )
        self._file.write(np.ascontiguousarray(rows).data)
        self.shape = (self.shape[0] + len(rows), *self.shape[1:])

    def close(self) -> None:
        if self._file is not None and not self._file.closed:
            self._file.seek(0)
            self._header()
            self._file.close()

    def _header(self) -> None:
        """NumPy pads headers so that a longer first axis takes the same bytes."""
        assert self._file is not None
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": self.shape}
        np.lib.format.write_array_header_1_0(self._file, header)


class StoreWriter:
    """Writes arrays chunk by chunk into `folder`, which gets its own name once all are complete."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._arrays: dict[str, GrowingArray] = {}

    def append(self, name: str, rows: Array) -> None:
        """Further rows of an array."""
        if name not in self._arrays:
            safe = re.sub(r"[^A-Za-z0-9._-]", "_", name)[:80]
            self._arrays[name] = GrowingArray(self.folder / f"{len(self._arrays):02}.{safe}.npy")
        self._arrays[name].append(rows)

    def mapped(self, name: str) -> Array:
        """An array that is complete, read back."""
        self._arrays[name].close()
        return _mapped(self._arrays[name].path)

    def finish(self, encoder_hash: str) -> None:
        for array in self._arrays.values():
            array.close()
        listed = {}
        for name, array in self._arrays.items():
            stored = _mapped(array.path)
            listed[name] = {"file": array.path.name, "dtype": stored.dtype.str, "shape": list(stored.shape)}
        rows = self._arrays["candidates"].shape[0]
        plain = {"format": FORMAT, "rows": rows, "encoder": encoder_hash, "arrays": listed}
        (self.folder / MANIFEST).write_text(json.dumps(plain, indent=1), "utf-8")

    def close(self) -> None:
        for array in self._arrays.values():
            array.close()


@contextmanager
def writing(folder: Path) -> Iterator[StoreWriter]:
    """A writer into a temporary sibling of `folder`, renamed after the block; nothing is left if it raises.

    The block ends with `finish`. Raises DataError where `folder` exists.
    """
    folder = folder.absolute()
    if folder.exists():
        raise DataError(f"{folder} exists already", hint="choose another folder, or delete it first")
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    fresh.mkdir()
    writer = StoreWriter(fresh)
    try:
        yield writer
        os.replace(fresh, folder)
    finally:
        writer.close()
        shutil.rmtree(fresh, ignore_errors=True)


@dataclass(frozen=True)
class Store:
    """A folder that was opened. arrays: read-only mapped files by name."""

    folder: Path
    encoder_hash: str
    arrays: dict[str, Array] = field(repr=False)

    def group(self, prefix: str) -> dict[str, Array]:
        """The arrays named "<prefix>/...", by what follows."""
        start = f"{prefix}/"
        return {name.removeprefix(start): a for name, a in self.arrays.items() if name.startswith(start)}

    @property
    def examples(self) -> Examples:
        """The training rows; nothing of them is read before it is used."""
        own = self.arrays
        return Examples(
            self.group("query"), own["candidates"], self.group("labels"), own["weights"], own["users"]
        )


def open_store(folder: Path) -> Store:
    """The store in a folder. DataError names a file that is missing, cut short or not what was written."""
    path = folder / MANIFEST
    if not path.is_file():
        raise DataError(f"{folder} holds no encoded data: there is no {MANIFEST}", hint=_AGAIN)
    try:
        plain = json.loads(path.read_text("utf-8"))
        if plain["format"] != FORMAT:
            raise DataError(f"{path} has the format {plain['format']!r}, expected {FORMAT}", hint=_AGAIN)
        arrays = {name: _checked(folder, listed) for name, listed in plain["arrays"].items()}
        rows, encoder_hash = int(plain["rows"]), str(plain["encoder"])
        store = Store(folder, encoder_hash, arrays)
        lengths = {"candidates", "weights", "users"} | {
            name for name in arrays if name.startswith(("query/", "labels/"))
        }
        for name in sorted(lengths):
            if len(arrays[name]) != rows:
                raise DataError(f"{path}: {name} has {len(arrays[name])} rows, expected {rows}", hint=_AGAIN)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path} is damaged: {error!r}", hint=_AGAIN) from error
    return store


def _checked(folder: Path, listed: dict[str, Any]) -> Array:
    path = folder / Path(listed["file"]).name
    if not path.is_file():
        raise DataError(f"{path} is missing", hint=_AGAIN)
    try:
        array = _mapped(path)
    except (ValueError, OSError) as error:
        raise DataError(f"{path} is damaged: {error}", hint=_AGAIN) from error
    expected = (listed["dtype"], tuple(listed["shape"]))
    if (array.dtype.str, array.shape) != expected:
        raise DataError(
            f"{path} holds {array.dtype.str} {array.shape}, the manifest says {expected[0]} {expected[1]}",
            hint=_AGAIN,
        )
    return array


def _mapped(path: Path) -> Array:
    """A .npy file, mapped read-only; ValueError where its size is not what its header says."""
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise ValueError(f"a .npy file of version {version}")
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        size = file.tell() + dtype.itemsize * int(np.prod(shape, dtype=np.int64))
    if dtype.hasobject or path.stat().st_size != size:
        raise ValueError(f"{path.stat().st_size} bytes, expected {size}")
    if 0 in shape:
        return np.zeros(shape, dtype)
    array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    return array
