"""What each user has already taken: a compressed user -> item relation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from shortlist._typing import Bools, Ints, Longs
from shortlist.errors import DataError


@dataclass(frozen=True, eq=False)
class Seen:
    """Catalogue positions each user has seen, as compressed rows.

    `indptr` int64 [U+1], `indices` int32 [nnz]: user u has seen `indices[indptr[u]:indptr[u+1]]`,
    ascending and without repeats. User -1 (or any number outside 0..U-1) is unknown: nothing seen.
    """

    indptr: Longs
    indices: Ints

    @classmethod
    def from_pairs(cls, users: ArrayLike, items: ArrayLike, num_users: int) -> Seen:
        """Sort and deduplicate pairs; pairs of unknown users or items (negative) are left out.

        Raises `DataError` when lengths differ or a user is not below `num_users`.
        """
        user, item = np.asarray(users, np.int64), np.asarray(items, np.int64)
        if user.shape != item.shape or user.ndim != 1:
            raise DataError(f"seen pairs must be two lists of one length, got {user.shape} and {item.shape}")
        known = (user >= 0) & (item >= 0)
        user, item = user[known], item[known]
        if user.size and user.max() >= num_users:
            raise DataError(f"seen pairs name user {user.max()}, but there are {num_users} users")
        if num_users == 1:
            item.sort()
            own = item[np.diff(item, prepend=-1) > 0].astype(np.int32)
            return cls(np.array([0, len(own)]), own)
        width = int(item.max()) + 1 if item.size else 1
        keys = user * width + item
        keys.sort()  # ten times faster on many pairs than np.unique, which looks for repeats first
        keys = keys[np.diff(keys, prepend=-1) > 0]
        counts = np.bincount(keys // width, minlength=num_users)
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return cls(indptr, (keys % width).astype(np.int32))

    @property
    def num_users(self) -> int:
        return len(self.indptr) - 1

    def __len__(self) -> int:
        return len(self.indices)

    def of(self, user: int) -> Ints:
        """The items one user has seen, ascending; empty for an unknown user."""
        if not 0 <= user < self.num_users:
            return np.zeros(0, np.int32)
        return self.indices[self.indptr[user] : self.indptr[user + 1]]

    def rows(self, users: ArrayLike) -> Seen:
        """The relation of a batch: row i holds what `users[i]` has seen. Users may repeat or be -1."""
        user = np.asarray(users, np.int64)
        if len(user) == 1:  # a single question is answered quickly
            own = self.of(int(user[0]))
            return Seen(np.array([0, len(own)]), own)
        known = (user >= 0) & (user < self.num_users)
        at = np.where(known, user, 0)
        start = self.indptr[:-1][at] if self.num_users else np.zeros_like(at)
        counts = np.where(known, self.indptr[1:][at] - start, 0) if self.num_users else np.zeros_like(at)
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        offsets = np.arange(indptr[-1]) + np.repeat(start - indptr[:-1], counts)
        return Seen(indptr, self.indices[offsets])

    def joined(self, other: Seen) -> Seen:
        """What either relation of as many rows holds."""
        (row, item), (more, also) = self.pairs(), other.pairs()
        return Seen.from_pairs(np.concatenate([row, more]), np.concatenate([item, also]), self.num_users)

    def replaced(self, rows: Bools, other: Seen) -> Seen:
        """The rows of `other` where true (bool [n]), else one's own."""
        (row, item), (more, also) = self.pairs(), other.pairs()
        mine, theirs = ~rows[row], rows[more]
        both = np.concatenate([row[mine], more[theirs]]), np.concatenate([item[mine], also[theirs]])
        return Seen.from_pairs(*both, self.num_users)

    def pairs(self) -> tuple[Longs, Ints]:
        """The relation as (user [nnz], item [nnz])."""
        counts = self.indptr[1:] - self.indptr[:-1]
        return np.repeat(np.arange(self.num_users), counts), self.indices

    def mask(self, users: ArrayLike, num_items: int) -> Bools:
        """True where a user of the batch has seen an item: [b, num_items]."""
        rows, items = self.rows(users).pairs()
        inside = items < num_items
        mask = np.zeros((len(np.atleast_1d(np.asarray(users))), num_items), np.bool_)
        mask[rows[inside], items[inside]] = True
        return mask
