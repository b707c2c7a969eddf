"""A head over the pairs of a batch, by the linearity of its first layer.

W [q, c] = W_q q + W_c c: a side's term is computed once a distinct row, however many pairs the row stands in.
"""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from shortlist.models.blocks import Side, sum_over_rows
from shortlist.models.build import Net, bias_slots
from shortlist.models.heads import HeadLayer

FEWER = 3
"""A side's terms are made of its rows, not of the pairs, if there are so many pairs a row or more. They are
wider than vectors, and moving them to pairs and back costs what the products of half as many rows save."""

HELD = 2**18
"""Numbers of a layer held at a time, about: 1 MiB, which stays in the cache of the core that made it."""


def pair_loss(
    net: Net,
    name: str,
    loss: Callable[[Array, Array], Array],
    queries: Side,
    candidates: Side,
    labels: Array,
    weights: Array,
) -> Array:
    """Sum over B pairs of weights [B] times loss(scores [B], labels [B]) of a head that splits; a scalar.

    queries, candidates: representations [n, r] and each pair's row among them. Equal to scoring each pair by
    `Net.predict` without dropout, but loss and gradients are made in one pass over blocks of pairs. A pair's
    loss must depend on that pair alone.
    """
    arrays, static = eqx.partition(net.heads[name], eqx.is_array)
    early = _early(queries, len(labels)), _early(candidates, len(labels))
    sides = (
        _prepared(net, name, "query", queries, early[0]),
        _prepared(net, name, "candidate", candidates, early[1]),
    )

    def block(shared: HeadLayer, values: tuple[tuple[Array, Array], ...], data: tuple[Array, Array]) -> Array:
        scores = _scores(eqx.combine(shared, static), early, values)
        # where, and before the loss as well: a padding row's loss and its slope may be anything, NaN included
        kept = data[1] > 0
        losses = loss(jnp.where(kept, scores, jax.lax.stop_gradient(scores)), data[0])
        return jnp.sum(jnp.where(kept, data[1] * losses, 0.0))

    size = max(1, HELD // max(net.heads[name].spec.hidden))
    return sum_over_rows(block, size, arrays, sides, (labels, weights))


def _early(side: Side, num_pairs: int) -> bool:
    """Whether a side's terms are made before its rows are handed to pairs."""
    return side.row is not None and FEWER * side.values.shape[0] <= num_pairs


def _prepared(net: Net, name: str, side: str, given: Side, early: bool) -> Side:
    """A side's vectors [n, dim] or terms [n, width], and its biases [n] if the head has any."""
    head = net.heads[name]
    width = net.query.width if side == "query" else net.candidate.width
    vectors = given.values[:, :width]
    bias = None
    if head.spec.biases:
        bias = given.values[:, width + bias_slots(net.spec, side).index(name)]
    return Side((head.term(side, vectors) if early else vectors, bias), given.row)


def _scores(head: HeadLayer, early: tuple[bool, bool], values: tuple[tuple[Array, Array], ...]) -> Array:
    """Scores [rows] of a block's pairs."""
    (query, query_bias), (candidate, candidate_bias) = values
    bias = query_bias + candidate_bias if head.spec.biases else jnp.zeros(len(query))
    if not any(early):
        return jax.vmap(head)(query, candidate, bias)
    query = query if early[0] else head.term("query", query)
    candidate = candidate if early[1] else head.term("candidate", candidate)
    return jax.vmap(head.join)(query, candidate, bias)
