"""Exact ranks by counting, in NumPy: blocks of scores, seen items left out, ties at their mean rank.

The rank of an item is 1 + the items with a greater score + half the others with an equal one, so that a
model with all scores equal gets the middle rank. Nothing is sorted. Counts are held doubled (a greater
score counts two, an equal one one), which makes them whole numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from shortlist._typing import Array, Bools, Doubles, Floats, Ints, Longs
from shortlist.errors import DataError
from shortlist.state.seen import Seen

_BLOCK_SCORES = 1 << 20  # 4 MiB in float32, near what a core's caches hold: compared right after the product
_BLOCK_ITEMS = 4096


@dataclass(frozen=True, eq=False)
class Ranks:
    """Rank of each row's target over the full catalogue, float64 [n], 1 = best, ties at their mean.

    `raw` leaves every item among the candidates; `filtered` removes the user's training items, the
    target itself excepted.
    """

    raw: Doubles
    filtered: Doubles

    def __len__(self) -> int:
        return len(self.raw)

    def __getitem__(self, rows: Array | slice) -> Ranks:
        return Ranks(self.raw[rows], self.filtered[rows])


def count_ranks(
    scores_of: Callable[[slice], Array],
    targets: ArrayLike,
    seen: Seen | None = None,
    users: ArrayLike | None = None,
    *,
    num_items: int | None = None,
    block: int | None = None,
) -> Ranks:
    """Exact ranks where a function gives whole rows of scores, a block of rows at a time.

    Args:
        scores_of: gives the scores [b, N] of a slice of rows.
        targets: catalogue position of each row's true item [n].
        seen: items to remove for the filtered ranks, looked up by `users` [n] (-1: nothing seen).
        num_items: N, if known beforehand: targets are then checked before any work is done.
        block: rows worked on at once; chosen from `num_items` when not given.

    Raises `DataError` when a target is not in the catalogue or a score is NaN.
    """
    target = np.asarray(targets, np.int64)
    if num_items is not None:
        require_targets(target, num_items)
    user = np.full(len(target), -1, np.int64) if users is None else np.asarray(users, np.int64)
    block = block or max(1, _BLOCK_SCORES // max(1, num_items or _BLOCK_ITEMS))
    raw, filtered = np.zeros(len(target), np.int64), np.zeros(len(target), np.int64)
    for start in range(0, len(target), block):
        rows = slice(start, min(start + block, len(target)))
        scores = scores_of(rows)
        require_targets(target[rows], scores.shape[1], start)
        require_no_nan(scores)
        own = scores[np.arange(len(scores)), target[rows]]
        hidden = None if seen is None else _Hidden(seen, user[rows]).mask(0, scores.shape[1])
        raw[rows], filtered[rows] = _before(scores, own, target[rows], hidden)
    return Ranks(1.0 + raw / 2.0, 1.0 + filtered / 2.0)


def product_ranks(queries: Floats, items: Floats, targets: Ints, seen: Seen, users: Ints) -> Ranks:
    """Exact ranks of inner products; memory is a block's, whatever the number of rows and of items.

    queries [n, d], items [N, d], targets int [n], users int [n] (rows of `seen`; -1 has seen nothing).
    The target is left out by its position, so it never counts as its own rival. Other items with its very
    vector tie with it where BLAS sums their products alike, which it does not for every column: such an item
    may count a whole place or none instead of half of one (the compiled counter has no such columns).
    Raises `DataError` when a target is no item, or a vector is not finite.
    """
    require_targets(targets, len(items))
    require_finite("query", queries)
    require_finite("item", items)
    # rows of one user side by side, so that what a block's users have seen is looked up few times
    order = np.argsort(users, kind="stable")
    width = min(len(items), _BLOCK_ITEMS)
    height = _BLOCK_SCORES // max(width, 256)
    scores = np.empty(height * width, np.result_type(queries, items))
    raw, filtered = np.zeros(len(targets), np.int64), np.zeros(len(targets), np.int64)
    for start in range(0, len(order), height):
        rows = order[start : start + height]
        asked, wanted, who = queries[rows], targets[rows].astype(np.int64), users[rows]
        hidden, at = _Hidden(seen, who), np.arange(len(rows))
        own = None if len(items) == width else np.einsum("bd,bd->b", asked, items[wanted])
        for first in range(0, len(items), width):
            part = items[first : first + width]
            found = np.matmul(asked, part.T, out=scores[: len(rows) * len(part)].reshape(len(rows), -1))
            mine = found[at, wanted] if own is None else own
            places = _before(found, mine, wanted - first, hidden.mask(first, len(part)))
            raw[rows] += places[0]
            filtered[rows] += places[1]
    return Ranks(1.0 + raw / 2.0, 1.0 + filtered / 2.0)


def _before(scores: Array, own: Array, targets: Longs, hidden: Bools | None) -> tuple[Longs, Longs]:
    """Twice the places taken before each target [b] by columns other than the target's (which may be
    outside of the block): of all, and of those not hidden."""
    own, dtype = own[:, None], np.uint16 if scores.shape[1] < 1 << 15 else np.int64
    places = (scores > own).view(np.uint8)
    places += (scores >= own).view(np.uint8)
    inside = np.flatnonzero((targets >= 0) & (targets < scores.shape[1]))
    places[inside, targets[inside]] = 0
    raw = places.sum(axis=1, dtype=dtype).astype(np.int64)
    if hidden is None:
        return raw, raw
    places *= hidden.view(np.uint8) ^ 1
    return raw, places.sum(axis=1, dtype=dtype).astype(np.int64)


class _Hidden:
    """What the users of a block of rows have seen, by item."""

    def __init__(self, seen: Seen, users: Array) -> None:
        distinct, self.which = np.unique(users, return_inverse=True)
        rows, items = seen.rows(distinct).pairs()
        order = np.argsort(items, kind="stable")
        self.num_users, self.rows, self.items = len(distinct), rows[order], items[order]

    def mask(self, first: int, width: int) -> Bools | None:
        """True where a row's user has seen an item of a block [b, width]; None where nobody has."""
        low, high = np.searchsorted(self.items, (first, first + width))
        if low == high:
            return None
        mask = np.zeros((self.num_users, width), np.bool_)
        mask[self.rows[low:high], self.items[low:high] - first] = True
        return mask[self.which]


def require_no_nan(scores: Array) -> None:
    """Raises `DataError` naming the first row [b, N] that holds NaN."""
    # min() carries NaN through and allocates nothing, unlike isnan().any()
    if scores.size and np.isnan(scores.min()):
        row = int(np.argmax(np.isnan(scores).any(axis=1)))
        raise DataError(
            f"row {row} of the scores holds NaN, so nothing can be ordered",
            hint="look for a diverged training run or a missing feature value",
        )


def require_finite(name: str, vectors: Array) -> None:
    """Raises `DataError` naming the first vector [n, d] that is not finite: NaN would count as the best."""
    if vectors.size and not (np.isfinite(vectors.min()) and np.isfinite(vectors.max())):
        row = int(np.argmin(np.isfinite(vectors).all(axis=1)))
        raise DataError(f"{name} vector {row} is not finite", hint="look for a diverged training run")


def require_targets(targets: Array, num_items: int, offset: int = 0) -> None:
    """Raises `DataError` naming the first target outside 0..N-1; `offset` is the number of its first row."""
    outside = np.flatnonzero((targets < 0) | (targets >= num_items))
    if outside.size:
        raise DataError(
            f"row {offset + int(outside[0])}: target {targets[outside[0]]} is not in the catalogue of "
            f"{num_items} items ({outside.size} such rows in this block), so it has no rank",
            hint="give the items table every item that occurs in the test rows",
        )
