"""What lies in items/ and users/: whether its numbers and texts are of the lengths and types they must be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from shortlist._typing import Array, Columns
from shortlist.bundle.manifest import Manifest
from shortlist.features.columns import ColumnType
from shortlist.features.schema import Schema
from shortlist.pipeline.recommender import Recommender
from shortlist.state.catalogue import Items
from shortlist.state.users import Users

_MADE = {"item_vectors": ("retrieval", "vector"), "item_representations": ("ranking", "representation")}
"""The part, where there is no "model", and the output of its candidate graph that arrays were made by."""
_STORED: dict[ColumnType, set[tuple[bool, str]]] = {
    "string": {(False, "O8")},
    "int": {(False, "i8")},
    "float": {(False, "f8"), (False, "i8")},
    "strings": {(True, "O8")},
    "vector": {(True, "f8"), (True, "f4")},
    "ints": {(True, "i8")},
    "floats": {(True, "f8"), (True, "f4")},
}
"""How columns of each type lie on disk: whether as lists, and the kind and size of their values."""


def misfits(
    folder: Path,
    manifest: Manifest,
    items: Items,
    users: Users,
    schema: Schema,
    vectors: Mapping[str, Array | None],
) -> Iterator[str]:
    """What is of another length or type than it must be, or names an item that is not there, naming the file:
    what an answer would otherwise fail on. Of the numbers only positions are looked at, which is quick.
    vectors: of items, by the name of their file."""
    yield from _of_array(folder / "items/log_popularity.npy", items.log_popularity, len(items), "f", 1)
    for name, array in vectors.items():
        if array is not None:
            yield from _of_array(folder / f"items/{name}.npy", array, len(items), "f4", 2)
            yield from _of_width(folder / f"items/{name}.npy", array, manifest, *_MADE[name])
    if items.retired is not None:
        yield from _of_array(folder / "items/retired.npy", items.retired, len(items), "b", 1)
    yield from _of_columns(folder / "items/columns/columns.json", items.columns, len(items), schema.candidate)
    yield from misfits_of_users(folder, users, len(items), schema.query)


def misfits_of_users(
    folder: Path, users: Users, num_items: int, kinds: Mapping[str, ColumnType]
) -> Iterator[str]:
    """The same of what lies in users/. kinds: of the columns a model reads."""
    yield from _of_columns(folder / "users/columns/columns.json", users.columns, len(users), kinds)
    yield from _of_array(folder / "users/seen_indptr.npy", users.seen.indptr, len(users) + 1, "i", 1)
    yield from _of_array(folder / "users/seen_indices.npy", users.seen.indices, None, "i", 1)
    yield from _of_rows(folder, "users/seen_", users.seen.indptr, users.seen.indices, num_items)
    if users.past is not None:
        log, place = users.past.log, folder / "users" / "past"
        yield from _of_array(place / "indptr.npy", log.indptr, len(users) + 1, "i", 1)
        yield from _of_array(place / "items.npy", log.items, None, "i", 1)
        yield from _of_array(place / "times.npy", log.times, len(log.items), "i", 1)
        if log.ratings is not None:
            yield from _of_array(place / "ratings.npy", log.ratings, len(log.items), "f", 1)
        yield from _of_rows(folder, "users/past/", log.indptr, log.items, num_items)


def problems(folder: Path, recommender: Recommender) -> Iterator[str]:
    """What else is wrong with a loaded bundle, naming the file: every number is looked at."""
    items, users = recommender.items, recommender.users
    numbers: dict[str, Array] = {"items/log_popularity.npy": items.log_popularity}
    for name in ("item_vectors", "item_representations"):
        if (array := getattr(recommender, name)) is not None:
            numbers[f"items/{name}.npy"] = array
    if users.past is not None and users.past.log.ratings is not None:
        numbers["users/past/ratings.npy"] = users.past.log.ratings
    for name, array in numbers.items():
        if not np.isfinite(array).all():
            yield f"{folder / name} holds numbers that are not finite"
    if _falls(users.seen.indices, users.seen.indptr, 1).any():
        yield f"{folder / 'users/seen_indices.npy'} lists a user's items out of order, or twice"
    if users.past is not None and _falls(users.past.log.times, users.past.log.indptr).any():
        yield f"{folder / 'users/past/times.npy'} goes back in time within a user"


def _of_array(path: Path, array: Array, length: int | None, kind: str, ndim: int) -> Iterator[str]:
    """kind: of a dtype, and its size where that must be one."""
    described = f"{array.dtype.kind}{array.dtype.itemsize}"
    if not described.startswith(kind) or array.ndim != ndim or not array.dtype.isnative:
        yield f"{path} holds {array.dtype} in {array.ndim} dimensions, expected kind {kind!r} in {ndim}"
    if not array.flags.c_contiguous:
        yield f"{path} lies in columns, expected rows"
    if length is not None and array.shape[:1] != (length,):
        yield f"{path} has {len(array) if array.ndim else 'no'} rows, expected {length}"


def _of_width(path: Path, array: Array, manifest: Manifest, part: str, output: str) -> Iterator[str]:
    """Vectors that are of another width than the graph makes them that made these, as far as that is said."""
    about = manifest.parts.get("model") or manifest.parts.get(part)
    for made in () if about is None else about.graphs["candidate"].outputs:
        width = made.shape[-1] if made.shape else None
        if made.name == output and isinstance(width, int) and array.shape[1] != width:
            yield f"{path} holds vectors of {array.shape[1]} numbers, candidate.onnx makes {width}"


def _of_columns(path: Path, columns: Columns, length: int, kinds: Mapping[str, ColumnType]) -> Iterator[str]:
    """kinds: of the columns a model reads; whole numbers may be stored of one that reads any."""
    for name, column in columns.items():
        lists, stored = column.ndim == 2, f"{column.dtype.kind}{column.dtype.itemsize}"
        if column.dtype.kind not in "Oif" or not column.dtype.isnative or column.ndim not in (1, 2):
            yield f"{path}: {name!r} is {column.dtype} in {column.ndim} dimensions, expected texts or numbers"
        elif len(column) != length:
            yield f"{path}: {name!r} has {len(column)} rows, expected {length}"
        elif (kind := kinds.get(name)) is not None and (lists, stored) not in _STORED[kind]:
            yield f"{path}: {name!r} is {column.dtype}{' lists' if lists else ''}, and the model reads {kind}"


def _of_rows(folder: Path, prefix: str, indptr: Array, items: Array, num_items: int) -> Iterator[str]:
    """Positions of items, in rows that a pointer marks off."""
    name = "indices" if prefix.endswith("_") else "items"
    if not len(indptr) or indptr[0] != 0 or (np.diff(indptr) < 0).any() or indptr[-1] != len(items):
        yield f"{folder}/{prefix}indptr.npy: these are no rows of {name}.npy"
    if len(items) and not 0 <= items.min() <= items.max() < num_items:
        at = items.max() if items.max() >= num_items else items.min()
        yield f"{folder}/{prefix}{name}.npy names item {at} of {num_items}"


def _falls(values: Array, indptr: Array, least: int = 0) -> Array:
    """Where a value is not at least so much above the one before it in its row."""
    falls: Array = np.diff(values) < least
    starts = indptr[(indptr > 0) & (indptr < len(values))]
    falls[starts - 1] = False
    return falls
