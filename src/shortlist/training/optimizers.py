"""Update rules, from their specs. Optax for all of them."""

from __future__ import annotations

import optax

from shortlist.specs.training import Adagrad, OptimizerSpec

FLOOR = 0.02
"""Where a falling learning rate ends, as a share of its peak."""


def schedule(spec: OptimizerSpec, num_steps: int) -> optax.Schedule:
    """Learning rate by step over a run of `num_steps`."""
    peak, rise = spec.learning_rate, round(spec.warmup * num_steps)
    fall = max(1, num_steps - rise)
    if spec.schedule == "cosine":
        body = optax.cosine_decay_schedule(peak, fall, alpha=FLOOR)
    elif spec.schedule == "linear":
        body = optax.linear_schedule(peak, FLOOR * peak, fall)
    else:
        body = optax.constant_schedule(peak)
    if not rise:
        return body
    return optax.join_schedules([optax.linear_schedule(0.0, peak, rise), body], [rise])


def optimizer(spec: OptimizerSpec) -> optax.GradientTransformation:
    """The Optax transformation a spec stands for, at a learning rate of 1: its updates are to be multiplied
    by the schedule's rate. So the compiled program depends on neither rate nor length of a run."""
    if isinstance(spec, Adagrad):
        return optax.adagrad(1.0, initial_accumulator_value=spec.initial_accumulator, eps=spec.epsilon)
    return optax.adam(1.0, b1=spec.beta1, b2=spec.beta2, eps=spec.epsilon)
