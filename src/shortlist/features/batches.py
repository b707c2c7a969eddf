"""Encoded rows as a trainer wants them: fixed shapes, seeded order, the last batch padded with weight 0."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from shortlist._typing import Array, Floats, Ints, Longs
from shortlist.data.coded import blocks
from shortlist.errors import DataError
from shortlist.features.encoder import Encoded

SPREAD_BYTES = 2**28
"""Tables of users by items may take so much."""
LARGEST = int(np.iinfo(np.int32).max)
"""What places of rows on the device count to."""


KNOWN = "@known"
"""Behind a label's name: 1 for rows that have the label, 0 for those that have none; only where some have
none."""


@dataclass(frozen=True)
class Examples:
    """n interactions, encoded.

    query: feature key -> array, one row an interaction. candidates: int32 [n] catalogue positions.
    labels: name -> float32 [n], 0 where a row has none (see KNOWN). weights: float32 [n]. users: int32 [n],
    rows of the seen sets (-1 unknown).
    past: int32 [n, 3], where rows stand among their users' distinct items in the order of time: how many come
    at an earlier second, how many there are, and which is the row's own. raters: the same among the distinct
    users of their items. aggregates: head -> float32 [n, F]. The arrays may be mapped files, larger than
    memory (`features.store`).
    """

    query: Encoded
    candidates: Ints
    labels: dict[str, Floats]
    weights: Floats
    users: Ints
    past: Ints | None = None
    raters: Ints | None = None
    aggregates: dict[str, Floats] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.candidates)

    def each(self, change: Callable[[Array], Array]) -> Examples:
        """The same with `change` made to every column, such as rows picked from it."""
        return Examples(
            {key: change(column) for key, column in self.query.items()},
            change(self.candidates),
            {name: change(column) for name, column in self.labels.items()},
            change(self.weights),
            change(self.users),
            None if self.past is None else change(self.past),
            None if self.raters is None else change(self.raters),
            {name: change(column) for name, column in self.aggregates.items()},
        )

    @property
    def nbytes(self) -> int:
        """Bytes of all columns, in memory or in a file."""
        columns = [self.candidates, self.weights, self.users, *self.query.values(), *self.labels.values()]
        columns += [x for x in (self.past, self.raters) if x is not None] + [*self.aggregates.values()]
        return sum(column.nbytes for column in columns)


@dataclass(frozen=True)
class Pasts:
    """Every training user's distinct items in the order of time, and what bags make of them.

    indptr, items: catalogue positions (CSR, without repeats). slots: bag's feature key -> int32 [N], the row
    of its table of every item. residuals: key -> float32 [nnz], what the items of a rated bag weigh.
    """

    indptr: Ints
    items: Ints
    slots: dict[str, Ints]
    residuals: dict[str, Floats]

    def spreads(self, num_items: int) -> bool:
        """Whether tables of users by items are small enough to be made, so that bags are given as weights."""
        return len(self.indptr) * num_items * (4 + 4 * len(self.residuals)) <= SPREAD_BYTES

    def table(self, values: Array, num_items: int, fill: float) -> Array:
        """Values [nnz] as a table [U + 1, N], `fill` where a user does not have the item; the last row is of
        users not known."""
        out = np.full((len(self.indptr), num_items), fill, values.dtype)
        out[np.repeat(np.arange(len(self.indptr) - 1), np.diff(self.indptr)), self.items] = values
        return out

    @property
    def order(self) -> Ints:
        """The place of every item among its user's, int32 [nnz]."""
        return (np.arange(len(self.items)) - np.repeat(self.indptr[:-1], np.diff(self.indptr))).astype(
            np.int32
        )


@dataclass(frozen=True)
class Catalogue:
    """All N items, encoded, with what training says of them.

    items: feature key -> array of N rows. log_q: float32 [N], log of each item's share of the training rows
    (its sampling probability as an in-batch negative), -inf where it has none.
    known_indptr, known_items: each training user's items (CSR). pasts: the same in the order of time, where
    the model reads them; raters: each item's users likewise.
    """

    items: Encoded
    log_q: Floats
    known_indptr: Ints
    known_items: Ints
    pasts: Pasts | None = None
    raters: Pasts | None = None

    @property
    def num_items(self) -> int:
        return len(self.log_q)


def item_counts(candidates: Ints, num_items: int, weights: Floats | None = None) -> Longs:
    """How many training rows each item has; int64 [num_items]. Rows of weight 0 do not count."""
    counts = np.zeros(num_items, np.int64)
    for block in blocks(len(candidates)):
        rows = candidates[block] if weights is None else candidates[block][weights[block] > 0]
        counts += np.bincount(rows, minlength=num_items)
    return counts


def log_sampling_probability(candidates: Ints, num_items: int, weights: Floats | None = None) -> Floats:
    """log of each item's share of the training rows; float32 [num_items], -inf for items without rows.

    A row counts once whatever its weight, as it does when it is drawn into a batch; one of weight 0 does not.
    """
    counts = item_counts(candidates, num_items, weights).astype(np.float64)
    with np.errstate(divide="ignore"):
        logs: Floats = np.log(counts / counts.sum()).astype(np.float32)
    return logs


def epoch_order(num_rows: int, batch_size: int, *, seed: int, epoch: int) -> Ints:
    """A seeded permutation of the rows as int32 [num_batches, batch_size]; the last batch is padded with -1.

    On the host: a permutation inside a compiled program is 30 times slower on a CPU. Raises DataError for
    more rows than int32 counts.
    """
    if num_rows > LARGEST:
        raise DataError(
            f"{num_rows:,} rows cannot be held at once: at most {LARGEST:,}",
            hint='training.stream = "always"',
        )
    order = np.random.default_rng([seed, epoch]).permutation(num_rows).astype(np.int32)
    num_batches = -(-num_rows // batch_size)
    padded = np.full(num_batches * batch_size, -1, np.int32)
    padded[:num_rows] = order
    return padded.reshape(num_batches, batch_size)
