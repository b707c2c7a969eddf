"""The retrieval task: which candidates a batch is scored against, with which corrections."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from shortlist.specs.tasks import Retrieval
from shortlist.tasks.known import KnownPositives
from shortlist.tasks.losses import NEGLIGIBLE, Candidates, grouped_softmax_loss, softmax_loss
from shortlist.tasks.past import SeenBefore

MORE_SCORES = 2**23
"""Scores a batch may make beyond those of its own items before these are sorted out: about the same cost."""


FEWER = 2
"""Rows a query from which on sums over negatives are made once a query: that takes two passes, not one."""


class Columns(NamedTuple):
    """The distinct items of a batch: items int [C]; counts float [C], how many rows hold each (0: padding);
    column_of int [N], C where an item has no column; row_column int [B]."""

    items: Array
    counts: Array
    column_of: Array
    row_column: Array


def takes_whole(num_items: int, batch_size: int) -> bool:
    """Whether every item is a column: the catalogue is not much larger than a batch, nothing is sorted."""
    beyond = (num_items - batch_size) * batch_size
    return num_items <= 2 * batch_size and beyond <= MORE_SCORES


def distinct(candidates: Array, real: Array, num_items: int, *, whole: bool) -> Columns:
    """The distinct items among candidates int [B], where real bool [B].

    `whole`: every item is a column, in the catalogue's order, as `takes_whole` chooses by itself.
    """
    if whole or takes_whole(num_items, candidates.shape[0]):
        items = jnp.arange(num_items)
        counts = jnp.zeros(num_items).at[candidates].add(real.astype(jnp.float32))
        return Columns(items, counts, items, candidates)
    # padding rows stand on the first row's item, uncounted
    marked = jnp.where(real, candidates, candidates[0])
    items, column = jnp.unique(marked, size=candidates.shape[0], fill_value=0, return_inverse=True)
    column = column.reshape(-1)
    counts = jnp.zeros(items.shape[0]).at[column].add(real.astype(jnp.float32))
    # unused columns at the end name item 0 as well, and are not written
    size = items.shape[0]
    used = jnp.where(counts > 0, items, num_items)
    column_of = jnp.full(num_items, size, jnp.int32).at[used].set(jnp.arange(size), mode="drop")
    return Columns(items, counts, column_of, column)


def in_batch_candidates(
    task: Retrieval, vectors: Array, columns: Columns, log_q: Array, extra: Array | None
) -> Candidates:
    """The sample of an in-batch softmax: the batch's own items and `extra` int [E], uniform draws (columns).

    log_q [N]: log of each item's share of the training rows. With extra draws an item's sampling probability
    is the mixture of both sources, in proportion to how many entries each brings.
    """
    counts = columns.counts
    batch = jnp.maximum(counts.sum(), 1.0)
    if extra is not None:
        counts = counts.at[extra].add(1.0)
    item_log_q = log_q[columns.items]
    if task.log_q and extra is not None:
        uniform = extra.shape[0] / log_q.shape[0]
        item_log_q = jnp.log((batch * jnp.exp(item_log_q) + uniform) / (batch + extra.shape[0]))
    correction = (
        jnp.where(jnp.isfinite(item_log_q), item_log_q, 0.0) if task.log_q else jnp.zeros_like(item_log_q)
    )
    log_count = jnp.where(counts > 0, jnp.log(jnp.maximum(counts, 1e-9)), NEGLIGIBLE)
    return Candidates(vectors, log_count - correction, -correction, columns.column_of)


def full_candidates(vectors: Array, columns: Columns) -> Candidates:
    """Every item of the catalogue, once."""
    zeros = jnp.zeros(vectors.shape[0])
    return Candidates(vectors, zeros, zeros, columns.column_of)


def retrieval_loss(
    task: Retrieval,
    queries: Array,
    vectors: Array,
    columns: Columns,
    weights: Array,
    log_q: Array,
    *,
    known: KnownPositives | None,
    users: Array,
    query_row: Array | None = None,
    seen: SeenBefore | None = None,
    bonus: Array | None = None,
    key: Array,
) -> Array:
    """Summed loss of a batch: queries [B, d] of users int [B] against vectors [C, d] of the batch's columns.

    query_row int [B]: each row's query among queries [Q, d] of distinct users, in their order. bonus: a
    scalar, added to the scores of items that rows' users had before, as `seen` tells.
    """
    extra = None
    if task.extra_negatives:
        extra = jax.random.randint(key, (task.extra_negatives,), 0, log_q.shape[0])
    if task.loss == "full":
        candidates = full_candidates(vectors, columns)
    else:
        candidates = in_batch_candidates(task, vectors, columns, log_q, extra)
    known = known if task.known_positives else None
    row_column, hits = columns.row_column, task.accidental_hits
    if query_row is not None:
        exact = known is not None or not hits  # else sums less a row's own entries would cancel
        exact = exact and seen is None
        if exact and not task.hard_negatives and FEWER * len(queries) <= len(query_row):
            return grouped_softmax_loss(
                queries, query_row, row_column, candidates, weights, accidental_hits=hits, known=known
            )
        queries = queries[query_row]
    return softmax_loss(
        queries,
        row_column,
        candidates,
        weights,
        accidental_hits=hits,
        known=known,
        users=users,
        hard_negatives=task.hard_negatives,
        seen=seen,
        bonus=bonus,
    )


def needs_whole_catalogue(task: Retrieval | None) -> bool:
    """Whether columns must cover every item: the full softmax, and draws from anywhere."""
    return task is not None and (task.loss == "full" or task.extra_negatives > 0)
