"""What lies in items/ and users/: whether its numbers and texts are of the lengths and types they must be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from shortlist._typing import Array
from shortlist.pipeline.recommender import Recommender
from shortlist.state.past import Past


def problems(folder: Path, recommender: Recommender) -> Iterator[str]:
    """What is wrong, naming the file."""
    items, users = recommender.items, recommender.users
    arrays: dict[str, tuple[Array, int | None, str, int]] = {
        "items/log_popularity.npy": (items.log_popularity, len(items), "f", 1),
        "users/seen_indptr.npy": (users.seen.indptr, len(users) + 1, "i", 1),
        "users/seen_indices.npy": (users.seen.indices, None, "i", 1),
    }
    for name in ("item_vectors", "item_representations"):
        if (array := getattr(recommender, name)) is not None:
            arrays[f"items/{name}.npy"] = (array, len(items), "f4", 2)
    if items.retired is not None:
        arrays["items/retired.npy"] = (items.retired, len(items), "b", 1)
    for name, (array, length, kind, ndim) in arrays.items():
        yield from _of_array(folder / name, array, length, kind, ndim)
    for place, owner in (("items", items), ("users", users)):
        for name, column in owner.columns.items():
            if len(column) != len(owner):
                yield f"{folder / place / 'columns'}: {name!r} has {len(column)} rows, expected {len(owner)}"
            if column.dtype.kind == "O" and (odd := _no_text(column)):
                yield f"{folder / place / 'columns/columns.json'}: {name!r} holds {odd}, which is no text"
    yield from _of_rows(folder, "users/seen_", users.seen.indptr, users.seen.indices, len(items))
    if _falls(users.seen.indices, users.seen.indptr, 1).any():
        yield f"{folder / 'users/seen_indices.npy'} lists a user's items out of order, or twice"
    if users.past is not None:
        yield from _of_past(folder, users.past, len(users), len(items))


def _of_array(path: Path, array: Array, length: int | None, kind: str, ndim: int) -> Iterator[str]:
    """kind: of a dtype, and its size where that must be one."""
    described = f"{array.dtype.kind}{array.dtype.itemsize}"
    if not described.startswith(kind) or array.ndim != ndim or not array.dtype.isnative:
        yield f"{path} holds {array.dtype} in {array.ndim} dimensions, expected kind {kind!r} in {ndim}"
    if not array.flags.c_contiguous:
        yield f"{path} lies in columns, expected rows"
    if length is not None and len(array) != length:
        yield f"{path} has {len(array)} rows, expected {length}"
    if kind[0] == "f" and not np.isfinite(array).all():
        yield f"{path} holds numbers that are not finite"


def _no_text(column: Array) -> str:
    """The first value that is none, shown; "" where all are texts."""
    return next((repr(value)[:80] for value in column.ravel().tolist() if not isinstance(value, str)), "")


def _of_rows(folder: Path, prefix: str, indptr: Array, items: Array, num_items: int) -> Iterator[str]:
    """Positions of items, in rows that a pointer marks off."""
    name = "indices" if prefix.endswith("_") else "items"
    if not len(indptr) or indptr[0] != 0 or (np.diff(indptr) < 0).any() or indptr[-1] != len(items):
        yield f"{folder}/{prefix}indptr.npy: these are no rows of {name}.npy"
    if len(items) and not 0 <= items.min() <= items.max() < num_items:
        at = items.max() if items.max() >= num_items else items.min()
        yield f"{folder}/{prefix}{name}.npy names item {at} of {num_items}"


def _of_past(folder: Path, past: Past, num_users: int, num_items: int) -> Iterator[str]:
    log, place = past.log, folder / "users" / "past"
    for name, array, length, kind in (
        ("indptr", log.indptr, num_users + 1, "i"),
        ("items", log.items, None, "i"),
        ("times", log.times, len(log.items), "i"),
        ("ratings", log.ratings, len(log.items), "f"),
    ):
        if array is not None:
            yield from _of_array(place / f"{name}.npy", array, length, kind, 1)
    yield from _of_rows(folder, "users/past/", log.indptr, log.items, num_items)
    if _falls(log.times, log.indptr).any():
        yield f"{place / 'times.npy'} goes back in time within a user"
    about: tuple[Any, Any] = past.mean, past.timed  # as they came from JSON
    if not isinstance(about[0], int | float) or not isinstance(about[1], bool):
        yield f"{place / 'about.json'} holds mean {about[0]!r} and timed {about[1]!r}"


def _falls(values: Array, indptr: Array, least: int = 0) -> Array:
    """Where a value is not at least so much above the one before it in its row."""
    falls: Array = np.diff(values) < least
    starts = indptr[(indptr > 0) & (indptr < len(values))]
    falls[starts - 1] = False
    return falls
