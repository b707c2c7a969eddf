"""The whole loss of a batch: every task's own, weighted, plus penalties."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from shortlist.features.batches import KNOWN
from shortlist.models.bags import Shared, is_spread, shared_sum, spread_sum
from shortlist.models.blocks import Side
from shortlist.models.build import Net, Tables, represent
from shortlist.models.heads import projection_penalty, weight_penalty
from shortlist.models.layers import lookup
from shortlist.models.pairs import pair_loss
from shortlist.models.towers import UNKNOWN
from shortlist.specs.features import Bag, Id, TableSpec, WithVocabulary
from shortlist.specs.models import Model
from shortlist.specs.tasks import Rating, Retrieval, TaskSpec
from shortlist.tasks.known import KnownPositives
from shortlist.tasks.losses import squared_error
from shortlist.tasks.past import PastTables, SeenBefore
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
    past: Array | None = None
    raters: Array | None = None
    aggregates: dict[str, Array] = {}  # noqa: RUF012 - a tuple's default, never written to


class Corpus(NamedTuple):
    """The encoded catalogue of N items; see `features.batches.Catalogue`.

    known: each user's items, where a task asks for them. audience: encoded query features of each user,
    where a query is its user and nothing more; a batch's own are then not read. pasts: what users had, in
    order, where features or tasks ask for it; raters: who had each item.
    """

    items: dict[str, Array]
    log_q: Array
    known: KnownPositives | None = None
    audience: dict[str, Array] | None = None
    pasts: PastTables | None = None
    raters: PastTables | None = None


class View(NamedTuple):
    """The distinct rows of both sides that a batch looks at: features and places, no parameters.

    query: encoded features of Q queries; query_row int [B], each row's place among them (None: its own).
    columns: the C distinct items; items: their encoded features. raters: the weights [B, U] of bags of the
    users who had each row's item, and under "<key>@slots" the table's row of each user.
    """

    query: dict[str, Array]
    query_row: Array | None
    columns: Columns
    items: dict[str, Array]
    raters: dict[str, Array] = {}  # noqa: RUF012 - a tuple's default, never written to


def active_tasks(spec: Model) -> tuple[TaskSpec, ...]:
    """The tasks that are trained: one of weight 0 is left out of the program and costs nothing."""
    return tuple(t for t in spec.all_tasks if t.weight != 0)


def active_retrieval(spec: Model) -> Retrieval | None:
    """The retrieval task, if it is trained."""
    return next((t for t in active_tasks(spec) if isinstance(t, Retrieval)), None)


def look(spec: Model, batch: Batch, corpus: Corpus) -> View:
    """What a batch looks at."""
    num_items = corpus.log_q.shape[0]
    whole = needs_whole_catalogue(active_retrieval(spec))
    columns = distinct(batch.candidates, batch.weights > 0, num_items, whole=whole)
    items = corpus.items
    if len(columns.items) != num_items:
        items = {k: _real(v[columns.items], columns.counts > 0) for k, v in items.items()}
    items = items | _unknown(spec, "candidate")
    raters = _raters(spec, batch, corpus.raters)
    if corpus.audience is not None:
        return View(corpus.audience | _unknown(spec, "query"), batch.users, columns, items, raters)
    query = batch.query | _bags(spec, batch, corpus.pasts) | _unknown(spec, "query")
    return View(query, None, columns, items, raters)


def _unknown(spec: Model, side: str) -> dict[str, Array]:
    """The row of unknown ids, for features that drop ids."""
    dropping = (f for f in spec.features(side) if isinstance(f, Id) and f.id_dropout)
    return {f.key + UNKNOWN: jnp.zeros(1, int) for f in dropping}


def _raters(spec: Model, batch: Batch, raters: PastTables | None) -> dict[str, Array]:
    """The weights of candidates' bags, row by row: who else had an item depends on the row."""
    out: dict[str, Any] = {}
    if raters is None or batch.raters is None:
        return out
    for feature in spec.features("candidate"):
        if isinstance(feature, Bag):
            out |= _weights(feature, raters, batch.candidates, batch.raters, batch.users)
    return out


def _bags(spec: Model, batch: Batch, pasts: PastTables | None) -> dict[str, Array]:
    """The weights of the query's bags, where they are not given as lists."""
    out: dict[str, Any] = {}
    if pasts is None or pasts.order is None or batch.past is None:
        return out
    for feature in spec.features("query"):
        if isinstance(feature, Bag):
            out |= _weights(feature, pasts, batch.users, batch.past, batch.candidates)
    return out


def _weights(bag: Bag, tables: PastTables, users: Array, past: Array, own: Array) -> dict[str, Any]:
    weights, slots = tables.weights(bag, users, past, own)
    return {bag.key: weights} if slots is None else {bag.key: weights, f"{bag.key}@slots": slots}


def _real(features: Array, used: Array) -> Array:
    """Encoded features [C, ...] in which unused columns name no row of a table: none is touched for them."""
    if not jnp.issubdtype(features.dtype, jnp.integer):
        return features
    return jnp.where(used.reshape(-1, *[1] * (features.ndim - 1)), features, -1)


def batch_loss(
    params: Params,
    batch: Batch,
    view: View,
    corpus: Corpus,
    task_weights: dict[str, Array],
    *,
    key: Array | None,
) -> tuple[Array, dict[str, Array]]:
    """(weighted sum of the tasks' losses and penalties, each task's own mean loss). No key: no dropout.

    A head's mean is over the rows that have its label; the others teach retrieval alone.
    """
    net, tables = params
    spec = net.spec
    tasks = active_tasks(spec)
    retrieval = active_retrieval(spec)
    columns = view.columns
    num_queries = len(batch.weights) if view.query_row is None else len(next(iter(view.query.values())))
    query_noise, item_noise, head_noise = _draw(net, num_queries, len(batch.weights), len(columns.items), key)
    queries = represent(net, tables, "query", view.query, noise=query_noise)
    candidates = represent(net, tables, "candidate", view.items, noise=item_noise)

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
            known=corpus.known,
            users=batch.users,
            query_row=view.query_row,
            seen=_seen(retrieval, batch, columns, corpus),
            bonus=net.seen,
            key=jax.random.fold_in(jax.random.key(0) if key is None else key, 1),
        )
    sums |= _head_sums(net, tables, batch, view, queries, candidates, head_noise)
    totals = {h.name: _total(batch, h.label) for h in spec.heads if h.label + KNOWN in batch.labels}
    means = {name: value / totals.get(name, total_weight) for name, value in sums.items()}
    reduced = {t.name: sums[t.name] if t.reduction == "sum" else means[t.name] for t in tasks}
    loss = sum((task_weights[n] * value for n, value in reduced.items()), start=jnp.zeros(()))
    return loss + _penalties(net, tables, batch, view, total_weight), means


def _weights_of(batch: Batch, label: str) -> Array:
    """What rows weigh in the loss of a label: [B], 0 where they have none."""
    known = batch.labels.get(label + KNOWN)
    return batch.weights if known is None else batch.weights * known


def _total(batch: Batch, label: str) -> Array:
    return jnp.maximum(_weights_of(batch, label).sum(), 1e-9)


def _seen(task: Retrieval, batch: Batch, columns: Columns, corpus: Corpus) -> SeenBefore | None:
    """What rows' users had before, where the task learns what that means."""
    if not task.seen:
        return None
    assert corpus.pasts is not None and batch.past is not None
    whole = columns.items.shape[0] == corpus.log_q.shape[0]
    return SeenBefore(corpus.pasts, batch.past, None if whole else columns.items, task.seen)


def _draw(
    net: Net, num_queries: int, num_rows: int, num_items: int, key: Array | None
) -> tuple[Array | None, ...]:
    """Random bits for the query tower, the candidate tower and the heads, from one draw; None: none due."""
    dims, counts = net.noise_dims, (num_queries, num_items, num_rows)
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
    net: Net,
    tables: Tables,
    batch: Batch,
    view: View,
    queries: Array,
    candidates: Array,
    noise: Array | None,
) -> dict[str, Array]:
    """Each active head's summed loss, over distinct queries [Q, r] and candidates [C, r]."""
    sums = {}
    sides = Side(queries, view.query_row), Side(candidates, view.columns.row_column)
    tasks = [h for h in net.spec.heads if h.weight != 0]
    alone = [
        t for t in tasks if isinstance(t, Rating) and net.heads[t.name].splits(dropout=noise is not None)
    ]
    for task in alone:
        own = batch.labels[task.label], _weights_of(batch, task.label)
        sums[task.name] = pair_loss(net, task.name, squared_error, *sides, *own)
    rest = [t for t in tasks if t.name not in sums]
    if not rest:
        return sums
    queries, candidates = (side.at_rows() for side in sides)
    candidates = _with_raters(net, tables, view, candidates)
    scores = jax.vmap(lambda q, c, a, bits: net.predict(q, c, a, noise=bits))(
        queries, candidates, batch.aggregates, noise
    )
    for other in rest:
        weights = _weights_of(batch, other.label)
        kept = weights > 0
        pairs = Pairs(
            _cut(kept, scores[other.name]),
            batch.labels[other.label],
            _cut(kept, queries)[:, : net.query.width],
            _cut(kept, candidates)[:, : net.candidate.width],
            batch.candidates,
            batch.users,
        )
        losses = jnp.where(kept, weights * head_loss(other, pairs), 0.0)
        sums[other.name] = jnp.sum(losses)
    return sums


def _cut(kept: Array, x: Array) -> Array:
    """x [B, ...], through which no slope goes at rows that are not kept: the loss of a padding row, and its
    slope, may be anything, NaN included."""
    return jnp.where(kept.reshape(-1, *[1] * (x.ndim - 1)), x, jax.lax.stop_gradient(x))


def _with_raters(net: Net, tables: Tables, view: View, candidates: Array) -> Array:
    """Representations [B, r] of rows' items, with what bags of their raters add to heads' own vectors."""
    for head in net.spec.heads:
        for feature in head.own["candidate"]:
            if feature.key in view.raters and isinstance(feature, Bag):
                table = tables[f"candidate/{feature.table_name}"]
                weights: Any = view.raters[feature.key]
                if isinstance(weights, Shared):
                    vectors = shared_sum(table, weights)
                else:
                    slots = view.raters[f"{feature.key}@slots"]
                    vectors = spread_sum(feature, table, weights, slots, None)
                start = net.own_start("candidate", head.name)
                candidates = candidates.at[:, start : start + head.dim].add(vectors)
    return candidates


def _penalties(net: Net, tables: Tables, batch: Batch, view: View, total: Array) -> Array:
    """L2 on the rows a batch touches, averaged over its examples, and on heads' weights."""
    loss = jnp.zeros(())
    spec = net.spec
    share = batch.weights / total
    by_column = jnp.zeros(len(view.columns.items)).at[view.columns.row_column].add(share)
    by_query = share
    if view.query_row is not None:
        num_queries = len(next(iter(view.query.values())))
        by_query = jnp.zeros(num_queries).at[view.query_row].add(share)
    sides = {"query": (view.query, by_query), "candidate": (view.items, by_column)}
    for side, (encoded, shares) in sides.items():
        for feature in spec.features(side):
            if not isinstance(feature, TableSpec):
                continue
            name = f"{side}/{feature.table_name}"
            if isinstance(feature, WithVocabulary) and feature.l2_all:
                loss += feature.l2_all * jnp.sum(jnp.square(tables[name]))
            if feature.key in view.raters:
                if feature.l2:
                    weights, slots = view.raters[feature.key], view.raters[f"{feature.key}@slots"]
                    loss += feature.l2 * _spread_over(tables[name], weights, slots, share)
                continue
            rows = encoded[feature.key]
            if feature.l2 and isinstance(feature, Bag) and is_spread(rows):
                loss += feature.l2 * _spread_over(
                    tables[name], rows, encoded.get(f"{feature.key}@slots"), shares
                )
            elif feature.l2:
                loss += feature.l2 * _touched(tables[name], rows, shares)
            for head in spec.heads:
                if head.bias_l2 and head.weight and head.name in spec.biases(side, feature):
                    loss += head.bias_l2 * _touched(tables[f"{name}#{head.name}"], rows, shares)
    for head in spec.heads:
        if head.l2 and head.weight:
            loss += head.l2 * weight_penalty(net.heads[head.name])
        if head.projection_l2 and head.weight:
            loss += head.projection_l2 * projection_penalty(net.heads[head.name])
    return loss


def _spread_over(table: Array, weights: Array, slots: Array | None, share: Array) -> Array:
    """As `_touched`, of weights [n, rows] in place of lists."""
    squares = jnp.sum(jnp.square(table if slots is None else lookup(table, slots)), axis=-1)
    return jnp.sum((share @ (weights != 0)) * squares)


def _touched(table: Array, rows: Array, share: Array) -> Array:
    """Mean over examples of the squared norm of the rows they touch (summed over several values a row)."""
    squares = jnp.where(rows >= 0, jnp.sum(jnp.square(lookup(table, rows)), axis=-1), 0.0)
    return jnp.sum(share * squares.reshape(len(share), -1).sum(axis=1))
