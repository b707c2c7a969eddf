"""What a baseline is fitted on: interactions as indices, with the matrices made from them once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from shortlist._typing import Array, Doubles, Longs
from shortlist.errors import DataError, MissingExtra
from shortlist.state.seen import Seen


def sparse() -> Any:
    """The module `scipy.sparse`; raises `MissingExtra` when SciPy is not installed."""
    try:
        import scipy.sparse
    except ImportError as error:
        raise MissingExtra("scipy", "baselines", "This baseline") from error
    return scipy.sparse


@dataclass(frozen=True, eq=False)
class Interactions:
    """Training rows as arrays of one length n.

    `users` 0..num_users-1 and `items` 0..num_items-1 are indices; `ratings` float and `timestamps`
    (seconds) may be absent. Raises `DataError` when lengths differ or an index is out of range.
    """

    users: Longs
    items: Longs
    num_users: int
    num_items: int
    ratings: Doubles | None = None
    timestamps: Longs | None = None

    def __post_init__(self) -> None:
        for name, values, size in (
            ("user", self.users, self.num_users),
            ("item", self.items, self.num_items),
        ):
            if len(values) and not 0 <= int(values.min()) <= int(values.max()) < size:
                raise DataError(f"{name} indices span {values.min()}..{values.max()}, expected 0..{size - 1}")
        columns: tuple[Array | None, ...] = (self.users, self.items, self.ratings, self.timestamps)
        lengths = {len(column) for column in columns if column is not None}
        if len(lengths) > 1:
            raise DataError(f"interaction columns differ in length: {sorted(lengths)}")

    def __len__(self) -> int:
        return len(self.users)

    def joined(self, other: Interactions) -> Interactions:
        """These rows followed by the other's; a column that one of them lacks is left out."""

        def both(mine: Any, theirs: Any) -> Any:
            return None if mine is None or theirs is None else np.concatenate([mine, theirs])

        return Interactions(
            both(self.users, other.users),
            both(self.items, other.items),
            max(self.num_users, other.num_users),
            max(self.num_items, other.num_items),
            both(self.ratings, other.ratings),
            both(self.timestamps, other.timestamps),
        )

    def rated(self) -> Interactions:
        """The rows that carry a rating; raises `DataError` when none does."""
        have = None if self.ratings is None else np.isfinite(self.ratings)
        if self.ratings is None or have is None or not have.any():
            raise DataError("no row has a rating", hint="name the rating column of the interactions")
        if have.all():
            return self
        times = None if self.timestamps is None else self.timestamps[have]
        return Interactions(
            self.users[have], self.items[have], self.num_users, self.num_items, self.ratings[have], times
        )

    @cached_property
    def counts(self) -> Doubles:
        """Interactions an item, float64 [N]."""
        return np.bincount(self.items, minlength=self.num_items).astype(np.float64)

    @cached_property
    def popularity(self) -> Doubles:
        """The counts, less a fraction below one that grows with the position: a strict order, float64 [N]."""
        return self.counts - np.arange(self.num_items) / max(self.num_items, 1)

    @cached_property
    def seen(self) -> Seen:
        return Seen.from_pairs(self.users, self.items, self.num_users)

    @cached_property
    def matrix(self) -> Any:
        """Who took what, 0 or 1, as a SciPy CSR matrix float32 [U, N]."""
        ones = np.ones(len(self.seen), np.float32)
        parts = (ones, self.seen.indices, self.seen.indptr)
        return sparse().csr_matrix(parts, shape=(self.num_users, self.num_items))

    @cached_property
    def co_counts(self) -> Any:
        """How many users took both items, as a SciPy CSR matrix float32 [N, N]."""
        return (self.matrix.T @ self.matrix).tocsr()

    @cached_property
    def damped_co_counts(self) -> Any:
        """Co-counts to which a user with m items adds 1 / sqrt(m), SciPy CSR float32 [N, N]."""
        activity = np.maximum(np.diff(self.matrix.indptr), 1).astype(np.float32)
        return (self.matrix.T @ (sparse().diags(activity**-0.5) @ self.matrix)).tocsr()
