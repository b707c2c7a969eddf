"""Crosses: layers in which the features of a pair meet. Called per example."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array

from shortlist.errors import SpecError
from shortlist.models.layers import Dense


class CrossLayers(eqx.Module):
    """x [dim] -> [dim] by layers x_{l+1} = x_0 * (W_l x_l + b_l) + x_l: each raises the degree of the feature
    products by one (DCN-v2: Wang et al., WWW 2021). rank: W_l is the product of matrices [dim, rank] and
    [rank, dim]."""

    layers: tuple[tuple[Dense, ...], ...]
    width: int = eqx.field(static=True)

    def __init__(
        self, dim: int, num_layers: int, rng: np.random.Generator, *, rank: int | None = None
    ) -> None:
        if rank is not None and rank < 1:
            raise SpecError(f"cross layers need a rank of at least 1, got {rank}")
        self.layers = tuple(_factors(dim, rank, rng) for _ in range(num_layers))
        self.width = dim

    def __call__(self, x: Array) -> Array:
        crossed = x
        for factors in self.layers:
            y = crossed
            for dense in factors:
                y = dense(y)
            crossed = x * y + crossed
        return crossed


def _factors(dim: int, rank: int | None, rng: np.random.Generator) -> tuple[Dense, ...]:
    if rank is None:
        return (Dense(dim, dim, rng),)
    return Dense(dim, rank, rng, use_bias=False), Dense(rank, dim, rng)


class DotInteractions(eqx.Module):
    """Inner products of all pairs of m vectors of one width (DLRM: Naumov et al., 2019).

    vectors [m, d] -> [m * (m - 1) / 2], pairs (i, j) with i < j in the order (0, 1), (0, 2), ..., (1, 2), ...
    """

    num_vectors: int = eqx.field(static=True)
    width: int = eqx.field(static=True)

    def __init__(self, num_vectors: int) -> None:
        if num_vectors < 2:
            raise SpecError(f"dot interactions need at least 2 vectors, got {num_vectors}")
        self.num_vectors = num_vectors
        self.width = num_vectors * (num_vectors - 1) // 2

    def __call__(self, vectors: Array) -> Array:
        # Slices and not a lookup of the triangle: their gradient needs no scatter.
        products = [(vectors[i] * vectors[i + 1 :]).sum(1) for i in range(self.num_vectors - 1)]
        return jnp.concatenate(products)
