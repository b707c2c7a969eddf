"""The loop: `train` yields an event an epoch and never calls back. Who listens decides when to stop."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from shortlist._typing import Floats, Ints
from shortlist.errors import TrainingError
from shortlist.features.batches import KNOWN, Catalogue, Examples
from shortlist.models.build import Net, Tables
from shortlist.specs.training import Training
from shortlist.tasks.known import known_positives
from shortlist.tasks.multitask import Corpus, Params, active_retrieval
from shortlist.tasks.past import PastTables, past_tables
from shortlist.tasks.retrieval import needs_whole_catalogue, takes_whole
from shortlist.training.feeding import Feed
from shortlist.training.optimizers import schedule
from shortlist.training.steps import (
    OptimizerState,
    Steps,
    Work,
    copied,
    first_carry,
    learned,
    plan_of,
    program,
)
from shortlist.training.trouble import check_finite, check_parameters


@dataclass(frozen=True)
class Compiled:
    """The program is ready.

    seconds: wall time it took (near 0 when it was known already). num_steps: of an epoch. choices: how each
    table is updated and why, in sentences. scratch_bytes: held by a step beside what it is given.
    """

    seconds: float
    num_steps: int
    choices: tuple[str, ...] = ()
    scratch_bytes: int = 0


@dataclass(frozen=True)
class EpochEnd:
    """An epoch is over. losses: each task's mean over its examples.

    live: the parameters as they are now, and state: the optimiser's, both lent until the run goes on;
    `params` makes copies to keep.
    """

    epoch: int
    losses: dict[str, float]
    seconds: float
    cpu_seconds: float
    examples_per_second: float
    live: Params
    state: OptimizerState

    @property
    def params(self) -> Params:
        return copied(self.live)


Event = Compiled | EpochEnd


def train(
    net: Net,
    tables: Tables,
    examples: Examples,
    catalogue: Catalogue,
    training: Training,
    *,
    task_weights: dict[str, float],
    begun: OptimizerState | None = None,
) -> Iterator[Event]:
    """Run `training.epochs` epochs over the examples. Same inputs, same bits.

    With `training.members` K above 1 every array of net and tables has a first axis [K], and so has every one
    of an event's parameters (see `models.ensemble`); losses are the members' means.
    net and tables are given away: their arrays become those of the run; so is `begun`, the optimiser's state
    that an earlier run ended with (a fresh one without). Examples too large to stay on the
    device are streamed (see `feeding`). Raises TrainingError without rows, NonFiniteLoss at the first epoch
    in which a loss is not a number.
    """
    if len(examples) == 0:
        raise TrainingError("there are no training rows")
    batch_size = min(training.batch_size, len(examples))
    corpus = _corpus(net, examples, catalogue, batch_size)
    feed = Feed.of(examples, training, queries=corpus.audience is None)
    labels = {head.name: head.label for head in net.spec.heads}
    weights = jax.device_put({name: np.float32(w) for name, w in task_weights.items()})
    rates = schedule(training.optimizer, training.epochs * feed.num_steps)
    rates = rates.reshape(training.epochs, feed.num_steps)

    start = time.perf_counter()
    plan = plan_of((net, tables), feed.forms[0].data, corpus, training, batch_size)
    carry = first_carry((net, tables), plan, begun)
    del net, tables, begun
    scratch = 0
    for form in feed.forms:
        steps = _steps(form.rows, training.seeds, (0, 0), rates[0])
        scratch = max(scratch, program(carry, Work(form.data, corpus, steps, weights), plan).scratch_bytes)
    choices = tuple(group.reason(training) for group in plan.groups)
    yield Compiled(time.perf_counter() - start, feed.num_steps, choices, scratch)

    for epoch in range(training.epochs):
        start, cpu = time.perf_counter(), time.process_time()
        sums, totals, done = dict.fromkeys(task_weights, 0.0), dict.fromkeys(task_weights, 0.0), 0
        for chunk in feed.epoch(epoch):
            steps = _steps(chunk.rows, training.seeds, (epoch, done), rates[epoch, done:])
            work = Work(chunk.data, corpus, steps, weights)
            carry, losses = program(carry, work, plan)(carry, work)
            by_task = {name: np.asarray(values) for name, values in losses.items()}
            check_finite(by_task, (epoch, feed.num_steps, done), chunk.examples, catalogue, chunk.rows)
            for name in sums:
                share = _weighed(chunk.examples, chunk.rows, labels.get(name, ""))
                sums[name] += float(by_task[name] @ share)
                totals[name] += float(share.sum())
            done += len(chunk.rows)
        del chunk, work  # not to be held while the next epoch's first chunk is made
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
        check_parameters(jax.tree.leaves(learned(carry.params)), epoch)
        yield EpochEnd(
            epoch=epoch,
            losses={name: value / max(totals[name], 1e-9) for name, value in sums.items()},
            seconds=seconds,
            cpu_seconds=cpu_seconds,
            examples_per_second=len(examples) / max(seconds, 1e-9),
            live=carry.params,
            state=OptimizerState(*carry.state, carry.step),
        )


def _weighed(examples: Examples, rows: Ints, label: str) -> Floats:
    """What the rows of each step weigh in a mean, [steps]; rows that have no label nothing."""
    weights = np.where(rows >= 0, examples.weights[rows], 0.0)
    known = examples.labels.get(label + KNOWN)
    summed: Floats = (weights if known is None else weights * known[rows]).sum(axis=1)
    return summed


def _steps(rows: Ints, seeds: tuple[int, ...], at: tuple[int, int], rates: Floats) -> Steps:
    """The steps of a chunk that begins at (epoch, step)."""
    own = [_keys(seed, *at, len(rows)) for seed in seeds]
    keys = own[0] if len(own) == 1 else np.stack(own, axis=1)
    return Steps(*jax.device_put((rows, keys, rates[: len(rows)])))


def _keys(seed: int, epoch: int, first: int, num_steps: int) -> NDArray[np.uint32]:
    """A random key a step: uint32 [num_steps, 2]; the same however an epoch is cut into chunks."""
    keys = np.random.default_rng([seed, epoch, 1]).integers(
        2**32, size=(first + num_steps, 2), dtype=np.uint32
    )
    return keys[first:]


def _corpus(net: Net, examples: Examples, catalogue: Catalogue, batch_size: int) -> Corpus:
    task = active_retrieval(net.spec)
    known = None
    if task is not None and task.known_positives:
        whole = needs_whole_catalogue(task) or takes_whole(catalogue.num_items, batch_size)
        known = known_positives(
            catalogue.known_indptr, catalogue.known_items, catalogue.num_items, whole=whole
        )
    items, log_q = jax.device_put((catalogue.items, catalogue.log_q))
    pasts, raters = pasts_of(catalogue)
    return Corpus(items, log_q, known, audience_of(net, examples, batch_size), pasts, raters)


def pasts_of(catalogue: Catalogue) -> tuple[PastTables | None, PastTables | None]:
    """What users had, and who had items, on the device, where the model reads it."""
    pasts = None if catalogue.pasts is None else past_tables(catalogue.pasts, catalogue.num_items)
    if catalogue.raters is None:
        return pasts, None
    return pasts, past_tables(catalogue.raters, len(catalogue.known_indptr) - 1)


AUDIENCE_ROWS = 2**18
"""Rows looked at together for whether queries are their users."""


def audience_of(net: Net, examples: Examples, batch_size: int) -> dict[str, Any] | None:
    """The query features of each user, where these are all there is to a query: a batch then computes each
    user once. None where rows of one user differ, where there are too many users to gain by it, or where
    dropout makes every row of its own."""
    users = examples.users
    if examples.past is not None:
        return None
    if net.noise_dims[0] or not examples.query or users.min() < 0 or users.max() >= batch_size:
        return None
    known = np.zeros(int(users.max()) + 1, bool)
    table = {k: np.zeros((len(known), *v.shape[1:]), v.dtype) for k, v in examples.query.items()}
    for start in range(0, len(users), AUDIENCE_ROWS):  # columns may be larger than memory
        rows = slice(start, start + AUDIENCE_ROWS)
        whose = users[rows]
        new = ~known[whose]
        for key, values in examples.query.items():
            part = values[rows]
            table[key][whose[new]] = part[new]
            if not np.array_equal(table[key][whose], part):
                return None
        known[whose] = True
    placed: dict[str, Any] = jax.device_put(table)
    return placed
