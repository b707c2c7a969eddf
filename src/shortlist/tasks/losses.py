"""Losses: pure functions of arrays.

Shapes: B rows, C candidate columns, d vector width, U users, N items of the catalogue.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from shortlist.models.precision import product
from shortlist.tasks.known import KnownPositives, marked
from shortlist.tasks.past import SeenBefore

BLOCK_SCORES = 2**21
"""Scores held at a time (8 MiB): the B x C matrix is never held whole."""
BLOCK_ROWS = 512
"""The most rows scored at a time: with few columns, larger blocks leave the cache and gain nothing."""
REACH = 50.0
"""exp(score - own score) stays far from overflow, summed over columns too, while no score is this much above
the row's own."""
NEGLIGIBLE = -1e30
"""Stands in for log(0): finite, so that removed entries have gradient zero, not NaN."""


class Candidates(NamedTuple):
    """The distinct candidates a batch is scored against.

    vectors: [C, d]. log_weight: [C], log of how often each stands in the sample, less its log_q where
    corrected; NEGLIGIBLE where it is not in the sample. own_log_weight: [C], the same for a candidate as a
    row's own positive, which counts once. column_of: int [N], an item's column, C where it has none.
    """

    vectors: Array
    log_weight: Array
    own_log_weight: Array
    column_of: Array


def squared_error(predictions: Array, labels: Array) -> Array:
    """(prediction - label)^2; [B], [B] -> [B]."""
    return jnp.square(predictions - labels)


class _Rows(NamedTuple):
    """Rows less their queries: own int [R], the columns of their positives; weights [R]; users int [R]; past
    int [R, 3], where they stand among their users' items, where that matters."""

    own: Array
    weights: Array
    users: Array
    past: Array | None = None


class _Sample(NamedTuple):
    """Candidates less their vectors, and what is known of users."""

    log_weight: Array
    own_log_weight: Array
    column_of: Array
    known: KnownPositives | None
    seen: SeenBefore | None = None


class _Options(NamedTuple):
    accidental_hits: bool
    hard_negatives: int


def softmax_loss(
    queries: Array,
    positive: Array,
    candidates: Candidates,
    weights: Array,
    *,
    accidental_hits: bool = True,
    known: KnownPositives | None = None,
    users: Array | None = None,
    hard_negatives: int = 0,
    seen: SeenBefore | None = None,
    bonus: Array | None = None,
) -> Array:
    """Sum over rows of weights [B] times -log softmax of the row's own candidate; a scalar.

    queries [B, d]; positive int [B], columns. A candidate that stands n times in a sample counts n times:
    sum_j exp(s_j) over the sample's entries equals sum_c n_c exp(s_c) over its distinct candidates, so this
    form is exact however small C is. With scores corrected by log_q it estimates the softmax over the whole
    catalogue (Bengio and Senecal 2008; Yi et al., RecSys 2019).

    accidental_hits: drop the row's own item from its negatives. known: also drop what a row's user, users
    int [B] (-1: nothing is known), has chosen. hard_negatives: keep only so many of the highest-scoring
    distinct candidates of a row, each with its weight (0: all). bonus: a scalar added to the scores of
    candidates a row's user had before, as `seen` tells.

    Computed a block of rows at a time; gradients are made in the same pass over the scores, so that the
    B x C matrix is neither stored nor computed twice. Gradients reach queries, vectors and the bonus only.
    """
    count, block = len(positive), block_rows(len(positive), len(candidates.vectors))
    if users is None:
        users = jnp.full(count, -1)

    def blocks(x: Array, fill: int = 0) -> Array:
        padding = [(0, -count % block), *[(0, 0)] * (x.ndim - 1)]
        return jnp.pad(x, padding, constant_values=fill).reshape(-1, block, *x.shape[1:])

    rows = _Rows(
        blocks(positive), blocks(weights), blocks(users, -1), None if seen is None else blocks(seen.past)
    )
    sample = _Sample(*candidates[1:], known, seen)
    total = _hardest if hard_negatives else _one_pass
    given = jnp.zeros(()) if bonus is None else bonus
    options = _Options(accidental_hits, hard_negatives)
    return total(blocks(queries), candidates.vectors, given, rows, sample, options)


def block_rows(num_rows: int, num_columns: int) -> int:
    """Rows a block: about BLOCK_SCORES scores, at most BLOCK_ROWS, blocks of nearly equal size."""
    most = min(BLOCK_ROWS, max(16, BLOCK_SCORES // num_columns // 16 * 16))
    if num_rows <= most:
        return num_rows
    even = -(-num_rows // -(-num_rows // most))
    return -(-even // 16) * 16


def _known_bits(rows: _Rows, sample: _Sample) -> tuple[Array, Array] | None:
    if sample.known is None:
        return None
    return sample.known.bits(rows.users, sample.column_of, len(sample.log_weight))


def _before(rows: _Rows, sample: _Sample) -> Array | None:
    """bool [R, C]: what rows' users had before; None where it does not matter."""
    seen = sample.seen
    if seen is None or rows.past is None:
        return None
    num_columns = len(sample.log_weight)
    return seen.tables.had_columns(
        rows.users, rows.past, seen.as_of, seen.columns, sample.column_of, num_columns
    )


def _own_before(rows: _Rows, before: Array | None) -> Array | float:
    """1.0 where a row's own item is one its user had before [R]."""
    if before is None:
        return 0.0
    return jnp.take_along_axis(before, rows.own[:, None], axis=1)[:, 0].astype(jnp.float32)


def _removed(own: Array, known: tuple[Array, Array] | None, num_columns: int) -> Array:
    """bool [R, C]: a row's own column and what its user is known to have chosen."""
    removed = jnp.arange(num_columns) == own[:, None]
    if known is None:
        return removed
    return removed | marked(*known)


def _hardest(
    queries: Array, vectors: Array, bonus: Array, rows: _Rows, sample: _Sample, options: _Options
) -> Array:
    """The loss over each row's hardest negatives."""

    @jax.checkpoint
    def one(block: tuple[Array, _Rows]) -> Array:
        q, part = block
        own = part.own
        removed = _removed(own, _known_bits(part, sample), len(vectors))
        before = _before(part, sample)
        raw = product(q, vectors.T)
        raw = raw if before is None else raw + jnp.where(before, bonus, 0.0)
        scores = jnp.where(removed, NEGLIGIBLE, raw + sample.log_weight)
        positive = jnp.sum(q * vectors[own], axis=1) + sample.own_log_weight[own]
        positive = positive + bonus * _own_before(part, before)
        if not options.accidental_hits:  # the other entries of the row's own item are a negative
            more = _own_count(own, sample) - 1
            again = jnp.where(more > 0.5, positive + jnp.log(jnp.maximum(more, 1)), NEGLIGIBLE)
            scores = scores.at[jnp.arange(len(own)), own].set(again)
        hardest = jax.lax.top_k(scores, min(options.hard_negatives, scores.shape[1]))[0]
        kept = jnp.concatenate([positive[:, None], hardest], axis=1)
        return jnp.sum(part.weights * (jax.nn.logsumexp(kept, axis=1) - positive))

    losses: Array = jax.lax.map(one, (queries, rows))
    return losses.sum()


def _own_count(own: Array, sample: _Sample) -> Array:
    """How often a row's own item stands in the sample [R]; at least once."""
    return jnp.maximum(jnp.exp(sample.log_weight[own] - sample.own_log_weight[own]), 1.0)


@partial(jax.custom_vjp, nondiff_argnums=(5,))
def _one_pass(
    queries: Array, vectors: Array, bonus: Array, rows: _Rows, sample: _Sample, options: _Options
) -> Array:
    return _forward(queries, vectors, bonus, rows, sample, options)[0]


def _forward(
    queries: Array, vectors: Array, bonus: Array, rows: _Rows, sample: _Sample, options: _Options
) -> tuple[Array, tuple[Array, Array, Array]]:
    """The loss, and its gradients by queries [B / R, R, d], vectors [C, d] and the bonus.

    Sums over negatives are not divided by z: z goes into the small factors of each product instead.
    """
    turned = vectors.T  # two of the three products are fastest this way around
    reach = jnp.sqrt(jnp.max(jnp.sum(jnp.square(vectors), axis=1)))
    top_weight = sample.log_weight.max()

    def one(d_turned: Array, block: tuple[Array, _Rows]) -> tuple[Array, tuple[Array, ...]]:
        q, part = block
        own_vectors = vectors[part.own]
        before = _before(part, sample)
        own_before = _own_before(part, before)
        positive = jnp.sum(q * own_vectors, axis=1) + sample.own_log_weight[part.own] + bonus * own_before
        raw = product(q, turned)
        raw = raw if before is None else raw + jnp.where(before, bonus, 0.0)
        known = _known_bits(part, sample)

        def highest() -> Array:
            removed = _removed(part.own, known, len(vectors))  # made anew: not a matrix to be kept
            scores = jnp.where(removed, NEGLIGIBLE, raw + sample.log_weight)
            return jnp.maximum(scores.max(axis=1), positive)

        # where no score can lie far above the row's own, that shifts as safely as the highest one would
        bound = jnp.sqrt(jnp.sum(jnp.square(q), axis=1)) * reach + top_weight + jnp.maximum(bonus, 0.0)
        shift = jax.lax.cond(jnp.all(bound - positive < REACH), lambda: positive, highest)
        e = jnp.exp(raw + (sample.log_weight - shift[:, None]))
        e = jnp.where(_removed(part.own, known, len(vectors)), 0.0, e)
        others = e.sum(axis=1)
        count = 1.0 if options.accidental_hits else _own_count(part.own, sample)
        own = count * jnp.exp(positive - shift)
        z = own + others
        loss = jnp.sum(part.weights * (shift - positive + jnp.log1p(own - 1 + others)))
        share = (part.weights / z)[:, None]
        missed = -(share[:, 0] * others)  # weight * (own / z - 1), free of cancellation
        d_q = product(e, vectors) * share + missed[:, None] * own_vectors
        d_bonus = jnp.zeros(())
        if before is not None:
            again = jnp.where(before, e, 0.0).sum(axis=1)
            d_bonus = jnp.sum(share[:, 0] * again + missed * own_before)
        return d_turned + product((q * share).T, e), (loss, d_q, missed, d_bonus)

    d_turned, (losses, d_q, missed, d_bonus) = jax.lax.scan(one, jnp.zeros_like(turned), (queries, rows))
    d_vectors = d_turned.T.at[rows.own].add(missed[..., None] * queries)
    return losses.sum(), (d_q, d_vectors, d_bonus.sum())


def _backward(_options: _Options, gradients: tuple[Array, Array, Array], g: Array) -> tuple[Any, ...]:
    """Weights, counts and log_q are data: they have no gradient."""
    return g * gradients[0], g * gradients[1], g * gradients[2], None, None


_one_pass.defvjp(_forward, _backward)


def grouped_softmax_loss(
    queries: Array,
    query_row: Array,
    positive: Array,
    candidates: Candidates,
    weights: Array,
    *,
    accidental_hits: bool,
    known: KnownPositives | None,
) -> Array:
    """`softmax_loss` where rows share queries [Q, d]: query_row int [B], each row's; a scalar.

    The sum over negatives is then one a query, not one a row. Query q is user q, and with `known` a row's own
    item is among its user's: rows are what the known positives were made of. Without `known` all entries of
    the sample count, the row's own among them: accidental hits cannot be dropped.
    """
    assert known is not None or not accidental_hits
    vectors, sample = candidates.vectors, _Sample(*candidates[1:], known)
    totals = _log_sums(queries, vectors, sample)[query_row]
    own = jnp.sum(queries[query_row] * vectors[positive], axis=1) + sample.own_log_weight[positive]
    if known is not None:
        again = 0.0 if accidental_hits else jnp.log(_own_count(positive, sample))
        totals = jnp.logaddexp(totals, own + again)
    return jnp.sum(weights * (totals - own))


@jax.custom_vjp
def _log_sums(queries: Array, vectors: Array, sample: _Sample) -> Array:
    """log of the sum over a sample's entries, less what user q is known to have chosen, of each query q."""
    return _log_sums_forward(queries, vectors, sample)[0]


def _weighted(q: Array, users: Array, vectors: Array, sample: _Sample) -> Array:
    """A block's weighted scores [R, C], NEGLIGIBLE where a column is known to the row's user."""
    scores = product(q, vectors.T) + sample.log_weight
    known = None if sample.known is None else sample.known.bits(users, sample.column_of, len(vectors))
    return scores if known is None else jnp.where(marked(*known), NEGLIGIBLE, scores)


def _query_blocks(queries: Array, num_columns: int) -> tuple[Array, Array]:
    """Queries [Q / R, R, d] and their users [Q / R, R]; padding is of no user."""
    count, block = len(queries), block_rows(len(queries), num_columns)
    users = jnp.pad(jnp.arange(count), (0, -count % block), constant_values=-1)
    padded = jnp.pad(queries, ((0, -count % block), (0, 0)))
    return padded.reshape(-1, block, queries.shape[1]), users.reshape(-1, block)


def _log_sums_forward(
    queries: Array, vectors: Array, sample: _Sample
) -> tuple[Array, tuple[Array, Array, _Sample, Array]]:
    def one(block: tuple[Array, Array]) -> Array:
        return jax.nn.logsumexp(_weighted(*block, vectors, sample), axis=1)

    blocks: Array = jax.lax.map(one, _query_blocks(queries, len(vectors)))
    totals = blocks.reshape(-1)[: len(queries)]
    return totals, (queries, vectors, sample, totals)


def _log_sums_backward(saved: tuple[Array, Array, _Sample, Array], g: Array) -> tuple[Array, Array, None]:
    queries, vectors, sample, totals = saved
    blocks = _query_blocks(queries, len(vectors))
    extra = blocks[1].size - len(queries)
    slopes, sums = (jnp.pad(x, (0, extra)).reshape(blocks[1].shape) for x in (g, totals))

    def one(d_turned: Array, part: tuple[Array, ...]) -> tuple[Array, Array]:
        q, users, slope, total = part
        e = jnp.exp(_weighted(q, users, vectors, sample) - total[:, None])
        return d_turned + product((q * slope[:, None]).T, e), product(e, vectors) * slope[:, None]

    d_turned, d_q = jax.lax.scan(one, jnp.zeros_like(vectors.T), (*blocks, slopes, sums))
    return d_q.reshape(-1, queries.shape[1])[: len(queries)], d_turned.T, None


_log_sums.defvjp(_log_sums_forward, _log_sums_backward)
