"""Item vectors as snapshots: rows that are mapped and never written, and what has changed since beside them.

A change makes a new snapshot that shares the rows; only what changed is copied.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import DTypeLike

from shortlist._typing import Array, Bools, Floats, Ints, Longs, Relation
from shortlist.errors import DataError

_TILE = 8192  # rows multiplied at once
_CACHED = 1 << 16  # numbers worked on at once: 256 KiB, little enough for the allocator to keep
_SMALL, _LARGE = 1e-30, 1e30  # sums of powers that have lost nothing


def _none() -> Longs:
    return np.zeros(0, np.int64)


@dataclass(frozen=True, eq=False)
class Rows:
    """Vectors [N, d] of the positions 0..N-1.

    base: float32 [M, d], possibly mapped, M <= N. places: int64 [m], ascending, the positions whose vectors
    are those of `fresh` [m, d] instead; all from M on are among them. removed: int64, ascending, positions
    that are no item any more.
    """

    base: Floats = field(repr=False)
    fresh: Floats = field(repr=False)
    places: Longs = field(default_factory=_none, repr=False)
    removed: Longs = field(default_factory=_none, repr=False)
    _longest: list[float] = field(default_factory=list, repr=False)  # of the base, once it is known

    @classmethod
    def of(cls, vectors: Floats) -> Rows:
        """Rows as they are. DataError where they are no float32 [N, d]."""
        if vectors.ndim != 2 or vectors.dtype != np.float32:
            raise DataError(f"item vectors must be float32 [N, d], not {vectors.dtype} {vectors.shape}")
        return cls(vectors, np.zeros((0, vectors.shape[1]), np.float32))

    def __len__(self) -> int:
        return max(len(self.base), int(self.places[-1]) + 1 if len(self.places) else 0)

    @property
    def width(self) -> int:
        """Numbers a vector."""
        return int(self.base.shape[1])

    @cached_property
    def longest(self) -> float:
        """Length of the longest vector, of those that have been replaced too; 0 of none."""
        if not self._longest:  # snapshots share it: the base is read once
            self._longest.append(_longest(self.base))
        return max(self._longest[0], _longest(self.fresh))

    def longest_of(self, vectors: Floats) -> float:
        """At least the length of the longest of some of the vectors: all are read for it only once."""
        return self.longest if self._longest else _longest(vectors)

    # As NumPy sees it

    ndim = 2
    dtype = np.dtype(np.float32)

    @property
    def shape(self) -> tuple[int, int]:
        return len(self), self.width

    @property
    def T(self) -> Floats:
        return np.asarray(self).T

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        """All vectors [N, d]; the rows themselves where nothing has changed."""
        whole = self.vectors(np.arange(len(self))) if len(self.places) else np.asarray(self.base)
        if copy and whole is self.base:
            whole = whole.copy()
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def __getitem__(self, at: Longs | slice) -> Floats:
        """The vectors of positions, or of a slice of them."""
        if not len(self.places):
            return np.asarray(self.base[at])
        return self.vectors(np.arange(len(self))[at])

    def vectors(self, positions: Longs) -> Floats:
        """The vectors of these positions [n, d]. DataError for one outside 0..N-1."""
        at = np.asarray(positions, np.int64)
        _require_inside(at, len(self))
        if not len(self.places):
            return np.take(self.base, at, axis=0)  # in half the time of an index
        place = np.minimum(np.searchsorted(self.places, at), len(self.places) - 1)
        changed = self.places[place] == at
        out = np.empty((len(at), self.width), np.float32)
        out[~changed] = self.base[at[~changed]]
        out[changed] = self.fresh[place[changed]]
        return out

    def updated(self, places: Longs, vectors: Floats) -> Rows:
        """A snapshot with these vectors [m, d] at these places [m], of which the last one given counts.

        Places from N on are appended and leave no gap. Raises DataError for negative or missing places,
        shapes that do not fit and vectors that are not finite.
        """
        at, new = np.asarray(places, np.int64), np.asarray(vectors, np.float32)
        if new.shape != (len(at), self.width):
            raise DataError(f"{len(at)} places need vectors ({len(at)}, {self.width}), not {new.shape}")
        if not np.isfinite(new).all():
            row = int(np.argmin(np.isfinite(new).all(axis=1)))
            raise DataError(f"the vector of item {at[row]} is not finite")
        added = np.unique(at[at >= len(self)])
        if (at < 0).any() or not np.array_equal(added, np.arange(len(self), len(self) + len(added))):
            raise DataError(f"places must be 0..{len(self) - 1}, or go on from {len(self)} without a gap")
        both = np.concatenate([self.places, at])
        kept, last = np.unique(both[::-1], return_index=True)
        fresh = np.concatenate([self.fresh, new])[len(both) - 1 - last]
        return replace(self, fresh=fresh, places=kept, removed=np.setdiff1d(self.removed, at))

    def without(self, places: Longs) -> Rows:
        """A snapshot in which these places are no items. DataError for one outside 0..N-1."""
        at = np.asarray(places, np.int64)
        _require_inside(at, len(self))
        return replace(self, removed=np.union1d(self.removed, at))

    def scores(self, queries: Floats, out: Floats | None = None) -> Floats:
        """Inner products [b, N] of queries [b, d] with all rows, the removed among them; written to `out`
        where one is given."""
        if len(queries) == 1 and not len(self.places):
            return np.matmul(queries, self.base.T, out=out)
        if out is None:
            out = np.empty((len(queries), len(self)), np.float32)
        for part in blocks(len(self.base), _TILE):  # faster than one product over millions of rows
            np.matmul(queries, self.base[part].T, out=out[:, part])
        if len(self.places):
            out[:, self.places] = queries @ self.fresh.T
        return out

    def present(self, allow: Bools | None) -> Bools | None:
        """Positions that may be returned [N]: allowed, and not removed. None: all."""
        if not len(self.removed):
            return allow
        mask = np.ones(len(self), np.bool_) if allow is None else allow.copy()
        mask[self.removed] = False
        return mask


def _longest(vectors: Floats) -> float:
    """Length of the longest vector [n, d], whatever its size; those that are not finite do not count."""
    most = 0.0
    for part in blocks(len(vectors), _TILE):
        wide = vectors[part].astype(np.float64)
        squares = np.einsum("nd,nd->n", wide, wide)
        most = max(most, float(squares.max(initial=0, where=np.isfinite(squares))))
    return float(most**0.5)


def _require_inside(at: Longs, size: int) -> None:
    if at.size and not (at.min() >= 0 and at.max() < size):
        wrong = at[(at < 0) | (at >= size)][0]
        raise DataError(f"there is no item at {wrong}: positions are 0..{size - 1}")


def pairs(relation: Relation, rows: slice) -> tuple[Longs, Ints]:
    """The (row, item) pairs of these rows of a relation, rows counted from the first of them."""
    bounds = relation.indptr[rows.start : rows.stop + 1]
    row = np.repeat(np.arange(len(bounds) - 1), bounds[1:] - bounds[:-1])
    return row, relation.indices[bounds[0] : bounds[-1]]


def blocks(num_rows: int, height: int) -> Iterator[slice]:
    """Slices of so many rows."""
    for start in range(0, num_rows, height):
        yield slice(start, min(start + height, num_rows))


def log_sum_exp(scores: Array) -> Floats:
    """log sum exp of each row [b, N] -> [b]; -inf where all are."""
    total = np.empty(len(scores), np.float32)
    height = max(1, _CACHED // max(1, scores.shape[1]))
    for part in blocks(len(scores), height):
        with np.errstate(over="ignore", divide="ignore"):
            sums = np.exp(scores[part]).sum(axis=1)
            total[part] = np.log(sums)
        lost = np.flatnonzero(~((sums > _SMALL) & (sums < _LARGE)))
        if len(lost):  # beyond what powers can hold: relative to the largest
            total[lost + part.start] = _shifted(scores[part][lost])
    return total


def _shifted(scores: Array) -> Floats:
    largest = scores.max(axis=1, initial=-np.inf)
    shift = np.where(np.isfinite(largest), largest, 0).astype(scores.dtype)
    with np.errstate(divide="ignore"):
        return np.asarray(shift + np.log(np.exp(scores - shift[:, None]).sum(axis=1)), np.float32)
