"""Array aliases and the few protocols that let the learning and the serving column meet.

Shape letters used in docstrings: n rows, b queries of a batch, N items of the catalogue,
U users, d vector width, r representation width, k a cut-off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pathlib import Path

Array = NDArray[Any]
Ints = NDArray[np.int32]
Longs = NDArray[np.int64]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]

Columns = dict[str, Array]
"""A table as NumPy columns: strings as object arrays ("" missing), int64 (smallest value missing),
float64 (NaN missing), multi-valued strings as object [n, L] padded with "", vectors as float32 [n, size]
(a missing row is all NaN)."""

MISSING_INT = int(np.iinfo(np.int64).min)


class Scorer(Protocol):
    """A trained model seen from outside: raw columns in, arrays out. JAX and ONNX both meet it."""

    def encode_query(self, columns: Any) -> tuple[Floats, Floats | None]:
        """Query representations [b, r] and, where the model retrieves, query vectors [b, d], of Columns whose
        lists of past items may be coded (`data.coded.Table`)."""
        ...

    def encode_candidate(self, columns: Any) -> tuple[Floats, Floats | None]:
        """Candidate representations [n, r] and, where the model retrieves, item vectors [n, d]."""
        ...

    def predict(
        self,
        query: Floats,
        candidate: Floats,
        aggregates: dict[str, Floats] | None = None,
        rows: Longs | None = None,
    ) -> dict[str, Floats]:
        """One output [n] a head (such as "rating") for pairs of representations [n, r] and the aggregates
        [n, F] of heads that have any.

        rows: int64 [b, k], the candidates of each query, as rows of candidate [m, r] beside query [b, r] and
        aggregates [b, k, F]: outputs are [b, k]. What a side alone decides is then computed once.
        """
        ...


class Relation(Protocol):
    """Items of each row, compressed: those of row i are indices[indptr[i]:indptr[i+1]], without repeats.
    `state.seen.Seen` is one."""

    @property
    def indptr(self) -> Longs: ...

    @property
    def indices(self) -> Ints: ...


class Found(NamedTuple):
    """What a search found for each of b queries, by score descending, then position ascending.

    positions [b, k]: rows of the catalogue, -1 where none is left. scores [b, k]: inner products and the
    bonus, -inf there. Where k is more than there are rows, they are as many columns as there are rows. log_z
    [b]: log sum exp of the scores of all items, where it was asked for.
    """

    positions: Ints
    scores: Floats
    log_z: Floats | None = None


class Index(Protocol):
    """Item vectors that can be searched: a snapshot that never changes, so that threads may share it."""

    @property
    def kind(self) -> str:
        """How it searches: "exact" or "ann"."""
        ...

    @property
    def removed(self) -> Longs:
        """Positions that are never returned, ascending."""
        ...

    def __len__(self) -> int:
        """Positions there are, the removed among them."""
        ...

    def search(
        self,
        queries: Floats,
        k: int,
        *,
        allow: Bools | None = None,
        exclude: Relation | None = None,
        bonus: tuple[Relation, float] | None = None,
        log_z: bool = False,
    ) -> Found:
        """The k items of highest score for each query [b, d], filters applied inside.

        allow: bool [N], True where an item may be returned. exclude: row i holds what query i must not get.
        bonus: row i holds the items whose score for query i is so much more. log_z: also give log sum exp of
        all scores, the bonus included, whatever the filters; an approximate index estimates it.
        """
        ...

    def log_z(self, queries: Floats, bonus: tuple[Relation, float] | None = None) -> Floats:
        """The same log sum exp [b] without a search."""
        ...

    def updated(self, places: Longs, vectors: Floats) -> Index:
        """A snapshot with other rows at these places [m]; those from len(self) on are appended."""
        ...

    def without(self, places: Longs) -> Index:
        """A snapshot that never returns these places, until they are updated."""
        ...

    def vectors(self, positions: Longs) -> Floats:
        """The items' vectors [n, d], exact."""
        ...

    def save(self, folder: Path) -> None:
        """Write what `shortlist.index.load` needs beside the item vectors."""
        ...

    def describe(self) -> dict[str, Any]:
        """Plain values: kind, items, how it was made and what was measured of it."""
        ...
