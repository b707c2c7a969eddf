"""Heads: one number per (query, candidate) pair."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from shortlist.errors import SpecError
from shortlist.models.crosses import CrossLayers, DotInteractions
from shortlist.models.layers import MLP, Dense, generator, parameter
from shortlist.models.precision import product
from shortlist.specs.tasks import Head


class HeadLayer(eqx.Module):
    """Built from a `Head` (Rating, Custom): vectors of both sides, and their summed biases, to a number."""

    mlp: MLP
    query: Dense | None
    candidate: Dense | None
    cross: CrossLayers | None
    dots: DotInteractions | None
    linear: Dense | None
    spec: Head = eqx.field(static=True)

    def __init__(
        self,
        spec: Head,
        query_dim: int,
        candidate_dim: int,
        *,
        mean: float,
        seed: int,
        num_aggregates: int = 0,
    ) -> None:
        rng = generator(seed, f"head/{spec.name}")
        self.spec, self.query, self.candidate, self.dots = spec, None, None, None
        width = query_dim + candidate_dim
        if spec.interaction != "concat":
            if spec.dim:
                self.query = _projection(query_dim, spec.dim, rng, beside=bool(spec.query))
                self.candidate = _projection(candidate_dim, spec.dim, rng, beside=bool(spec.candidate))
            elif query_dim != candidate_dim:
                raise SpecError(
                    f"the product of vectors of {query_dim} and {candidate_dim} numbers is not defined",
                    hint=f"give {type(spec).__name__} a dim= to project both to",
                )
            width = 3 * (spec.dim or query_dim)
            if spec.interaction == "dot":
                self.dots = DotInteractions(2 + len(spec.query) + len(spec.candidate))
                width = 2 * spec.dim + self.dots.width
        width = num_aggregates + (width if spec.inputs == "both" else 0)
        self.cross = (
            CrossLayers(width, spec.cross, generator(seed, f"head/{spec.name}/cross")) if spec.cross else None
        )
        self.linear = None
        if num_aggregates:  # a straight line through nothing yet
            self.linear = _zeroed(Dense(num_aggregates, 1, rng, use_bias=False))
        mlp = MLP(
            width,
            spec.hidden,
            1,
            rng,
            activation=spec.activation,
            dropout=spec.dropout,
            drop_input=not num_aggregates,
        )
        if num_aggregates and not spec.hidden:
            # of numbers that go together only the sum's weight is learned: a random start of the others would
            # stay, and speak where they part, as for users never seen
            mlp = eqx.tree_at(lambda m: m.last.weight, mlp, parameter(np.zeros((width, 1))))
        if spec.biases:  # start at the training mean: an untrained head is then no worse than a constant
            assert mlp.last is not None and mlp.last.bias is not None
            mlp = eqx.tree_at(lambda m: m.last.bias, mlp, parameter(np.full(1, mean)))
        self.mlp = mlp

    def __call__(
        self,
        query: Array,
        candidate: Array,
        bias: Array | float,
        *,
        own: tuple[Array | None, Array | None] = (None, None),
        aggregates: Array | None = None,
        noise: Array | None = None,
    ) -> Array:
        """Vectors [query_dim], [candidate_dim], the sum of their biases, the head's own features of each side
        (their sum [dim]; with "dot" all of them [m * dim]), and the pair's aggregates [F] -> scalar."""
        inputs, extra = [jnp.concatenate([query, candidate])], bias
        if self.spec.interaction != "concat":
            p = query if self.query is None else self.query(query)
            c = candidate if self.candidate is None else self.candidate(candidate)
            met = None
            if self.dots is not None:
                apart = [v.reshape(-1, self.spec.dim) for v in (p, c, *own) if v is not None]
                met = self.dots(jnp.concatenate(apart))
                own = _summed(own[0], self.spec.dim), _summed(own[1], self.spec.dim)
            p = p if own[0] is None else p + own[0]
            c = c if own[1] is None else c + own[1]
            both = p * c
            inputs, extra = [p, c, both if met is None else met], both.sum() + bias
        if aggregates is not None and self.linear is not None:
            inputs = [aggregates] if self.spec.inputs == "aggregates" else [*inputs, aggregates]
            extra = extra + self.linear(aggregates)[0]
        x = jnp.concatenate(inputs)
        x = x if self.cross is None else self.cross(x)
        return self.mlp(x, noise=noise)[0] + extra

    def splits(self, *, dropout: bool) -> bool:
        """Whether `join` of the two sides' terms is what calling gives: the first layer's product with
        [query, candidate] is a sum of one term a side, if nothing is dropped from its input."""
        plain = self.linear is None and self.cross is None
        return self.spec.interaction == "concat" and bool(self.mlp.hidden) and plain and not dropout

    def term(self, side: str, vectors: Array) -> Array:
        """A side's half of the first layer's product: vectors [..., dim] -> [..., width]."""
        weight, dim = self.mlp.hidden[0].weight, vectors.shape[-1]
        return product(vectors, weight[:dim] if side == "query" else weight[-dim:])

    def join(self, query: Array, candidate: Array, bias: Array | float) -> Array:
        """Both sides' terms [width] and the sum of their biases -> scalar."""
        return self.mlp.above(query + candidate)[0] + bias


def _summed(vectors: Array | None, dim: int) -> Array | None:
    """The sum of vectors [m * dim] of dim numbers each."""
    return None if vectors is None else vectors.reshape(-1, dim).sum(0)


def _projection(in_dim: int, dim: int, rng: np.random.Generator, *, beside: bool) -> Dense:
    """To a head's width; beside features of its own it starts at nothing."""
    dense = Dense(in_dim, dim, rng, use_bias=False)
    return _zeroed(dense) if beside else dense


def _zeroed(dense: Dense) -> Dense:
    empty: Dense = eqx.tree_at(lambda d: d.weight, dense, parameter(np.zeros(dense.weight.shape)))
    return empty


def projection_penalty(head: HeadLayer) -> Array:
    """Sum of squares of the projections of both sides' vectors."""
    both = [d.weight for d in (head.query, head.candidate) if d is not None]
    return sum((jnp.sum(x * x) for x in both), start=jnp.zeros(()))


def weight_penalty(head: HeadLayer) -> Array:
    """Sum of squares of a head's weight matrices, without its biases."""
    leaves = jax.tree.leaves(eqx.filter(head, eqx.is_array))
    return sum((jnp.sum(x * x) for x in leaves if x.ndim == 2), start=jnp.zeros(()))
