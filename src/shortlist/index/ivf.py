"""Inverted lists of vectors kept as bytes, by faiss: which items lie near a query, found in a few lists.

Vectors are divided into lists by their nearest centre (k-means); within a list each keeps one byte a number
(faiss `IVF,SQ8`: a quarter of float32). A query looks into the lists whose centres it scores highest.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from shortlist._typing import Array, Bools, Floats, Ints, Longs
from shortlist.errors import BundleCorrupted, MissingExtra
from shortlist.index.rows import blocks

_ROUNDS = 8  # of k-means; more gained no recall
_TRAINED = 50  # vectors a centre that k-means looks at
_ADDED = 1 << 16  # vectors added at once


def faiss() -> Any:
    """The package. Raises MissingExtra where it is not installed."""
    try:
        import faiss as package
    except ImportError as error:
        raise MissingExtra("faiss-cpu", "ann", "an approximate index") from error
    return package


@contextmanager
def _one_thread() -> Iterator[Any]:
    """faiss, on one thread: the setting is the calling thread's own, and is put back."""
    package = faiss()
    before = package.omp_get_max_threads()
    package.omp_set_num_threads(1)
    try:
        yield package
    finally:
        package.omp_set_num_threads(before)


@dataclass(frozen=True, eq=False)
class Lists:
    """Inverted lists of the vectors 0..M-1. They never change, and threads may search them at once.

    inner: faiss' IndexIVFScalarQuantizer. centres [L, d]. list_of: the list of each vector [M]. file: the
    bytes it was read from, mapped, whatever becomes of their name.
    """

    inner: Any = field(repr=False)
    centres: Floats = field(repr=False)
    list_of: Array = field(repr=False)
    file: Array | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.list_of)

    @property
    def num_lists(self) -> int:
        return len(self.centres)

    @property
    def num_bytes(self) -> int:
        """Of codes, ids, centres and lists' numbers."""
        each = int(self.inner.code_size) + 8 + self.list_of.itemsize
        return len(self) * each + self.centres.nbytes

    def probe(
        self, queries: Floats, k: int, nprobe: int, bits: Array | None = None, open_lists: Bools | None = None
    ) -> Longs:
        """Positions [b, k] of about the highest inner products in `nprobe` lists, -1 where there are fewer.

        bits: uint8, one bit a vector, the lowest first, set where it may be found. open_lists: bool [L],
        lists worth looking into, where not all are.
        """
        asked = np.ascontiguousarray(queries, np.float32)
        with _one_thread() as package:
            selector = None if bits is None else package.IDSelectorBitmap(bits)
            settings = package.SearchParametersIVF(nprobe=min(nprobe, self.num_lists), sel=selector)
            if open_lists is None:
                found: Longs = self.inner.search(asked, k, params=settings)[1]
                return found
            near = asked @ self.centres.T
            near[:, ~open_lists] = -np.inf
            width = min(nprobe, int(np.count_nonzero(open_lists)))
            lists = np.argpartition(-near, width - 1, axis=1)[:, :width].astype(np.int64)
            settings.nprobe = width
            found = np.empty((len(asked), k), np.int64)
            scores, near = np.empty((len(asked), k), np.float32), np.take_along_axis(near, lists, 1)
            at = package.swig_ptr
            self.inner.search_preassigned_c(
                len(asked), at(asked), k, at(lists), at(near), at(scores), at(found), False, settings
            )
        return found

    def save(self, folder: Path) -> None:
        """Write lists.faiss and list_of.npy."""
        path = folder / "lists.faiss"
        if self.file is None:
            faiss().write_index(self.inner, str(path))
        else:  # faiss would write where the mapped file lies instead of what is in it
            self.file.tofile(path)
        np.save(folder / "list_of.npy", self.list_of, allow_pickle=False)


def build_lists(vectors: Floats, num_lists: int = 0, seed: int = 0) -> Lists:
    """Lists of vectors [M, d], which may be mapped; 2 sqrt(M) of them unless told.

    k-means looks at a sample, vectors are added in blocks: memory is that of the result and a block.
    """
    size = len(vectors)
    count = num_lists or max(1, min(round(2 * size**0.5), size // 10))
    with _one_thread() as package:
        centres = package.IndexFlatIP(vectors.shape[1])
        kind, metric = package.ScalarQuantizer.QT_8bit, package.METRIC_INNER_PRODUCT
        inner = package.IndexIVFScalarQuantizer(centres, vectors.shape[1], count, kind, metric, True)
        inner.cp.niter, inner.cp.seed, inner.cp.min_points_per_centroid = _ROUNDS, seed + 1, 1
        some = np.sort(np.random.default_rng(seed).permutation(size)[: _TRAINED * count])
        trained = np.ascontiguousarray(vectors[some])
        inner.train(trained)
        used = np.unique(centres.search(trained, 1)[1])
        if (
            len(used) < count
        ):  # vectors that repeat leave centres without any, which would be looked into first
            count, found = len(used), _centres(package, inner)[used]
            centres = package.IndexFlatIP(vectors.shape[1])
            centres.add(found)
            inner = package.IndexIVFScalarQuantizer(centres, vectors.shape[1], count, kind, metric, True)
            inner.train(trained)
        for part in blocks(size, _ADDED):
            inner.add(np.ascontiguousarray(vectors[part]))
        centres.this.disown()  # the lists own it from here on
        inner.own_fields = True
        list_of = np.empty(size, np.uint16 if count < 1 << 16 else np.int32)
        for number in range(count):
            held = inner.invlists.list_size(number)
            if held:
                list_of[package.rev_swig_ptr(inner.invlists.get_ids(number), held)] = number
    return Lists(inner, _centres(package, inner), list_of)


def load_lists(folder: Path) -> Lists:
    """Lists that were saved, mapped: processes that load them share their pages.

    Raises BundleCorrupted where the file holds no such lists, OSError where it is missing.
    """
    package, path = faiss(), folder / "lists.faiss"
    file = np.memmap(path, np.uint8, "r")
    try:
        inner = package.read_index(str(path), package.IO_FLAG_MMAP | package.IO_FLAG_READ_ONLY)
        package.downcast_InvertedLists(inner.invlists).prefetch_nthread = 0  # else 32 threads a search
        centres = _centres(package, inner)
    except (RuntimeError, AttributeError) as error:
        raise BundleCorrupted(f"{path} holds no inverted lists") from error
    list_of = np.asarray(np.load(folder / "list_of.npy", mmap_mode="r", allow_pickle=False))
    if len(list_of) != inner.ntotal:
        raise BundleCorrupted(f"{path} holds {inner.ntotal} vectors, {folder / 'list_of.npy'} {len(list_of)}")
    return Lists(inner, centres, list_of, file)


def _centres(package: Any, inner: Any) -> Floats:
    found: Floats = package.downcast_index(inner.quantizer).reconstruct_n(0, inner.nlist)
    return found


def bits_of(mask: Bools) -> Array:
    """A mask as faiss reads it: one bit each, the lowest first."""
    return np.packbits(mask, bitorder="little")


def cleared(bits: Array, positions: Ints | Longs) -> Array:
    """A copy with the bits of these positions unset."""
    out, at = bits.copy(), np.asarray(positions, np.int64)
    np.bitwise_and.at(out, at >> 3, ~(np.uint8(1) << (at & 7).astype(np.uint8)))
    return out
