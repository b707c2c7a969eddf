"""Exact ranks of true items, counted by a compiled program beside the live model.

Scores are made a block of rows and items at a time and counted while they are in the caches. What users
have seen enters as bits, so that one pass counts both ranks. The number of rows is no part of a program;
the number of items is, for catalogues below `_SPAN` items.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from numpy.typing import NDArray

from shortlist._typing import Doubles, Floats, Ints, Longs
from shortlist.errors import DataError
from shortlist.index.ranks import require_finite
from shortlist.state.seen import Seen

_SCORES = 1 << 20  # scores of a block where the catalogue is one block
_WHOLE = 4096  # items that are worked on as one block
_ROWS, _ITEMS = 2048, 1024  # the sides of a block beyond
_SPAN = 8 * _ITEMS  # items a call beyond
_CALL = 4096  # rows a call where the catalogue is one block
_BOTH = np.uint32(0x10001)  # one for either rank: their counts share a number, a half each

Words = NDArray[np.uint32]


@dataclass(frozen=True)
class Plan:
    """How the work is cut: rows a block and a call, items a block, blocks of items a call."""

    block: int
    rows: int
    items: int
    blocks: int

    @classmethod
    def of(cls, num_rows: int, num_items: int) -> Plan:
        """Blocks of up to 8 MiB of scores: whole rows of small catalogues, tall narrow ones of large."""
        if num_items <= _WHOLE:
            items = max(32, -(-num_items // 32) * 32)
            return cls(_power(_SCORES // items, 256, _ROWS), _CALL, items, 1)
        rows = _power(2 * num_rows - 1, 128, _ROWS)
        return cls(rows, rows, _ITEMS, min(_SPAN // _ITEMS, -(-num_items // _ITEMS)))

    @property
    def span(self) -> int:
        """Items a call."""
        return self.items * self.blocks


def _power(number: int, least: int, most: int) -> int:
    """The greatest power of two that is no greater, within bounds."""
    return min(most, max(least, 1 << (max(number, 1).bit_length() - 1)))


def count_ranks(
    queries: Floats, items: Floats, targets: Ints, seen: Seen, users: Ints
) -> tuple[Doubles, Doubles]:
    """Raw and filtered ranks [n] of each row's target among all N items.

    queries [n, d], items [N, d], targets int [n], users int [n] (rows of `seen`; -1 has seen nothing).
    A rank is 1 + items with a greater score + half the other items with an equal one; the filtered rank
    leaves out the user's seen items, the target itself excepted. Scores are float32. The target is left
    out by its position, so it never counts as its own rival; memory is a few blocks, whatever n and N.
    DataError when a target is no item, or a vector holds NaN: it would count as the best.
    """
    num_items = len(items)
    if len(targets) and (targets.min() < 0 or targets.max() >= num_items):
        raise DataError(
            f"a true item is not in the catalogue of {num_items} items", hint="add it to the items table"
        )
    require_finite("query", queries)
    require_finite("item", items)
    plan, pending = Plan.of(len(targets), num_items), None
    places = np.zeros((2, len(targets)), np.int64)
    # rows of one user side by side: what a user has seen is then looked up once
    order = np.argsort(users, kind="stable")
    for start in range(0, len(order), plan.rows):
        rows = order[start : start + plan.rows]
        wanted = targets[rows].astype(np.int64)
        for found in _calls(plan, queries[rows], items, wanted, seen, users[rows]):
            if pending is not None:  # the host prepares a call while the one before runs
                _add(places, *pending)
            pending = rows, found
    if pending is not None:
        _add(places, *pending)
    return 1.0 + places[0] / 2.0, 1.0 + places[1] / 2.0


def _add(places: Longs, rows: Longs, packed: Array) -> None:
    found = np.asarray(packed)[: len(rows)]
    places[0, rows] += found >> 16
    places[1, rows] += found & 0xFFFF


def _calls(
    plan: Plan, queries: Floats, items: Floats, targets: Longs, seen: Seen, users: Ints
) -> Iterator[Array]:
    """What `_count` gives for a call's rows and each span of items."""
    hidden, blocks = _Hidden(plan, seen, users), np.int32(-(-len(queries) // plan.block))
    asked = jax.device_put(_filled(queries, plan.rows))
    # a single block holds every target's column; else targets are scored beforehand, in blocks of that shape
    own = None
    if plan.items < len(items):
        own = _own(asked, _filled(items[targets], max(plan.rows, plan.items)), width=plan.items)
    for first in range(0, len(items), plan.span):
        part = items[first : first + plan.span]
        yield _count(
            blocks,
            asked,
            _filled(targets - first, plan.rows).astype(np.int32),
            own,
            hidden.words(first, targets),
            _filled(part, plan.span).reshape(plan.blocks, plan.items, -1),
            np.uint32(plan.span - len(part)),
            block=plan.block,
        )


def _filled(values: NDArray[Any], rows: int) -> NDArray[Any]:
    """Zeros after the last row, up to that many rows; float64 becomes float32, as compiled programs want."""
    if values.dtype == np.float64:
        values = values.astype(np.float32)
    if len(values) == rows:
        return values
    out = np.zeros((rows, *values.shape[1:]), values.dtype)
    out[: len(values)] = values
    return out


class _Hidden:
    """What the users of a call's rows have seen, as bits."""

    def __init__(self, plan: Plan, seen: Seen, users: Ints) -> None:
        distinct, which = np.unique(users, return_inverse=True)
        self.span, self.which = plan.span, _filled(which, plan.rows)
        rows, items = seen.rows(distinct).pairs()
        spans = items // plan.span
        order = np.argsort(spans, kind="stable")  # within a span by user, then by item
        self.num_users, self.rows, self.items = len(distinct), rows[order], items[order]
        self.spans = spans[order]

    def words(self, first: int, targets: Longs) -> Words:
        """Bit i of word w [R, span / 32]: the row's user has seen item `first + 32 w + i`, not its target."""
        width = self.span // 32
        low, high = np.searchsorted(self.spans, (first // self.span, first // self.span + 1))
        table = np.zeros(self.num_users * width, np.uint32)
        if low < high:
            items = self.items[low:high] - first
            words = self.rows[low:high] * width + items // 32
            starts = np.flatnonzero(np.diff(words, prepend=-1))
            bits = np.left_shift(np.uint32(1), (items % 32).astype(np.uint32))
            table[words[starts]] = np.bitwise_or.reduceat(bits, starts)
        found: Words = table.reshape(-1, width)[self.which]
        inside = np.flatnonzero((targets >= first) & (targets < first + self.span))
        at = targets[inside] - first
        found[inside, at // 32] &= ~np.left_shift(np.uint32(1), (at % 32).astype(np.uint32))
        return found


@partial(jax.jit, static_argnames="width")
def _own(queries: Array, vectors: Array, *, width: int) -> Array:
    """The product of each query with its own vector [R], as a block of that width would have it: the sums
    are made in the same order, so that an item equal to the target scores equal to it."""
    at, parts = jnp.arange(min(width, len(queries))), []
    for start in range(0, len(queries), width):
        scores = queries @ vectors[start : start + width].T
        parts.append(scores[start + at, at])
    return jnp.concatenate(parts)


@partial(jax.jit, static_argnames="block")
def _count(
    blocks: Array,
    queries: Array,
    targets: Array,
    own: Array | None,
    hidden: Array,
    items: Array,
    padding: Array,
    *,
    block: int,
) -> Array:
    """Twice the places taken before each target by a call's items: uint32 [R], those of all items in the
    upper half, of items that are not hidden in the lower.

    Of queries [R, d] the first `blocks` blocks of rows are worked on. targets [R] count from the call's first
    item, hidden is uint32 [R, span / 32], items [blocks of items, items a block, d] with `padding` zeros at
    the end.
    """
    num_blocks, width, _ = items.shape
    lanes = jnp.arange(32, dtype=jnp.uint32)

    def step(row: Array, at: Array, out: Array) -> Array:
        def rows(values: Array) -> Array:
            return lax.dynamic_slice_in_dim(values, row * block, block)

        scores = rows(queries) @ items[at].T
        column = rows(targets) - at * width
        mine = jnp.take_along_axis(scores, jnp.clip(column, 0, width - 1)[:, None], 1)
        true = mine if own is None else rows(own)[:, None]
        words = lax.dynamic_slice(hidden, (row * block, at * (width // 32)), (block, width // 32))
        weights = _BOTH - ((words[:, :, None] >> lanes) & 1)
        counted = jnp.sum(_places_of(scores, true).reshape(weights.shape) * weights, axis=(1, 2))
        inside = (column >= 0) & (column < width)
        itself = jnp.where(inside, _places_of(mine, true)[:, 0], 0)
        # rows of zeros fill the last block: they score exactly 0
        filling = jnp.where(at == num_blocks - 1, padding, 0) * _places_of(jnp.zeros_like(true), true)[:, 0]
        counted = rows(out) + counted - (itself + filling) * _BOTH
        done: Array = lax.dynamic_update_slice_in_dim(out, counted, row * block, 0)
        return done

    def all_rows(at: Array, out: Array) -> Array:
        done: Array = lax.fori_loop(0, blocks, lambda row, out: step(row, at, out), out)
        return done

    # a block of items stays in the caches for all rows
    total: Array = lax.fori_loop(0, num_blocks, all_rows, jnp.zeros(len(queries), jnp.uint32))
    return total


def _places_of(scores: Array, true: Array) -> Array:
    """Twice the places each score takes before the true one: 2 if greater, 1 if equal."""
    return (scores > true).astype(jnp.uint32) + (scores >= true).astype(jnp.uint32)
