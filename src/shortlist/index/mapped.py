"""Inverted lists in files: plain arrays, and one file of codes and ids that processes share by mapping it.

`codes.bin` holds list after list: the codes of its vectors as faiss packs them, 32 at a time, half a byte a
number, the last 32 filled up; then the position of each in the catalogue, int64, filled up too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from shortlist._typing import Array, Longs
from shortlist.errors import BundleCorrupted
from shortlist.index.ivf import LEVELS, Lists, faiss, fast_lists
from shortlist.state.storage import load_array, save_array

CODES, CENTRES, STEPS, LIST_OF = "codes.bin", "centres.npy", "levels.npy", "list_of.npy"
BEFORE = "lists.faiss"  # one byte a number, in bundles of before
_PACKED = 32  # vectors
_ID = 8  # bytes


def save_lists(lists: Lists, folder: Path) -> None:
    """Write the files of lists."""
    save_array(folder / LIST_OF, lists.list_of)
    if hasattr(lists.inner, "sq"):
        _save_before(lists, folder / BEFORE)
        return
    package = faiss()
    levels = package.vector_to_array(lists.inner.pq.centroids)
    save_array(folder / STEPS, levels.reshape(lists.centres.shape[1], LEVELS))
    save_array(folder / CENTRES, lists.centres)
    if lists.file is not None:  # where it lies may be another file by now
        lists.file.tofile(folder / CODES)
        return
    each, held = lists.inner.code_size, lists.inner.invlists
    with (folder / CODES).open("wb") as file:
        for number in range(lists.num_lists):
            size = held.list_size(number)
            room = _filled(size)
            if size:
                ids = np.zeros(room, np.int64)
                ids[:size] = package.rev_swig_ptr(held.get_ids(number), size)
                package.rev_swig_ptr(held.get_codes(number), room * each).tofile(file)
                ids.tofile(file)


def load_lists(folder: Path) -> Lists:
    """Lists that were saved, mapped: processes that load them share their pages.

    Raises BundleCorrupted where files do not hold lists that belong together, OSError where one is missing.
    """
    list_of = load_array(folder / LIST_OF)
    if list_of.ndim != 1 or list_of.dtype.kind not in "iu":
        raise BundleCorrupted(
            f"{folder / LIST_OF} holds {list_of.dtype} in {list_of.ndim} dimensions, expected lists' numbers"
        )
    if (folder / BEFORE).is_file():
        return _load_before(folder / BEFORE, list_of)
    package, path = faiss(), folder / CODES
    centres, levels = load_array(folder / CENTRES), load_array(folder / STEPS)
    if centres.ndim != 2 or levels.shape != (centres.shape[1], LEVELS) or not len(centres):
        raise BundleCorrupted(f"{folder}: centres {centres.shape} and levels {levels.shape} are of no index")
    if centres.dtype != np.float32 or levels.dtype != np.float32:
        raise BundleCorrupted(f"{folder}: {CENTRES} and {STEPS} hold other numbers than float32")
    if len(list_of) and not 0 <= list_of.min() <= list_of.max() < len(centres):
        raise BundleCorrupted(f"{folder / LIST_OF} names a list that is none of {len(centres)}")
    file = _bytes(path)
    sizes = np.bincount(list_of, minlength=len(centres)).astype(np.int64)
    flat = package.IndexFlatIP(centres.shape[1])
    flat.add(np.ascontiguousarray(centres, np.float32))
    inner = fast_lists(package, flat, len(centres))
    expected = int(_filled(sizes).sum()) * (inner.code_size + _ID)
    if len(file) != expected:
        raise BundleCorrupted(
            f"{path} has {len(file):,} bytes, but {len(list_of):,} vectors in"
            f" {len(centres):,} lists take {expected:,}"
        )
    package.copy_array_to_vector(np.ascontiguousarray(levels, np.float32).reshape(-1), inner.pq.centroids)
    inner.is_trained, inner.ntotal = True, len(list_of)
    held = _mapped(package, path, sizes, inner.code_size)
    inner.replace_invlists(held, False)
    return Lists(inner, centres, list_of, file, held)


def _bytes(path: Path) -> Array:
    """What a file holds, mapped. BundleCorrupted for an empty one, which cannot be."""
    if not path.stat().st_size:
        raise BundleCorrupted(f"{path} is empty")
    return np.memmap(path, np.uint8, "r")


def _mapped(package: Any, path: Path, sizes: Longs, each: int) -> Any:
    """Lists of these sizes, where faiss finds them in the file."""
    held, places = package.OnDiskInvertedLists(), package.OnDiskOneListVector()
    rooms = _filled(sizes)
    starts = np.cumsum(rooms) - rooms
    for size, room, start in zip(sizes.tolist(), rooms.tolist(), starts.tolist(), strict=True):
        one = package.OnDiskOneList()
        one.size, one.capacity, one.offset = size, room, start * (each + _ID)
        places.push_back(one)
    held.nlist, held.code_size, held.lists = len(sizes), each, places
    held.filename, held.read_only = str(path), True
    held.totsize = path.stat().st_size
    held.prefetch_nthread = 0  # else 32 threads a search
    held.do_mmap()
    return held


def _filled(sizes: Any) -> Any:
    """Room for so many vectors, in whole blocks."""
    return -(-sizes // _PACKED) * _PACKED


def _save_before(lists: Lists, path: Path) -> None:
    if lists.file is None:
        faiss().write_index(lists.inner, str(path))
    else:  # faiss would write where the mapped file lies instead of what is in it
        lists.file.tofile(path)


def _load_before(path: Path, list_of: Array) -> Lists:
    """Lists of one byte a number (faiss `IVF,SQ8`)."""
    package = faiss()
    file = _bytes(path)
    try:
        inner = package.read_index(str(path), package.IO_FLAG_MMAP | package.IO_FLAG_READ_ONLY)
        package.downcast_InvertedLists(inner.invlists).prefetch_nthread = 0  # else 32 threads a search
        centres = package.downcast_index(inner.quantizer).reconstruct_n(0, inner.nlist)
    except (RuntimeError, AttributeError) as error:
        raise BundleCorrupted(f"{path} holds no inverted lists") from error
    if len(list_of) != inner.ntotal:
        raise BundleCorrupted(f"{path} holds {inner.ntotal} vectors, {path.parent / LIST_OF} {len(list_of)}")
    return Lists(inner, centres, list_of, file)
