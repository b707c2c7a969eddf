"""The whole loss of a batch: every task's own, weighted, plus penalties."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from shortlist.models.build import Net, Tables, represent
from shortlist.models.heads import weight_penalty
from shortlist.models.layers import lookup
from shortlist.specs.features import Bucket, Category, Id, TableSpec
from shortlist.specs.models import Model
from shortlist.specs.tasks import Retrieval, TaskSpec
from shortlist.tasks.losses import Known
from shortlist.tasks.ranking import Pairs, head_loss
from shortlist.tasks.retrieval import Columns, distinct, needs_whole_catalogue, retrieval_loss

Params = tuple[Net, Tables]


class Batch(NamedTuple):
    """B encoded rows; see `features.batches.Examples`. weights are 0 on padding."""

    query: dict[str, Array]
    candidates: Array
    labels: dict[str, Array]
    weights: Array
    users: Array


class Corpus(NamedTuple):
    """The encoded catalogue of N items; see `features.batches.Catalogue`."""

    items: dict[str, Array]
    log_q: Array
    known_indptr: Array
    known_items: Array


def active_tasks(spec: Model) -> tuple[TaskSpec, ...]:
    """The tasks that are trained: one of weight 0 is left out of the program and costs nothing."""
    return tuple(t for t in spec.all_tasks if t.weight != 0)


def batch_loss(
    params: Params,
    batch: Batch,
    corpus: Corpus,
    task_weights: dict[str, Array],
    *,
    longest: int,
    key: Array | None,
) -> tuple[Array, dict[str, Array]]:
    """(weighted sum of the tasks' losses and penalties, each task's own mean loss). No key: no dropout."""
    net, tables = params
    spec = net.spec
    tasks = active_tasks(spec)
    retrieval = next((t for t in tasks if isinstance(t, Retrieval)), None)
    num_items = corpus.log_q.shape[0]
    real = batch.weights > 0
    columns = distinct(batch.candidates, real, num_items, whole=needs_whole_catalogue(retrieval))
    items = (
        {k: v[columns.items] for k, v in corpus.items.items()}
        if len(columns.items) != num_items
        else corpus.items
    )
    query_noise, item_noise, head_noise = _draw(net, len(batch.weights), len(columns.items), key)
    queries = represent(net, tables, "query", batch.query, noise=query_noise)
    candidates = represent(net, tables, "candidate", items, noise=item_noise)

    total_weight = jnp.maximum(batch.weights.sum(), 1e-9)
    sums: dict[str, Array] = {}
    if retrieval is not None:
        sums["retrieval"] = retrieval_loss(
            retrieval,
            jax.vmap(net.query_vector)(queries),
            jax.vmap(net.candidate_vector)(candidates),
            columns,
            batch.weights,
            corpus.log_q,
            known=Known(batch.users, corpus.known_indptr, corpus.known_items),
            longest=longest,
            key=jax.random.fold_in(jax.random.key(0) if key is None else key, 1),
        )
    sums |= _head_sums(net, batch, queries, candidates[columns.row_column], head_noise)
    means = {name: value / total_weight for name, value in sums.items()}
    reduced = {t.name: sums[t.name] if t.reduction == "sum" else means[t.name] for t in tasks}
    loss = sum((task_weights[n] * value for n, value in reduced.items()), start=jnp.zeros(()))
    return loss + _penalties(net, tables, batch, columns, items, total_weight), means


def _draw(net: Net, num_rows: int, num_items: int, key: Array | None) -> tuple[Array | None, ...]:
    """Random bits for the query tower, the candidate tower and the heads, from one draw; None: none due."""
    dims, counts = net.noise_dims, (num_rows, num_items, num_rows)
    if key is None or not any(dims):
        return None, None, None
    sizes = [dim * count for dim, count in zip(dims, counts, strict=True)]
    bits = jax.random.bits(key, (sum(sizes),))
    parts = jnp.split(bits, [sizes[0], sizes[0] + sizes[1]])
    return tuple(
        part.reshape(count, dim) if dim else None
        for part, count, dim in zip(parts, counts, dims, strict=True)
    )


def _head_sums(
    net: Net, batch: Batch, queries: Array, candidates: Array, noise: Array | None
) -> dict[str, Array]:
    """Each active head's summed loss."""
    tasks = [h for h in net.spec.heads if h.weight != 0]
    if not tasks:
        return {}
    scores = jax.vmap(lambda q, c, bits: net.predict(q, c, noise=bits))(queries, candidates, noise)
    sums = {}
    for task in tasks:
        pairs = Pairs(
            scores[task.name],
            batch.labels[task.label],
            queries[:, : net.query.width],
            candidates[:, : net.candidate.width],
            batch.candidates,
            batch.users,
        )
        # where, not a product: a padding row's loss may be anything, NaN included
        sums[task.name] = jnp.sum(jnp.where(batch.weights > 0, batch.weights * head_loss(task, pairs), 0.0))
    return sums


def _penalties(
    net: Net, tables: Tables, batch: Batch, columns: Columns, items: dict[str, Array], total: Array
) -> Array:
    """L2 on the rows a batch touches, averaged over its examples, and on heads' weights."""
    loss = jnp.zeros(())
    spec = net.spec
    share = batch.weights / total
    by_column = jnp.zeros(len(columns.items)).at[columns.row_column].add(share)
    shares = {"query": share, "candidate": by_column}
    encoded = {"query": batch.query, "candidate": items}
    for side, tower in (("query", spec.query), ("candidate", spec.candidate)):
        for feature in tower.features:
            if not isinstance(feature, TableSpec):
                continue
            name, rows = f"{side}/{feature.key}", encoded[side][feature.key]
            if feature.l2:
                loss += feature.l2 * _touched(tables[name], rows, shares[side])
            if isinstance(feature, Id | Category | Bucket):
                for head in spec.heads:
                    if head.biases and head.bias_l2 and head.weight:
                        loss += head.bias_l2 * _touched(tables[f"{name}#{head.name}"], rows, shares[side])
    for head in spec.heads:
        if head.l2 and head.weight:
            loss += head.l2 * weight_penalty(net.heads[head.name])
    return loss


def _touched(table: Array, rows: Array, share: Array) -> Array:
    """Mean over examples of the squared norm of the rows they touch (summed over several values a row)."""
    squares = jnp.where(rows >= 0, jnp.sum(jnp.square(lookup(table, rows)), axis=-1), 0.0)
    return jnp.sum(share * squares.reshape(len(share), -1).sum(axis=1))
