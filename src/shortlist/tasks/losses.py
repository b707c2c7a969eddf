"""Losses: pure functions of arrays.

Shapes: B rows, C candidate columns, d vector width, U users, N items of the catalogue.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

BLOCK = 512
"""Rows scored at a time: the B x C matrix is never held whole."""
NEGLIGIBLE = -1e30
"""Stands in for log(0): finite, so that removed entries have gradient zero, not NaN."""


class Candidates(NamedTuple):
    """The distinct candidates a batch is scored against.

    vectors: [C, d]. log_weight: [C], log of how often each stands in the sample, less its log_q where
    corrected; NEGLIGIBLE where it is not in the sample. own_log_weight: [C], the same for a candidate as a
    row's own positive, which counts once. column_of: int [N], an item's column (any column where it has
    none). items: int [C], a column's item.
    """

    vectors: Array
    log_weight: Array
    own_log_weight: Array
    column_of: Array
    items: Array


class Known(NamedTuple):
    """Each row's items that are no negatives: rows' users int [B] (-1: none known) into a CSR."""

    users: Array
    indptr: Array
    items: Array


def squared_error(predictions: Array, labels: Array) -> Array:
    """(prediction - label)^2; [B], [B] -> [B]."""
    return jnp.square(predictions - labels)


def softmax_loss(
    queries: Array,
    positive: Array,
    candidates: Candidates,
    weights: Array,
    *,
    accidental_hits: bool = True,
    known: Known | None = None,
    longest: int = 0,
    hard_negatives: int = 0,
) -> Array:
    """Sum over rows of weights [B] times -log softmax of the row's own candidate; a scalar.

    queries [B, d]; positive int [B], columns. A candidate that stands n times in a sample counts n times:
    sum_j exp(s_j) over the sample's entries equals sum_c n_c exp(s_c) over its distinct candidates, so this
    form is exact however small C is. With scores corrected by log_q it estimates the softmax over the whole
    catalogue (Bengio and Senecal 2008; Yi et al., RecSys 2019).

    accidental_hits: drop the row's own item from its negatives. known: also drop these; `longest` is the
    largest number of items a user has. hard_negatives: keep only so many of the highest-scoring distinct
    candidates of a row, each with its weight (0: all).

    Computed a block of rows at a time; gradients are made in the same pass over the scores, so that the
    B x C matrix is neither stored nor computed twice.
    """
    count = queries.shape[0]
    block = min(BLOCK, count)
    pad = -count % block
    padded = (jnp.pad(queries, ((0, pad), (0, 0))), jnp.pad(positive, (0, pad)), jnp.pad(weights, (0, pad)))
    if known is not None:
        known = known._replace(users=jnp.pad(known.users, (0, pad), constant_values=-1))
    options = _Options(block, accidental_hits, longest, hard_negatives)
    if hard_negatives:
        return _total(*padded, candidates, known, options)
    return _one_pass(*padded, candidates, known, options)


class _Options(NamedTuple):
    block: int
    accidental_hits: bool
    longest: int
    hard_negatives: int


def _scores(
    q: Array, own: Array, users: Array | None, candidates: Candidates, known: Known | None, options: _Options
) -> tuple[Array, Array]:
    """A block's weighted scores [block, C], and each row's own score [block]."""
    raw = q @ candidates.vectors.T
    scores = raw + candidates.log_weight
    if known is not None and users is not None:
        scores = jnp.where(_known_mask(users, known, candidates, options.longest), NEGLIGIBLE, scores)
    mine = jnp.arange(raw.shape[1])[None, :] == own[:, None]
    positive = jnp.take_along_axis(raw, own[:, None], 1)[:, 0] + candidates.own_log_weight[own]
    kept = positive[:, None] if options.accidental_hits else raw + candidates.log_weight
    scores = jnp.where(mine, kept, scores)
    if options.hard_negatives:
        others = jnp.where(mine, NEGLIGIBLE, scores)
        count = min(options.hard_negatives, raw.shape[1])
        scores = jnp.concatenate([positive[:, None], jax.lax.top_k(others, count)[0]], axis=1)
    return scores, positive


def _known_mask(users: Array, known: Known, candidates: Candidates, longest: int) -> Array:
    """bool [block, C]: the candidates each row's user is known to have chosen."""
    start = known.indptr[jnp.maximum(users, 0)]
    length = jnp.where(users < 0, 0, known.indptr[jnp.maximum(users, 0) + 1] - start)
    offsets = jnp.arange(longest)
    items = known.items.at[start[:, None] + offsets].get(mode="clip")
    columns = candidates.column_of[items]
    real = (offsets < length[:, None]) & (candidates.items[columns] == items)
    num_columns = candidates.vectors.shape[0]
    columns = jnp.where(real, columns, num_columns)  # one column past the end is dropped
    rows = jnp.arange(users.shape[0])[:, None]
    return jnp.zeros((users.shape[0], num_columns), bool).at[rows, columns].set(True, mode="drop")


def _blocks(q: Array, own: Array, weights: Array, known: Known | None, block: int) -> tuple[Array, ...]:
    parts = (q.reshape(-1, block, q.shape[1]), own.reshape(-1, block), weights.reshape(-1, block))
    return parts if known is None else (*parts, known.users.reshape(-1, block))


def _total(
    q: Array, own: Array, weights: Array, candidates: Candidates, known: Known | None, options: _Options
) -> Array:
    @jax.checkpoint
    def one(part: tuple[Array, ...]) -> Array:
        users = part[3] if known is not None else None
        scores, positive = _scores(part[0], part[1], users, candidates, known, options)
        return jnp.sum(part[2] * (jax.nn.logsumexp(scores, axis=1) - positive))

    losses: Array = jax.lax.map(one, _blocks(q, own, weights, known, options.block))
    return losses.sum()


@partial(jax.custom_vjp, nondiff_argnums=(5,))
def _one_pass(
    q: Array, own: Array, weights: Array, candidates: Candidates, known: Known | None, options: _Options
) -> Array:
    return _total(q, own, weights, candidates, known, options)


def _forward(
    q: Array, own: Array, weights: Array, candidates: Candidates, known: Known | None, options: _Options
) -> tuple[Array, tuple[Any, ...]]:
    vectors = candidates.vectors

    def one(d_vectors: Array, part: tuple[Array, ...]) -> tuple[Array, tuple[Array, Array]]:
        users = part[3] if known is not None else None
        scores, positive = _scores(part[0], part[1], users, candidates, known, options)
        top = scores.max(axis=1, keepdims=True)
        e = jnp.exp(scores - top)
        z = e.sum(axis=1, keepdims=True)
        p = e * (part[2][:, None] / z)
        loss = jnp.sum(part[2] * (top[:, 0] + jnp.log(z[:, 0]) - positive))
        return d_vectors + p.T @ part[0], (loss, p @ vectors)

    start = jnp.zeros_like(vectors)
    d_vectors, (losses, d_q) = jax.lax.scan(one, start, _blocks(q, own, weights, known, options.block))
    d_q = d_q.reshape(q.shape) - weights[:, None] * vectors[own]
    d_vectors = d_vectors.at[own].add(-weights[:, None] * q)
    return losses.sum(), (d_q, d_vectors, own, weights, candidates, known)


def _backward(options: _Options, saved: tuple[Any, ...], g: Array) -> tuple[Any, ...]:
    d_q, d_vectors, own, weights, candidates, known = saved
    nothing = jax.tree.map(_no_gradient, (own, weights, candidates, known))
    d_candidates = nothing[2]._replace(vectors=g * d_vectors)
    return g * d_q, nothing[0], nothing[1], d_candidates, nothing[3]


def _no_gradient(x: Array) -> Any:
    """Zero: weights, counts and log_q are data."""
    if jnp.issubdtype(x.dtype, jnp.floating):
        return jnp.zeros_like(x)
    return np.zeros(x.shape, jax.dtypes.float0)


_one_pass.defvjp(_forward, _backward)
