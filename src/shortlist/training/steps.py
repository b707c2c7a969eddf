"""The compiled program: many steps of training in one call, parameters updated in place."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import msgspec
import numpy as np
from jax import Array
from jax.custom_batching import sequential_vmap

from shortlist.models.build import Net
from shortlist.models.precision import precision
from shortlist.specs.tasks import Custom
from shortlist.specs.training import OptimizerSpec, Training
from shortlist.tasks.multitask import Batch, Corpus, Params, View, active_tasks, batch_loss, look
from shortlist.tasks.ranking import registered_loss
from shortlist.training.optimizers import Rule, State, rule_of
from shortlist.training.pages import use_huge_pages
from shortlist.training.tables import Group, groups_of, narrow, update_rows

KEPT = 64
"""Programs kept in a process; the oldest goes when another comes."""
_PROGRAMS: dict[Any, Program] = {}
COMPILED_FROM = 2**22
"""Numbers of a constant array from which on it is made on the device."""


class OptimizerState(NamedTuple):
    """What an update rule keeps: of the net's parameters, in order, and of the tables, by name; step: int32,
    how many there were."""

    net: list[State]
    tables: dict[str, State]
    step: Array


class Carry(NamedTuple):
    """What a step hands to the next. state: of the net's parameters, in order, and of the tables, by name;
    scratch: int32 [rows] for each group of tables that is updated row by row; step: how many there were.

    Members of an ensemble have parameters and state with a first axis [K], and share the rest.
    """

    params: Params
    state: tuple[list[State], dict[str, State]]
    scratch: dict[str, Array]
    step: Array


class Steps(NamedTuple):
    """The steps of a call: rows int [num_steps, B] (-1: padding), key data uint32 [num_steps, 2] (of members
    [num_steps, K, 2]), rates."""

    rows: Array
    key: Array
    rate: Array


class Work(NamedTuple):
    """Everything a program reads and does not change."""

    data: Batch
    corpus: Corpus
    steps: Steps
    weights: dict[str, Array]


class Plan(NamedTuple):
    """What a program depends on beside the shapes of its arguments: all tables, and how each is updated."""

    groups: tuple[Group, ...]
    training: Training

    @property
    def sparse(self) -> tuple[Group, ...]:
        return tuple(g for g in self.groups if g.sparse(self.training))


def plan_of(params: Params, data: Batch, corpus: Corpus, training: Training, batch_size: int) -> Plan:
    """Which tables are updated row by row, by what a step looks up in them."""
    net, tables = params

    def view(data: Batch, corpus: Corpus) -> View:
        rows = jax.tree.map(lambda x: x[jnp.zeros(batch_size, int)], data)
        return look(net.spec, rows, corpus)

    return Plan(groups_of(net.spec, tables, jax.eval_shape(view, data, corpus)), training)


def first_carry(params: Params, plan: Plan, begun: OptimizerState | None = None) -> Carry:
    """Parameters, which are taken as they are, with the optimiser's first state, or with one that is taken
    over as it is."""
    tables = params[1]
    begun = first_state(params, plan.training) if begun is None else begun
    states = begun.tables
    scratch = jax.device_put({g.name: np.zeros(g.num_rows, np.int32) for g in plan.sparse})
    for group in plan.sparse:
        use_huge_pages(x for name in group.tables for x in (tables[name], *states[name]))
    return Carry(params, (begun.net, states), scratch, begun.step)


def first_state(params: Params, training: Training) -> OptimizerState:
    """The optimiser's state before the first step."""
    start = rule_of(training.optimizer).start

    def state(x: Array) -> State:
        return tuple(_filled(x.shape, value) for value in start)

    net, tables = params
    states = {name: state(table) for name, table in tables.items()}
    leaves = [state(x) for x in jax.tree.leaves(learned(net))]
    return OptimizerState(leaves, states, jax.device_put(np.int32(0)))


def _filled(shape: tuple[int, ...], value: float) -> Array:
    """A constant array: of NumPy where that is no burden, since a program takes longer to compile."""
    if np.prod(shape) < COMPILED_FROM:
        small: Array = jax.device_put(np.full(shape, value, np.float32))
        return small
    return jnp.full(shape, value, jnp.float32)


class Program(NamedTuple):
    """A compiled program, and what of the carry is no array.

    Kept with it: what is told apart by its id stays alive.
    """

    compiled: Any
    static: Any

    def __call__(self, carry: Carry, work: Work) -> tuple[Carry, dict[str, Array]]:
        """(carry, each task's mean loss [num_steps]); the arrays of the carry handed in are given away."""
        arrays, losses = self.compiled(eqx.filter(carry, eqx.is_array), work)
        return eqx.combine(arrays, self.static), losses

    @property
    def scratch_bytes(self) -> int:
        """Bytes held while it runs, beside its arguments and results."""
        return int(self.compiled.memory_analysis().temp_size_in_bytes)


def program(carry: Carry, work: Work, plan: Plan) -> Program:
    """The program for arguments of these shapes; of `work` shapes suffice. One compilation a distinct program
    and process."""
    arrays, static = eqx.partition(carry, eqx.is_array)
    inputs = (arrays, work)
    shapes = tuple((x.shape, str(x.dtype)) for x in jax.tree.leaves(inputs))
    rule, form = _course_free(plan.training.optimizer), plan.training.precision
    members = plan.training.members
    known = (jax.tree.structure(inputs), *_code(static), shapes, rule, plan.sparse, form, members)
    if known not in _PROGRAMS:

        def run(arrays: Any, work: Work) -> Any:
            with precision(form):
                return _run(arrays, work, static, rule_of(rule), plan.sparse, members)

        while len(_PROGRAMS) >= KEPT:
            _PROGRAMS.pop(next(iter(_PROGRAMS)))
        _PROGRAMS[known] = Program(jax.jit(run, donate_argnums=0).lower(*inputs).compile(), static)
    return _PROGRAMS[known]


def learned(params: Any) -> Any:
    """What gradients reach: a module of one's own may also hold whole numbers, functions and settings."""
    return eqx.filter(params, eqx.is_inexact_array)


def _run(
    arrays: Any, work: Work, static: Any, rule: Rule, groups: tuple[Group, ...], members: int
) -> tuple[Any, dict[str, Array]]:
    # losses work on blocks that fit a core's cache, and those of all members together do not
    in_turn = members > 1 and jax.default_backend() == "cpu"

    def step(arrays: Any, now: Steps) -> tuple[Any, dict[str, Array]]:
        carry, losses = _step(eqx.combine(arrays, static), now, work, rule, groups, in_turn)
        return eqx.filter(carry, eqx.is_array), losses

    if members == 1:
        return jax.lax.scan(step, arrays, work.steps)
    # rows, and so the places of touched ones, are shared: one look at a batch serves all members
    carried: Any = Carry._make((0, 0, None, None))
    read: Any = Steps._make((None, 0, None))
    side_by_side = jax.vmap(step, in_axes=(carried, read), out_axes=(carried, 0))
    arrays, losses = jax.lax.scan(side_by_side, arrays, work.steps)
    return arrays, {name: of_members.mean(axis=1) for name, of_members in losses.items()}


def _step(
    carry: Carry, now: Steps, work: Work, rule: Rule, groups: tuple[Group, ...], in_turn: bool
) -> tuple[Carry, dict[str, Array]]:
    """in_turn: under `jax.vmap`, gradients are made one member after the other."""
    net, tables = carry.params
    batch = jax.tree.map(lambda x: x[jnp.maximum(now.rows, 0)], work.data)
    batch = batch._replace(weights=jnp.where(now.rows >= 0, batch.weights, 0.0))
    view = look(net.spec, batch, work.corpus)
    small = narrow(groups, tables, carry.scratch, view)
    params, fixed = eqx.partition((net, {**tables, **small.rows}), eqx.is_array)

    def slopes(params: Any, key: Array, batch: Batch, view: View, corpus: Corpus, weights: Any) -> Any:
        def loss(params: Params) -> tuple[Array, dict[str, Array]]:
            noise = jax.random.wrap_key_data(key)
            return batch_loss(params, batch, view, corpus, weights, key=noise)

        return eqx.filter_grad(loss, has_aux=True)(eqx.combine(params, fixed))

    if in_turn:
        slopes = sequential_vmap(slopes)  # type: ignore[no-untyped-call]
    given = (params, now.key, batch, small.view, work.corpus, work.weights)
    (d_net, d_tables), losses = slopes(*given)
    count = carry.step + 1
    net, net_state = _dense_net(net, d_net, carry.state[0], rule, now.rate, count)
    tables, states = dict(tables), dict(carry.state[1])
    for group in groups:
        owner = small.owners[group.name]
        tables, states = update_rows(group, rule, tables, states, owner, d_tables, now.rate, count)
    for name in [n for n in tables if n not in small.rows]:  # in order: the same program every time
        change, states[name] = rule.change(d_tables[name], states[name], now.rate, count)
        tables[name] = tables[name] + change
    return Carry((net, tables), (net_state, states), small.scratch, count), losses


def _dense_net(
    net: Net, gradient: Any, state: list[State], rule: Rule, rate: Array, count: Array
) -> tuple[Net, list[State]]:
    leaves, form = jax.tree.flatten(learned(net))
    slopes = jax.tree.leaves(gradient)
    changed = [rule.change(g, s, rate, count) for g, s in zip(slopes, state, strict=True)]
    moved = [x + change for x, (change, _) in zip(leaves, changed, strict=True)]
    rest = eqx.filter(net, eqx.is_inexact_array, inverse=True)
    return eqx.combine(jax.tree.unflatten(form, moved), rest), [s for _, s in changed]


def _course_free(rule: OptimizerSpec) -> OptimizerSpec:
    """The rule without its rates, which are handed in: what a compiled program depends on."""
    return msgspec.structs.replace(rule, learning_rate=1.0, schedule="constant", warmup=0.0)


def _code(static: Carry) -> tuple[Any, ...]:
    """What a program depends on beside arrays: structure, functions and settings inside modules, and the
    losses registered now, which may have been redefined under their old names."""
    leaves = tuple(x if isinstance(x, Hashable) else id(x) for x in jax.tree.leaves(static))
    tasks = active_tasks(static.params[0].spec)
    losses = tuple(registered_loss(t.loss) for t in tasks if isinstance(t, Custom))
    return jax.tree.structure(static), leaves, losses


T = TypeVar("T")


def copied(params: T) -> T:
    """The same with arrays of its own: those of a carry are given away to the program."""
    copy: T = jax.tree.map(
        lambda x: jax.device_put(np.array(x)) if eqx.is_array(x) or isinstance(x, np.ndarray) else x, params
    )
    return copy
