"""Exact ranks of true items, counted by a compiled program beside the live model."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from shortlist._typing import Doubles, Floats, Ints
from shortlist.errors import DataError
from shortlist.state.seen import Seen

BLOCK = 1024
"""Queries scored at a time."""
BLOCKS = 8
"""Blocks a call: calls of one size compile one program, whatever the number of rows."""


def count_ranks(
    queries: Floats, items: Floats, targets: Ints, seen: Seen, users: Ints
) -> tuple[Doubles, Doubles]:
    """Raw and filtered ranks [n] of each row's target among all N items.

    queries [n, d], items [N, d], targets int [n], users int [n] (rows of `seen`; -1 has seen nothing).
    A rank is 1 + items with a greater score + half the other items with an equal one; the filtered rank
    leaves out the user's seen items, the target itself excepted. DataError when a target is no item, or a
    vector holds NaN: it would count as the best.
    """
    num_items = len(items)
    if len(targets) and (targets.min() < 0 or targets.max() >= num_items):
        raise DataError(
            f"a true item is not in the catalogue of {num_items} items", hint="add it to the items table"
        )
    for name, vectors in (("query", queries), ("item", items)):
        if not np.isfinite(vectors).all():
            row = int(np.argmin(np.isfinite(vectors).all(axis=1)))
            raise DataError(f"{name} vector {row} is not finite", hint="look for a diverged training run")
    shared = (
        items,
        seen.indptr.astype(np.int32),
        seen.indices if len(seen.indices) else np.zeros(1, np.int32),
    )
    longest = int(np.diff(seen.indptr).max(initial=1))
    raw, filtered = np.empty(len(targets)), np.empty(len(targets))
    for start in range(0, len(targets), BLOCKS * BLOCK):
        rows = slice(start, start + BLOCKS * BLOCK)
        count = len(targets[rows])
        pad = BLOCKS * BLOCK - count
        parts = (
            np.pad(queries[rows], ((0, pad), (0, 0))),
            np.pad(targets[rows], (0, pad)).astype(np.int32),
            np.pad(users[rows], (0, pad), constant_values=-1).astype(np.int32),
        )
        found = _count(*(p.reshape(BLOCKS, BLOCK, *p.shape[1:]) for p in parts), *shared, longest=longest)
        raw[rows], filtered[rows] = (np.asarray(part).reshape(-1)[:count] for part in found)
    return raw, filtered


@partial(jax.jit, static_argnames="longest")
def _count(
    queries: Array, targets: Array, users: Array, items: Array, indptr: Array, seen: Array, *, longest: int
) -> tuple[Array, Array]:
    def block(part: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        q, target, user = part
        scores = q @ items.T
        true = jnp.take_along_axis(scores, target[:, None], 1)
        above = jnp.sum(scores > true, axis=1) + 0.5 * (jnp.sum(scores == true, axis=1) - 1)
        start = indptr[jnp.maximum(user, 0)]
        length = jnp.where(user < 0, 0, indptr[jnp.maximum(user, 0) + 1] - start)
        offsets = jnp.arange(longest)
        theirs = seen.at[start[:, None] + offsets].get(mode="clip")
        counts = (offsets < length[:, None]) & (theirs != target[:, None])
        at = jnp.take_along_axis(scores, theirs, axis=1)
        hidden = jnp.sum(jnp.where(counts, (at > true) + 0.5 * (at == true), 0.0), axis=1)
        return 1.0 + above, 1.0 + above - hidden

    raw, filtered = jax.lax.map(block, (queries, targets, users))
    return raw, filtered
