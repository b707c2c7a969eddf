"""Sums of losses over the rows of a batch, a block of rows at a time, with gradients in the same pass."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from shortlist.models.layers import lookup

Loss = Callable[[Any, tuple[Any, ...], Any], Array]
"""(what all rows share, each side's values of a block of rows, other data of these rows) -> a scalar."""


class Side(NamedTuple):
    """What the rows of a batch take from one side. values: arrays [n, ...]; row: int [B], which of the n each
    row takes, all in range; None: n = B, each its own."""

    values: Any
    row: Array | None = None

    def at_rows(self) -> Any:
        """Each row's values, [B, ...]."""
        return self.values if self.row is None else _taken(self.values, self.row)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def sum_over_rows(loss: Loss, block: int, shared: Any, sides: tuple[Side, ...], data: Any) -> Array:
    """The sum of `loss` over all rows, about `block` at a time; a scalar.

    loss must be a sum over rows, and 0 with zero gradients where all of a row's data is 0: the last block is
    padded with such rows. shared: float arrays that every row reads, such as weights. data: arrays [B, ...],
    through which no gradient passes.

    Differentiated, loss and gradients of a block are made together, so that nothing is kept of B rows but
    gradients of sides that have B rows of their own.
    """
    blocks, _ = _blocks(block, sides, data)
    totals: Array = jax.lax.map(lambda part: loss(shared, _values(sides, part[0]), part[1]), blocks)
    return totals.sum()


def _forward(loss: Loss, block: int, shared: Any, sides: tuple[Side, ...], data: Any) -> tuple[Array, Any]:
    # The gradient of x @ w is cheaper with w held transposed: the product over rows is then dy.T @ x, narrow
    # by wide, for which XLA's CPU code is up to twice as fast.
    def turned_loss(turned: Any, values: tuple[Any, ...], data: Any) -> Array:
        return loss(_turned(turned), values, data)

    turned = _turned(shared)

    def one(carry: Any, part: Any) -> tuple[Any, tuple[Any, ...]]:
        total, d_shared, d_sides = carry
        rows, own_data = part
        value, (own_shared, own_sides) = jax.value_and_grad(turned_loss, argnums=(0, 1))(
            turned, _values(sides, rows), own_data
        )
        d_sides = tuple(
            None if side.row is None else _added(so_far, row, own)
            for side, so_far, row, own in zip(sides, d_sides, rows, own_sides, strict=True)
        )
        kept = tuple(own if side.row is None else None for side, own in zip(sides, own_sides, strict=True))
        return (total + value, jax.tree.map(jnp.add, d_shared, own_shared), d_sides), kept

    nothing = tuple(None if s.row is None else jax.tree.map(jnp.zeros_like, s.values) for s in sides)
    start = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, turned), nothing)
    blocks, count = _blocks(block, sides, data)
    (total, d_turned, d_tables), kept = jax.lax.scan(one, start, blocks)
    d_sides = tuple(
        jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:count], own) if side.row is None else summed
        for side, summed, own in zip(sides, d_tables, kept, strict=True)
    )
    return total, (_turned(d_turned), d_sides)


def _backward(loss: Loss, block: int, saved: Any, g: Array) -> tuple[Any, ...]:
    d_shared, d_sides = jax.tree.map(lambda x: g * x, saved)
    return d_shared, tuple(Side(d, None) for d in d_sides), None


sum_over_rows.defvjp(_forward, _backward)


def _blocks(block: int, sides: tuple[Side, ...], data: Any) -> tuple[Any, int]:
    """(each side's rows or, of its own, values; data), all [blocks, rows of one, ...]; and B."""
    given = (tuple(s.values if s.row is None else s.row for s in sides), data)
    count = jax.tree.leaves(data)[0].shape[0]
    num_blocks = max(1, round(count / block))
    size = -(-count // num_blocks)

    def cut(x: Array) -> Array:
        padded = jnp.pad(x, [(0, num_blocks * size - count)] + [(0, 0)] * (x.ndim - 1))
        return padded.reshape(num_blocks, size, *x.shape[1:])

    return jax.tree.map(cut, given), count


def _values(sides: tuple[Side, ...], rows: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(r if s.row is None else _taken(s.values, r) for s, r in zip(sides, rows, strict=True))


def _taken(values: Any, row: Array) -> Any:
    return jax.tree.map(lambda x: lookup(x, row), values)


def _added(values: Any, row: Array, more: Any) -> Any:
    return jax.tree.map(lambda x, m: x.at[row].add(m, mode="drop", wrap_negative_indices=False), values, more)


def _turned(tree: Any) -> Any:
    """Matrices transposed."""
    return jax.tree.map(lambda x: x.T if x.ndim == 2 else x, tree)
