"""What evaluation is given: the test rows, and what each entrant said about them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike

from shortlist._typing import Bools, Doubles, Ints, Longs
from shortlist.errors import DataError
from shortlist.index.ranks import Ranks

HEAD_SHARE = 0.2


@dataclass(frozen=True, eq=False)
class TestRows:
    """The test rows, n of them.

    `users` training index (-1: not in training); `user_keys` dense index 0..U'-1 of the test users,
    unknown ones included (what intervals resample); `targets` catalogue position; `ratings` or None;
    `warm` the user has training rows; `head` the item is among the most frequent fifth in training.
    """

    __test__: ClassVar[bool] = False  # not a test case, whatever its name makes pytest think

    users: Longs
    user_keys: Longs
    targets: Longs
    num_items: int
    warm: Bools
    head: Bools
    ratings: Doubles | None = None

    @classmethod
    def of(
        cls,
        train_users: ArrayLike,
        train_items: ArrayLike,
        users: ArrayLike,
        targets: ArrayLike,
        num_items: int,
        *,
        user_keys: ArrayLike | None = None,
        ratings: ArrayLike | None = None,
    ) -> TestRows:
        """Work out warmth and popularity from the training pairs (indices; validation included).

        `user_keys` (any values, one a user) tells unknown users apart; without it the known are told
        apart by index and all unknown ones count as one. Raises `DataError` when lengths differ.
        """
        user, target = np.asarray(users, np.int64), np.asarray(targets, np.int64)
        seen, taken = np.asarray(train_users, np.int64), np.asarray(train_items, np.int64)
        frequency = np.bincount(taken, minlength=num_items)[:num_items]
        raw_keys = user if user_keys is None else np.asarray(user_keys)
        if not len(user) == len(target) == len(raw_keys):
            raise DataError(f"test columns differ in length: {len(user)}, {len(target)}, {len(raw_keys)}")
        outside = (target < 0) | (target >= num_items)
        if outside.any():
            row = int(np.argmax(outside))
            raise DataError(
                f"test row {row}: target {target[row]} is not in the catalogue of {num_items} items"
            )
        return cls(
            user,
            np.unique(raw_keys, return_inverse=True)[1].astype(np.int64),
            target,
            num_items,
            np.isin(user, seen) & (user >= 0),
            head_items(frequency)[target],
            None if ratings is None else np.asarray(ratings, np.float64),
        )

    def __len__(self) -> int:
        return len(self.users)

    @property
    def num_users(self) -> int:
        return int(self.user_keys.max()) + 1 if len(self.user_keys) else 0


def head_items(counts: Longs) -> Bools:
    """The most frequent fifth of the catalogue [N]; equal counts go by position."""
    head = np.zeros(len(counts), np.bool_)
    head[np.argsort(-counts, kind="stable")[: max(1, round(HEAD_SHARE * len(counts)))]] = True
    return head


@dataclass(frozen=True, eq=False)
class Predictions:
    """What one entrant said about the test rows; parts it has nothing to say about are None.

    `ranks`: the rank of each row's target, scored in the context of that row. `user_ranks`: ranks of
    the same rows when every user asks once, in the context of their first test row; for an entrant
    without context the two agree, and `ranks` stands in when it is None. `ratings` [n]. `top` [U', 10]
    catalogue positions (-1 padding) for the collapse check, seen items left in, because lists that
    differ only by what was removed from them are still one list.
    """

    name: str
    role: Literal["model", "baseline"] = "baseline"
    ranks: Ranks | None = None
    user_ranks: Ranks | None = None
    ratings: Doubles | None = None
    top: Ints | None = None
    settings: str = ""
    seconds: float | None = None

    def check(self, rows: TestRows) -> Predictions:
        """These predictions with `user_ranks` filled in.

        Raises `DataError` when a length does not fit the rows, or a rating prediction is not finite.
        """
        lengths = {
            "ranks": self.ranks and len(self.ranks),
            "user_ranks": self.user_ranks and len(self.user_ranks),
            "ratings": None if self.ratings is None else len(self.ratings),
        }
        for part, length in lengths.items():
            if length is not None and length != len(rows):
                raise DataError(f"{self.name}: {part} has {length} rows, the test set {len(rows)}")
        if self.ratings is not None and not np.isfinite(self.ratings).all():
            row = int(np.argmin(np.isfinite(self.ratings)))
            raise DataError(f"{self.name}: rating prediction {self.ratings[row]} at test row {row}")
        return replace(self, user_ranks=self.user_ranks or self.ranks)


@dataclass(frozen=True)
class Skipped:
    """An entrant that did not take part, and why, in a sentence."""

    name: str
    reason: str
