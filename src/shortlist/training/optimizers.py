"""Update rules, from their specs: for whole arrays, and for the touched rows of a table alone.

Both forms of a rule give the same bits. Adagrad's are equal everywhere, since a row without a gradient does
not move; Adam's are equal on touched rows, while the moments of other rows rest ("lazy") instead of fading.
For that, no product may be contracted with a following sum into one rounding in one form and not in the
other: what is added to a parameter or an accumulator is a maximum, a choice or a quotient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from shortlist._typing import Floats
from shortlist.specs.training import Adagrad, Adam, OptimizerSpec

FLOOR = 0.02
"""Where a falling learning rate ends, as a share of its peak."""

State = tuple[Array, ...]
"""What a rule keeps of one parameter: arrays of its shape."""


@dataclass(frozen=True)
class Rule:
    """An update rule.

    start: what each array of the state is filled with. change: (gradient, state, rate, step) -> (what to
    add, state), the step counted from 1. touched: (rows int [n], gradient [n, dim], state of the whole table,
    rate, step) -> (what to add [n, dim], state); rows are distinct, and those beyond the table stand for
    nothing.
    """

    start: tuple[float, ...]
    change: Callable[[Array, State, Array, Array], tuple[Array, State]]
    touched: Callable[[Array, Array, State, Array, Array], tuple[Array, State]]


def rule_of(spec: OptimizerSpec) -> Rule:
    """The rule a spec stands for. The compiled program depends on neither rate nor length of a run."""
    return _adagrad(spec) if isinstance(spec, Adagrad) else _adam(spec)


def schedule(spec: OptimizerSpec, num_steps: int) -> Floats:
    """The learning rate of every step of a run; float32 [num_steps]."""
    rise = round(spec.warmup * num_steps)
    rising = spec.learning_rate * np.arange(rise) / max(1, rise)
    done = np.arange(num_steps - rise) / max(1, num_steps - rise)
    if spec.schedule == "cosine":
        share = FLOOR + (1 - FLOOR) * (1 + np.cos(np.pi * done)) / 2
    elif spec.schedule == "linear":
        share = 1 - (1 - FLOOR) * done
    else:
        share = np.ones(len(done))
    return np.concatenate([rising, spec.learning_rate * share]).astype(np.float32)


def _adagrad(spec: Adagrad) -> Rule:
    def square(g: Array) -> Array:
        return jnp.maximum(g * g, 0.0)

    def scaled(g: Array, total: Array, rate: Array) -> Array:
        # a total of 0 means no gradient yet
        return jnp.where(total > 0, rate * -g * jax.lax.rsqrt(total + spec.epsilon), 0.0)

    def change(g: Array, state: State, rate: Array, step: Array) -> tuple[Array, State]:
        total = state[0] + square(g)
        return scaled(g, total, rate), (total,)

    def touched(rows: Array, g: Array, state: State, rate: Array, step: Array) -> tuple[Array, State]:
        total = added(state[0], rows, square(g))
        return scaled(g, taken(total, rows), rate), (total,)

    return Rule((spec.initial_accumulator,), change, touched)


def _adam(spec: Adam) -> Rule:
    b1, b2 = spec.beta1, spec.beta2

    def rounded(product: Array) -> Array:
        return jnp.maximum(product, float(np.finfo(np.float32).min))

    def moved(g: Array, m: Array, v: Array) -> State:
        mean = rounded(b1 * m) + rounded((1 - b1) * g)
        return mean, rounded(b2 * v) + rounded((1 - b2) * g * g)

    def scaled(m: Array, v: Array, rate: Array, step: Array) -> Array:
        mean, spread = m / (1 - b1**step), jnp.sqrt(v / (1 - b2**step))
        return -rate * mean / (spread + spec.epsilon)

    def change(g: Array, state: State, rate: Array, step: Array) -> tuple[Array, State]:
        m, v = moved(g, *state)
        return scaled(m, v, rate, step), (m, v)

    def touched(rows: Array, g: Array, state: State, rate: Array, step: Array) -> tuple[Array, State]:
        m, v = moved(g, taken(state[0], rows), taken(state[1], rows))
        return scaled(m, v, rate, step), (put(state[0], rows, m), put(state[1], rows, v))

    return Rule((0.0, 0.0), change, touched)


def taken(table: Array, rows: Array) -> Array:
    """Distinct rows of a table; zeros for those beyond it."""
    return table.at[rows].get(mode="fill", fill_value=0.0, unique_indices=True)


def added(table: Array, rows: Array, values: Array) -> Array:
    """The table with values added to distinct rows, in place where the table is given away."""
    return table.at[rows].add(values, mode="drop", unique_indices=True)


def put(table: Array, rows: Array, values: Array) -> Array:
    """The table with distinct rows replaced."""
    return table.at[rows].set(values, mode="drop", unique_indices=True)
