"""Heads: one number per (query, candidate) pair."""

from __future__ import annotations

from typing import NamedTuple

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


class Projected(NamedTuple):
    """A side of a pair as a head sees it: its vector [dim] with the head's own features added, all of these
    apart [n, dim] where the head takes inner products, and its summed bias."""

    vector: Array
    apart: Array | None
    bias: Array | float


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
        sides = (
            self.projected("query", query, 0.0, own[0]),
            self.projected("candidate", candidate, 0.0, own[1]),
        )
        return self.meet(*sides, bias, aggregates=aggregates, noise=noise)

    def projected(self, side: str, vector: Array, bias: Array | float, own: Array | None = None) -> Projected:
        """What a side's vector, bias and own features are to the head, whatever they meet."""
        if self.spec.interaction == "concat":
            return Projected(vector, None, bias)
        dense, apart = (self.query if side == "query" else self.candidate), None
        vector = vector if dense is None else dense(vector)
        if self.dots is not None:
            parts = [v.reshape(-1, self.spec.dim) for v in (vector, own) if v is not None]
            apart, own = jnp.concatenate(parts), _summed(own, self.spec.dim)
        return Projected(vector if own is None else vector + own, apart, bias)

    def meet(
        self,
        query: Projected,
        candidate: Projected,
        bias: Array | float,
        *,
        aggregates: Array | None = None,
        noise: Array | None = None,
    ) -> Array:
        """Both sides and the sum of their biases -> scalar."""
        (p, ps, _), (c, cs, _) = query, candidate
        inputs, extra = [p, c], bias
        if self.spec.interaction != "concat":
            both = p * c
            extra = both.sum() + bias
            if self.dots is not None and ps is not None and cs is not None:
                both = self.dots(jnp.concatenate([ps[:1], cs[:1], ps[1:], cs[1:]]))
            inputs.append(both)
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
        weight, dim = self.mlp.first.weight, vectors.shape[-1]
        end = weight.shape[0] - (0 if self.linear is None else self.linear.weight.shape[0])
        return product(vectors, weight[:dim] if side == "query" else weight[end - dim : end])

    def join(self, query: Array, candidate: Array, bias: Array | float) -> Array:
        """Both sides' terms [width] and the sum of their biases -> scalar."""
        start = self.mlp.first.bias
        both = query + candidate
        return self.mlp.above(both if start is None else both + start)[0] + bias


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
