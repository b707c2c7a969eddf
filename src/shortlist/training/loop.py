"""The loop: `train` yields an event an epoch and never calls back. Who listens decides when to stop."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import msgspec
import numpy as np
from jax import Array
from numpy.typing import NDArray

from shortlist._typing import Ints
from shortlist.errors import TrainingError
from shortlist.features.batches import Catalogue, Examples, epoch_order
from shortlist.models.build import Net, Tables
from shortlist.specs.tasks import Custom
from shortlist.specs.training import OptimizerSpec, Training
from shortlist.tasks.multitask import Batch, Corpus, Params, active_tasks, batch_loss
from shortlist.tasks.ranking import registered_loss
from shortlist.training.optimizers import optimizer, schedule
from shortlist.training.trouble import check_finite, check_parameters


@dataclass(frozen=True)
class Compiled:
    """The program of an epoch is ready. seconds: wall time it took (near 0 when it was known already)."""

    seconds: float
    num_steps: int


@dataclass(frozen=True)
class EpochEnd:
    """An epoch is over. losses: each task's mean over its examples; params: as they are now."""

    epoch: int
    losses: dict[str, float]
    seconds: float
    cpu_seconds: float
    examples_per_second: float
    params: Params


Event = Compiled | EpochEnd


class _Carry(NamedTuple):
    params: Params
    state: Any


class _Steps(NamedTuple):
    """The steps of an epoch: rows int [num_batches, B] (-1: padding), key data, rates."""

    rows: Array
    key: Array
    rate: Array


def train(
    net: Net,
    tables: Tables,
    examples: Examples,
    catalogue: Catalogue,
    training: Training,
    *,
    task_weights: dict[str, float],
) -> Iterator[Event]:
    """Run `training.epochs` epochs over the examples. Same inputs, same bits.

    Raises TrainingError without rows, NonFiniteLoss at the first epoch in which a loss is not a number.
    """
    count = len(examples)
    if count == 0:
        raise TrainingError("there are no training rows")
    batch_size = min(training.batch_size, count)
    data = Batch(
        *_put((examples.query, examples.candidates, examples.labels, examples.weights, examples.users))
    )
    corpus = Corpus(*_put((catalogue.items, catalogue.log_q, *_known(net, catalogue))))
    longest = int(np.diff(catalogue.known_indptr).max(initial=1)) if _masks_known(net) else 0
    weights = _put({name: np.float32(w) for name, w in task_weights.items()})
    num_batches = -(-count // batch_size)
    rates = schedule(training.optimizer, training.epochs * num_batches).reshape(training.epochs, num_batches)
    carry = _Carry(_copied((net, tables)), None)
    carry = carry._replace(state=_starts(_course_free(training.optimizer))(_learned(carry.params)))

    start = time.perf_counter()
    order = epoch_order(count, batch_size, seed=training.seed, epoch=0)
    steps = _Steps(*_put((order, _keys(training.seed, 0, num_batches), rates[0])))
    program = _program(carry, data, corpus, steps, weights, training.optimizer, longest)
    yield Compiled(time.perf_counter() - start, num_batches)

    static = eqx.partition(carry, eqx.is_array)[1]
    arrays = eqx.filter(carry, eqx.is_array)
    for epoch in range(training.epochs):
        order = epoch_order(count, batch_size, seed=training.seed, epoch=epoch)
        steps = _Steps(*_put((order, _keys(training.seed, epoch, num_batches), rates[epoch])))
        start, cpu = time.perf_counter(), time.process_time()
        arrays, losses = program(arrays, data, corpus, steps, weights)
        by_task = {name: np.asarray(values) for name, values in losses.items()}
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
        check_finite(by_task, epoch, num_batches, examples, catalogue, order)
        params = eqx.combine(arrays, static).params
        check_parameters(jax.tree.leaves(_learned(params)), epoch)
        share = np.where(order >= 0, examples.weights[order], 0.0).sum(axis=1) / examples.weights.sum()
        yield EpochEnd(
            epoch=epoch,
            losses={name: float(np.sum(values * share)) for name, values in by_task.items()},
            seconds=seconds,
            cpu_seconds=cpu_seconds,
            examples_per_second=count / max(seconds, 1e-9),
            params=_copied(params),
        )


KEPT = 64
"""Programs kept in a process; the oldest goes when another comes."""
_PROGRAMS: dict[Any, Any] = {}
"""Compiled epochs by what tells them apart: one compilation a distinct program and process."""


def _program(
    carry: _Carry,
    data: Batch,
    corpus: Corpus,
    steps: _Steps,
    weights: dict[str, Array],
    rule: OptimizerSpec,
    longest: int,
) -> Any:
    arrays, static = eqx.partition(carry, eqx.is_array)
    inputs = (arrays, data, corpus, steps, weights)
    shapes = tuple((x.shape, str(x.dtype)) for x in jax.tree.leaves(inputs))
    rule = _course_free(rule)
    known = (jax.tree.structure(inputs), *_code(static), shapes, rule, longest)
    if known not in _PROGRAMS:
        update = optimizer(rule).update

        def epoch(arrays: Any, *rest: Any) -> Any:
            return _epoch(arrays, static, update, longest, *rest)

        while len(_PROGRAMS) >= KEPT:
            _PROGRAMS.pop(next(iter(_PROGRAMS)))
        _PROGRAMS[known] = jax.jit(epoch, donate_argnums=0).lower(*inputs).compile()
    return _PROGRAMS[known]


@cache
def _starts(rule: OptimizerSpec) -> Any:
    """The first state of an update rule, compiled once for parameters of the same shapes."""
    return jax.jit(optimizer(rule).init)


def _course_free(rule: OptimizerSpec) -> OptimizerSpec:
    """The rule without its rates, which are handed in: what a compiled program depends on."""
    return msgspec.structs.replace(rule, learning_rate=1.0, schedule="constant", warmup=0.0)


def _epoch(
    arrays: Any,
    static: Any,
    update: Any,
    longest: int,
    data: Batch,
    corpus: Corpus,
    steps: _Steps,
    weights: dict[str, Array],
) -> tuple[Any, dict[str, Array]]:
    """All batches of an epoch -> parameters, and each task's loss [num_batches]."""

    def loss(params: Params, batch: Batch, key: Array) -> tuple[Array, dict[str, Array]]:
        return batch_loss(params, batch, corpus, weights, longest=longest, key=key)

    def step(arrays: Any, now: _Steps) -> tuple[Any, dict[str, Array]]:
        carry: _Carry = eqx.combine(arrays, static)
        batch = jax.tree.map(lambda x: x[jnp.maximum(now.rows, 0)], data)
        batch = batch._replace(weights=jnp.where(now.rows >= 0, batch.weights, 0.0))
        grads, losses = eqx.filter_grad(loss, has_aux=True)(
            carry.params, batch, jax.random.wrap_key_data(now.key)
        )
        updates, state = update(grads, carry.state, _learned(carry.params))
        updates = jax.tree.map(lambda u: now.rate * u, updates)
        carry = _Carry(eqx.apply_updates(carry.params, updates), state)
        return eqx.filter(carry, eqx.is_array), losses

    return jax.lax.scan(step, arrays, steps)


def _copied(params: Params) -> Params:
    """The same with arrays of its own: those of a carry are given away to the program."""
    copied: Params = jax.tree.map(
        lambda x: jax.device_put(np.array(x)) if eqx.is_array(x) or isinstance(x, np.ndarray) else x, params
    )
    return copied


def _learned(params: Any) -> Any:
    """What gradients reach: a module of one's own may also hold whole numbers, functions and settings."""
    return eqx.filter(params, eqx.is_inexact_array)


def _code(static: _Carry) -> tuple[Any, ...]:
    """What a program depends on beside arrays: structure, functions and settings inside modules, and the
    losses registered now, which may have been redefined under their old names."""
    leaves = tuple(x if isinstance(x, Hashable) else id(x) for x in jax.tree.leaves(static))
    tasks = active_tasks(static.params[0].spec)
    losses = tuple(registered_loss(t.loss) for t in tasks if isinstance(t, Custom))
    return jax.tree.structure(static), leaves, losses


def _put(arrays: Any) -> Any:
    """NumPy arrays on the device; unlike jnp.asarray it compiles nothing."""
    return jax.device_put(arrays)


def _known(net: Net, catalogue: Catalogue) -> tuple[Ints, Ints]:
    """The known items, or nothing where no task asks: programs then do not depend on how many there are."""
    if not _masks_known(net):
        return np.zeros(2, np.int32), np.zeros(1, np.int32)
    return catalogue.known_indptr, catalogue.known_items


def _masks_known(net: Net) -> bool:
    task = net.spec.retrieval
    return task is not None and task.known_positives and task.weight != 0


def _keys(seed: int, epoch: int, num_batches: int) -> NDArray[np.uint32]:
    """A random key a step: uint32 [num_batches, 2]."""
    return np.random.default_rng([seed, epoch, 1]).integers(2**32, size=(num_batches, 2), dtype=np.uint32)
