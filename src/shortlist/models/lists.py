"""A head over k candidates of each of b queries, by the linearity of its first layer.

W [p, c] = W_p p + W_c c: each side's term is computed once, and a pair adds them up. With a product as well,
W [p, c, p * c] = W_p p + (W_c + W_x diag(p)) c is affine in the candidate once the query is known: the query
becomes a matrix, and its product with candidates is all that a pair costs below the first activation. Of a
single candidate the matrix costs more than it saves: pairs are for `HeadLayer` itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import combinations
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from shortlist.models.crosses import DotInteractions
from shortlist.models.heads import HeadLayer, Projected
from shortlist.models.precision import product

Project: TypeAlias = Callable[[str, Array], Projected]
"""A side and a representation [r] of it -> what it is to a head."""


def score_lists(
    head: HeadLayer, project: Project, query: Array, candidate: Array, rows: Array, aggregates: Array | None
) -> Array:
    """Representations [b, r] and [m, r], rows [b, k] of the latter, aggregates [b, k, F] -> [b, k]; what
    calling the head without dropout gives for each pair."""
    if head.cross is not None or head.spec.inputs == "aggregates":  # linear in neither side
        return _met(head, project, query, candidate, rows, aggregates)
    form = _added if head.spec.interaction == "concat" else _multiplied
    x, extra = form(head, project, query, candidate, rows)
    x = x.reshape(-1, x.shape[-1])  # so that a layer of all pairs is one product
    if aggregates is not None and head.linear is not None:
        numbers = aggregates.reshape(-1, aggregates.shape[-1])
        x = x + product(numbers, head.mlp.first.weight[-numbers.shape[1] :])
        extra = extra + head.linear(numbers).reshape(rows.shape)
    return jax.vmap(head.mlp.above)(x).reshape(rows.shape) + extra


def _met(
    head: HeadLayer, project: Project, query: Array, candidate: Array, rows: Array, aggregates: Array | None
) -> Array:
    """Projections alone are shared."""
    queries = jax.vmap(partial(project, "query"))(query)
    candidates = _taken(jax.vmap(partial(project, "candidate"))(candidate), rows)

    def meet(query: Projected, candidate: Projected, numbers: Array | None) -> Array:
        return head.meet(query, candidate, query.bias + candidate.bias, aggregates=numbers)

    scores: Array = jax.vmap(jax.vmap(meet, (None, 0, 0)))(queries, candidates, aggregates)
    return scores


def _added(
    head: HeadLayer, project: Project, query: Array, candidate: Array, rows: Array
) -> tuple[Array, Array]:
    """The first layer's outcome [b, k, h] as a sum of both sides' terms, and what is added to the result."""
    queries, candidates = (
        jax.vmap(partial(project, "query"))(query),
        jax.vmap(partial(project, "candidate"))(candidate),
    )
    start = head.term("query", queries.vector)
    start = start if head.mlp.first.bias is None else start + head.mlp.first.bias
    x = start[:, None] + _taken(head.term("candidate", candidates.vector), rows)
    if not head.spec.biases:
        return x, jnp.zeros(())
    return x, jnp.asarray(queries.bias)[:, None] + _taken(candidates.bias, rows)


def _multiplied(
    head: HeadLayer, project: Project, query: Array, candidate: Array, rows: Array
) -> tuple[Array, Array]:
    """The same as products of a query's matrix [w, h] and line [w] with candidates' numbers [w]."""
    numbers = _each(head, lambda r: _numbers(head, project("candidate", r)), candidate)
    asked = _each(head, lambda r: _asked(head, project("query", r)), query)
    line, matrix = jax.vmap(lambda a: _matrix(head, *jnp.split(a, _ends(head, numbers.shape[1]))))(asked)
    listed = _taken(numbers, rows)
    return jax.vmap(product)(listed, matrix), jax.vmap(product)(listed, line)


def _each(head: HeadLayer, make: Callable[[Array], Array], representations: Array) -> Array:
    """What `make` makes of each representation [n, r]; as one product where it is affine."""
    if head.dots is not None:
        return jax.vmap(make)(representations)
    nothing = jnp.zeros(representations.shape[1])
    weight: Array = jax.jacfwd(make)(nothing)
    return representations @ weight.T + make(nothing)


def _numbers(head: HeadLayer, candidate: Projected) -> Array:
    """Of a candidate: its vectors, the products among them, its bias and 1."""
    parts = [candidate.vector]
    if candidate.apart is not None:
        parts = [candidate.apart.reshape(-1), *_among(candidate.apart)]
    if head.spec.biases:
        parts.append(jnp.reshape(candidate.bias, 1))
    return jnp.concatenate([*parts, jnp.ones(1)])


def _asked(head: HeadLayer, query: Projected) -> Array:
    """Of a query: its line, by which candidates' numbers are p . c and both biases; its part of the first
    layer; and what the products with a candidate are made of."""
    p, first = query.vector, head.mlp.first
    num_met = _counts(head, query.apart)[1]
    line = [p] * num_met + [jnp.zeros(num_met * (num_met - 1) // 2)] * (num_met > 1)
    line += [jnp.ones(1)] * head.spec.biases
    factors = line if query.apart is None else [query.apart.reshape(-1)]
    start = product(p, first.weight[: p.shape[0]])
    start = start if first.bias is None else start + first.bias
    return jnp.concatenate([*line, jnp.reshape(query.bias, 1), start, *factors])


def _matrix(head: HeadLayer, line: Array, start: Array, factors: Array) -> tuple[Array, Array]:
    """The line [w], and what makes of candidates' numbers [w] the first layer's outcome."""
    dim = head.spec.dim or _width(head) // 3
    weight = head.mlp.first.weight
    theirs, met = weight[dim : 2 * dim], weight[2 * dim : _width(head)]
    biases = ((0, int(head.spec.biases)), (0, 0))
    if head.dots is None:
        matrix = jnp.pad(theirs, biases) + factors[:, None] * jnp.pad(met, biases)
        return line, jnp.concatenate([matrix, start[None]])
    vectors = factors.reshape(-1, dim)
    own, both, other = _places(*_counts(head, vectors))
    for products in _among(vectors):
        start = start + product(products, met[own])
    rows = [
        theirs + sum(u[:, None] * met[at] for u, at in zip(vectors, column, strict=True)) for column in both.T
    ]
    return line, jnp.concatenate([jnp.pad(jnp.concatenate([*rows, met[other]]), biases), start[None]])


def _ends(head: HeadLayer, width: int) -> list[int]:
    """Where in what is asked the line of this width ends, and the part of the first layer after it."""
    return [width, width + head.mlp.first.weight.shape[1]]


def _width(head: HeadLayer) -> int:
    """Numbers of the first layer's input that are no aggregates."""
    return head.mlp.first.weight.shape[0] - (0 if head.linear is None else head.linear.weight.shape[0])


def _among(vectors: Array) -> list[Array]:
    """The inner products among vectors [n, dim], if there is one."""
    num = vectors.shape[0]
    return [DotInteractions(num)(vectors)] if num > 1 else []


def _counts(head: HeadLayer, apart: Array | None) -> tuple[int, int]:
    """How many vectors a query has, and how many it meets of a candidate."""
    if head.dots is None or apart is None:
        return 1, 1
    return apart.shape[0], head.dots.num_vectors - apart.shape[0]


def _places(num_own: int, num_met: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where in `DotInteractions` of [p, c, others of p, others of c] stand the products among a query's
    vectors, of the query's with the candidate's [num_own, num_met], and among the candidate's."""
    order = list(combinations(range(num_own + num_met), 2))
    places = {pair: place for place, pair in enumerate(order)} | {p[::-1]: i for i, p in enumerate(order)}
    own, met = [0, *range(2, 1 + num_own)], [1, *range(1 + num_own, num_own + num_met)]
    among = [np.array([places[pair] for pair in combinations(side, 2)], np.int64) for side in (own, met)]
    return among[0], np.array([[places[u, v] for v in met] for u in own]), among[1]


def _taken(terms: Any, rows: Array) -> Any:
    """Rows [b, k] of each array [m, ...]."""
    return jax.tree.map(
        lambda t: jnp.asarray(t).at[rows].get(mode="promise_in_bounds", wrap_negative_indices=False), terms
    )
