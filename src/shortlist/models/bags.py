"""Bags: all of a user's items as one weighted sum of vectors, in the form that is cheapest.

Three forms.

Listed: slots int [n, L] of each row, padded with -1, whose vectors are looked up. Spread: a weight for every
row of the table (or for those that "<key>@slots" names), float [n, rows]; the sum is then one matrix product,
cheaper where catalogues are small and histories long. Shared: rows of one user have the same weights but
for their own item, so that one product a user will do.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from shortlist.models.layers import lookup
from shortlist.models.precision import product
from shortlist.models.sequence import kept
from shortlist.specs.features import Bag

SPREAD = 32
"""Rows of a table for each item of a list up to which the list is spread over them."""


class Shared(NamedTuple):
    """Weights float [G, rows] of G users' items; each row's user int [n], its own item (a column of the
    weights) int [n], whose weight float [n] is taken out again, and what the sum is multiplied by, float [n].
    slots: int [rows], the table's row of each column."""

    weights: Array
    user: Array
    own: Array
    own_weight: Array
    scale: Array
    slots: Array


def shared_sum(table: Array, bag: Shared) -> Array:
    """Sums [n, d] of n rows."""
    vectors = lookup(table, bag.slots)
    sums = lookup(product(bag.weights, vectors), bag.user)
    return (sums - bag.own_weight[:, None] * lookup(vectors, bag.own)) * bag.scale[:, None]


def is_spread(encoded: Any) -> bool:
    """Whether a bag is given as weights, not as a list."""
    return not isinstance(encoded, Shared) and bool(jnp.issubdtype(encoded.dtype, jnp.floating))


def listed_sum(bag: Bag, rows: Array, slots: Array, weight: Array | None, word: Array | None) -> Array:
    """One row's sum [d] of its items' vectors [L, d]. word: uint32 scalar that decides what is dropped."""
    valid = slots >= 0
    weights = jnp.where(valid, 1.0 if weight is None else weight, 0.0) / jnp.sqrt(1.0 + valid.sum())
    if word is not None and bag.event_dropout:
        weights = jnp.where(kept(word, slots, bag.event_dropout), weights / (1 - bag.event_dropout), 0.0)
    return product(weights, jnp.where(valid[:, None], rows, 0.0))  # ten times faster than a sum under vmap


def spread_sum(bag: Bag, table: Array, weights: Array, slots: Array | None, words: Array | None) -> Array:
    """Sums [n, d] of n rows from weights [n, rows]; slots int [rows]: the table's row of each column. words:
    uint32 [n], as in `listed_sum`."""
    if words is not None and bag.event_dropout:
        names = jnp.arange(weights.shape[1]) if slots is None else slots
        keep = kept(words[:, None], names[None], bag.event_dropout)
        weights = jnp.where(keep, weights / (1 - bag.event_dropout), 0.0)
    return product(weights, table if slots is None else lookup(table, slots))


def spread(slots: np.ndarray, weight: np.ndarray | None, num_rows: int) -> np.ndarray:
    """Lists of slots [n, L] as weights float32 [n, num_rows], less what is dropped while training."""
    valid = slots >= 0
    given = np.ones(slots.shape, np.float32) if weight is None else weight
    scaled = given / np.sqrt(1.0 + valid.sum(axis=1, keepdims=True))
    out = np.zeros((len(slots), num_rows), np.float32)
    row = np.broadcast_to(np.arange(len(slots))[:, None], slots.shape)
    np.add.at(out, (row[valid], slots[valid]), scaled[valid].astype(np.float32))
    return out
