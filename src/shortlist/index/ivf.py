"""Inverted lists of short codes, by faiss: which items lie near a query, found in a few lists.

Vectors are divided into lists by their nearest centre (k-means). Within a list each keeps half a byte a
number, the nearest of 16 levels of what is left after the centre. Codes of 32 vectors lie side by side, so
that one instruction looks up many (faiss `IndexIVFPQFastScan`; Andre, Kermarrec and Le Scouarnec, "Cache
locality is not enough", VLDB 2015). A query looks into the lists whose centres it scores highest. Scores by
such codes are rough: who asks fetches more than it needs and scores that exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from shortlist._typing import Array, Bools, Floats, Ints, Longs
from shortlist.errors import MissingExtra
from shortlist.index.rows import blocks

LEVELS = 16
_OLDEST = (1, 13)  # 1.10 to 1.12 search lists of such codes and find the wrong items
_STAGES = ((50, 8), (200, 4))  # vectors a centre that k-means looks at, and rounds: first few, then many
_ADDED = 1 << 16  # vectors added at once


def faiss() -> Any:
    """The package. Raises MissingExtra where it is not installed, or one that finds the wrong items."""
    try:
        import faiss as package
    except ImportError as error:
        raise MissingExtra("faiss-cpu", "ann", "an approximate index") from error
    if tuple(int(part) for part in package.__version__.split(".")[:2]) < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        raise MissingExtra(f"faiss-cpu>={oldest}", "ann", "an approximate index")
    return package


@contextmanager
def one_thread() -> Iterator[Any]:
    """faiss, on one thread: the setting is the calling thread's own, and is put back."""
    package = faiss()
    before = package.omp_get_max_threads()
    package.omp_set_num_threads(1)
    try:
        yield package
    finally:
        package.omp_set_num_threads(before)


@lru_cache(64)
def _settings(nprobe: int) -> Any:
    """Of a search among all vectors: to make them takes longer than to read a list."""
    return faiss().SearchParametersIVF(nprobe=nprobe)


@dataclass(frozen=True, eq=False)
class Lists:
    """Inverted lists of the vectors 0..M-1. They never change, and threads may search them at once.

    inner: faiss' IndexIVFPQFastScan, or its IndexIVFScalarQuantizer in bundles of before. centres [L, d].
    list_of: the list of each vector [M]. file: the codes it was read from, mapped, whatever becomes of their
    name. held: what faiss looks at and does not own.
    """

    inner: Any = field(repr=False)
    centres: Floats = field(repr=False)
    list_of: Array = field(repr=False)
    file: Array | None = field(default=None, repr=False)
    held: Any = field(default=None, repr=False)

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
        What one query finds does not depend on the others.

        bits: uint8, one bit a vector, the lowest first, set where it may be found. open_lists: bool [L],
        lists worth looking into, where not all are.
        """
        asked = np.ascontiguousarray(queries, np.float32)
        found = np.full((len(asked), k), -1, np.int64)
        some = self.num_lists if open_lists is None else int(np.count_nonzero(open_lists))
        width = min(nprobe, some)
        if not width or not len(asked):
            return found
        lists, near = self._nearest(asked, width, open_lists)
        scores = np.empty((len(asked), k), np.float32)
        with one_thread() as package:
            at = package.swig_ptr
            settings = _settings(width)
            if bits is not None:
                selector = package.IDSelectorBitmap(bits)
                settings = package.SearchParametersIVF(nprobe=width, sel=selector)
            self.inner.search_preassigned_c(
                len(asked), at(asked), k, at(lists), at(near), at(scores), at(found), False, settings
            )
        return found

    def _nearest(self, asked: Floats, width: int, open_lists: Bools | None) -> tuple[Longs, Floats]:
        """The lists [b, width] whose centres score highest, and their scores."""
        near = np.empty((len(asked), self.num_lists), np.float32)
        for query, scores in zip(asked, near, strict=True):  # one product for all would have other last bits
            np.matmul(self.centres, query, out=scores)
        if open_lists is not None:
            near[:, ~open_lists] = -np.inf
        lists = np.argpartition(near, self.num_lists - width, axis=1)[:, self.num_lists - width :]
        lists = np.ascontiguousarray(lists, np.int64)
        return lists, np.take_along_axis(near, lists, 1)


def build_lists(vectors: Floats, num_lists: int = 0, seed: int = 0) -> Lists:
    """Lists of vectors [M, d], which may be mapped; 2 sqrt(M) of them unless told.

    k-means looks at a sample, vectors are added in blocks: memory is that of the result, the sample and a
    block.
    """
    size = len(vectors)
    count = num_lists or max(1, min(round(2 * size**0.5), size // 10))
    order = np.random.default_rng(seed).permutation(size)
    with one_thread() as package:
        centres = np.zeros((0, vectors.shape[1]), np.float32)
        for share, rounds in _STAGES:
            some = np.ascontiguousarray(vectors[np.sort(order[: share * count])])
            centres = _centres(package, some, count, rounds, seed + 1, centres)
        if len(centres) < count:
            count = len(centres)
        flat = package.IndexFlatIP(vectors.shape[1])
        flat.add(centres)
        inner = fast_lists(package, flat, count)
        inner.train(some if len(some) >= LEVELS else np.resize(some, (LEVELS, some.shape[1])))
        for part in blocks(size, _ADDED):
            inner.add(np.ascontiguousarray(vectors[part]))
        list_of = np.empty(size, np.uint16 if count < 1 << 16 else np.int32)
        for number in range(count):
            held = inner.invlists.list_size(number)
            if held:
                list_of[package.rev_swig_ptr(inner.invlists.get_ids(number), held)] = number
    return Lists(inner, centres, list_of)


def fast_lists(package: Any, flat: Any, count: int) -> Any:
    """faiss' index of so many lists, which owns the centres in `flat` from here on."""
    inner = package.IndexIVFPQFastScan(flat, flat.d, count, flat.d, 4, package.METRIC_INNER_PRODUCT)
    inner.by_residual, inner.pq.cp.min_points_per_centroid = True, 1
    flat.this.disown()
    inner.own_fields = True
    return inner


def _centres(package: Any, some: Floats, count: int, rounds: int, seed: int, before: Floats) -> Floats:
    """Centres of vectors, `count` or fewer, from those there were before. Those that are nearest to none are
    left out: vectors that repeat leave such centres, which would be looked into first."""
    settings = package.ClusteringParameters()
    settings.niter, settings.seed, settings.min_points_per_centroid = rounds, seed, 1
    settings.spherical, settings.max_points_per_centroid = True, max(1, len(some))
    count = len(before) or count
    clusters = package.Clustering(some.shape[1], count, settings)
    if len(before):
        package.copy_array_to_vector(before.reshape(-1), clusters.centroids)
    flat = package.IndexFlatIP(some.shape[1])
    clusters.train(some, flat)
    found: Floats = package.vector_to_array(clusters.centroids).reshape(count, -1)
    flat.reset()
    flat.add(found)
    used: Floats = found[np.unique(flat.search(some, 1)[1])]
    return used


def bits_of(mask: Bools) -> Array:
    """A mask as faiss reads it: one bit each, the lowest first."""
    return np.packbits(mask, bitorder="little")


def cleared(bits: Array, positions: Ints | Longs) -> Array:
    """A copy with the bits of these positions unset."""
    out, at = bits.copy(), np.asarray(positions, np.int64)
    np.bitwise_and.at(out, at >> 3, ~(np.uint8(1) << (at & 7).astype(np.uint8)))
    return out
