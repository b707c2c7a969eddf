"""Layers. Tables stay outside of the modules: gathered rows go in."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from zlib import crc32

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from shortlist.models.precision import product

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "tanh": jnp.tanh,
}


class Dense(eqx.Module):
    """x [in] -> x @ weight [in, out] (+ bias [out]). Glorot uniform weights, zero bias, as in Keras."""

    weight: Array
    bias: Array | None

    def __init__(self, in_dim: int, out_dim: int, rng: np.random.Generator, *, use_bias: bool = True) -> None:
        limit = float(np.sqrt(6 / (in_dim + out_dim)))
        self.weight = parameter(rng.uniform(-limit, limit, (in_dim, out_dim)))
        self.bias = parameter(np.zeros(out_dim)) if use_bias else None

    def __call__(self, x: Array) -> Array:
        y = product(x, self.weight)
        return y if self.bias is None else y + self.bias


class MLP(eqx.Module):
    """Dense layers with an activation, then a linear one when `out_dim` is given; dropout before each hidden
    layer, the first one left out with drop_input=False."""

    hidden: tuple[Dense, ...]
    last: Dense | None
    activation: str = eqx.field(static=True)
    dropout: float = eqx.field(static=True)
    drop_input: bool = eqx.field(static=True)
    width: int = eqx.field(static=True)
    noise_dim: int = eqx.field(static=True)

    def __init__(
        self,
        in_dim: int,
        hidden: tuple[int, ...],
        out_dim: int | None,
        rng: np.random.Generator,
        *,
        activation: str = "relu",
        dropout: float = 0.0,
        drop_input: bool = True,
    ) -> None:
        widths = (in_dim, *hidden)
        self.hidden = tuple(Dense(a, b, rng) for a, b in pairwise(widths))
        self.last = None if out_dim is None else Dense(widths[-1], out_dim, rng)
        self.activation, self.dropout, self.drop_input = activation, dropout, drop_input
        self.width = widths[-1] if out_dim is None else out_dim
        self.noise_dim = sum(widths[0 if drop_input else 1 : -1]) if dropout else 0

    def __call__(self, x: Array, *, noise: Array | None = None) -> Array:
        start = 0
        for layer in self.hidden:
            dropped = self.drop_input or layer is not self.hidden[0]
            if noise is not None and self.dropout and dropped:
                x = drop(x, self.dropout, noise[start : start + x.shape[0]])
                start += x.shape[0]
            x = ACTIVATIONS[self.activation](layer(x))
        return x if self.last is None else self.last(x)

    @property
    def first(self) -> Dense:
        """The layer that sees the input; there is one."""
        return [*self.hidden, self.last][0]  # type: ignore[return-value]

    def above(self, x: Array) -> Array:
        """The first layer's outcome, before the activation of a hidden one -> the result, without dropout."""
        for layer in self.hidden[1:]:
            x = layer(ACTIVATIONS[self.activation](x))
        if not self.hidden:
            return x
        x = ACTIVATIONS[self.activation](x)
        return x if self.last is None else self.last(x)


def drop(x: Array, rate: float, noise: Array | None) -> Array:
    """Dropout by random bits `noise`, uint32 of the shape of x; none without (Srivastava et al., JMLR 2014).

    Modules take bits, not keys: one draw a step serves all of them, where a key an example and a layer
    would make most of the compiled program random-number code.
    """
    if noise is None or rate == 0:
        return x
    return jnp.where(noise >= jnp.uint32(rate * 2**32), x / (1 - rate), 0.0)


def lookup(table: Array, rows: Array) -> Array:
    """table [rows, dim] at int rows [...] -> [..., dim]; padding (-1) gives row 0, to be masked."""
    return table.at[rows].get(mode="clip", wrap_negative_indices=False)


def masked_mean(vectors: Array, mask: Array) -> Array:
    """Mean over the first axis of vectors [length, dim] where mask [length]; zeros where there is none."""
    kept = jnp.where(mask[:, None], vectors, 0.0)
    return kept.sum(0) / jnp.maximum(mask.sum(), 1)


def normalize(x: Array) -> Array:
    """x [dim] with length 1 (a zero vector stays zero)."""
    return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(x * x), 1e-12))


def parameter(values: np.ndarray) -> Array:
    """Values as a float32 array on the device. NumPy makes them: eager JAX compiles a program a shape."""
    made: Array = jax.device_put(values.astype(np.float32))
    return made


def generator(seed: int, name: str) -> np.random.Generator:
    """A generator of its own for each named part: adding one part leaves the others' start unchanged."""
    return np.random.default_rng([seed, crc32(name.encode())])
