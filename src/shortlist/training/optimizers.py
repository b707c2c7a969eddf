"""Update rules, from their specs. Optax for all of them."""

from __future__ import annotations

import numpy as np
import optax

from shortlist._typing import Floats
from shortlist.specs.training import Adagrad, OptimizerSpec

FLOOR = 0.02
"""Where a falling learning rate ends, as a share of its peak."""


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


def optimizer(spec: OptimizerSpec) -> optax.GradientTransformation:
    """The Optax transformation a spec stands for, at a learning rate of 1: its updates are to be multiplied
    by the schedule's rate. So the compiled program depends on neither rate nor length of a run."""
    if isinstance(spec, Adagrad):
        return optax.adagrad(1.0, initial_accumulator_value=spec.initial_accumulator, eps=spec.epsilon)
    return optax.adam(1.0, b1=spec.beta1, b2=spec.beta2, eps=spec.epsilon)
