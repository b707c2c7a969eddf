"""Parameters and the optimiser's state on their way from one run to another: arrays by name; growth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from shortlist._typing import Array
from shortlist.errors import SpecError
from shortlist.models.build import Net, Tables, build
from shortlist.models.ensemble import stacked
from shortlist.specs.models import Model
from shortlist.specs.training import Training
from shortlist.training.cost import table_shapes
from shortlist.training.optimizers import rule_of
from shortlist.training.steps import OptimizerState, copied, first_state, learned


class Carried(NamedTuple):
    """What a run ends with and another begins with. Of members all arrays have a first axis [K]."""

    net: Net
    tables: Tables
    state: OptimizerState


def to_arrays(carried: Carried) -> dict[str, Array]:
    """Everything by name, on the host: layers "net/0", ..., tables "table/<name>", and the optimiser's state
    of each parameter, "<name>/state/0", ..."""
    net, tables, state = carried
    arrays = {f"net/{k}": x for k, x in enumerate(_arrays(net))}
    arrays |= {f"table/{name}": x for name, x in tables.items()}
    for k, parts in enumerate(state.net):
        arrays |= {f"net/learned/{k}/state/{at}": x for at, x in enumerate(parts)}
    for name, parts in state.tables.items():
        arrays |= {f"table/{name}/state/{at}": x for at, x in enumerate(parts)}
    return {name: np.asarray(x) for name, x in {**arrays, "step": state.step}.items()}


def from_arrays(
    arrays: Mapping[str, Array],
    model: Model,
    sizes: Mapping[str, int],
    widths: Mapping[str, int],
    training: Training,
) -> Carried:
    """What `to_arrays` gave, of a model with tables of these sizes. Raises SpecError, naming the array, where
    one is absent or does not fit the model."""
    net = empty_net(model, sizes, widths, training)
    members = (training.members,) if training.members > 1 else ()
    count = len(rule_of(training.optimizer).start)
    shapes = {name: (*members, *shape) for name, shape in table_shapes(model, sizes).items()}
    places = [_taken(arrays, f"net/{k}", x.shape) for k, x in enumerate(_arrays(net))]
    tables = {name: _taken(arrays, f"table/{name}", shape) for name, shape in shapes.items()}
    kept, rest = eqx.partition(net, eqx.is_array)
    net = eqx.combine(jax.tree.unflatten(jax.tree.structure(kept), places), rest)
    leaves = jax.tree.leaves(learned(net))
    state = OptimizerState(
        [
            tuple(_taken(arrays, f"net/learned/{k}/state/{at}", x.shape) for at in range(count))
            for k, x in enumerate(leaves)
        ],
        {
            name: tuple(_taken(arrays, f"table/{name}/state/{at}", shape) for at in range(count))
            for name, shape in shapes.items()
        },
        _taken(arrays, "step", (), np.int32),
    )
    return Carried(net, tables, state)


def empty_net(model: Model, sizes: Mapping[str, int], widths: Mapping[str, int], training: Training) -> Net:
    """The layers as they start, beside tables of one row."""
    tables = table_shapes(model, sizes)
    small = {name: 1 if name in tables else size for name, size in sizes.items()}

    def made(seed: int) -> tuple[Net, Tables]:
        return build(model, small, means={}, seed=seed, aggregates=widths)[0], {}

    return stacked(made, training.seeds)[0]


def grown(carried: Carried, sizes: Mapping[str, int], training: Training) -> Carried:
    """A copy whose tables have the rows of `sizes`: those there were, bit for bit, then new ones.

    A new row starts where the row of unknown values stands, which is what the model has said of such a value
    so far; its optimiser's state starts fresh, as does all of it where `training` has another kind.
    """
    net, tables, state = copied(carried)
    start = rule_of(training.optimizer).start
    rows = {name: sizes[name.partition("#")[0]] for name in tables}
    larger = {name: _extended(x, rows[name], x[..., :1, :]) for name, x in tables.items()}
    first = first_state((net, larger), training)
    if len(state.net[0] if state.net else next(iter(state.tables.values()))) != len(start):
        return Carried(net, larger, first)
    states = {
        name: tuple(
            _extended(x, rows[name], jnp.full_like(x[..., :1, :], value))
            for x, value in zip(parts, start, strict=True)
        )
        for name, parts in state.tables.items()
    }
    return Carried(net, larger, OptimizerState(state.net, states, state.step))


def smaller(carried: Carried, share: float) -> Carried:
    """The same with this share of every vector of the tables; biases and layers stay."""
    tables = {
        name: table if "#" in name else jax.device_put(np.asarray(table) * np.float32(share))
        for name, table in carried.tables.items()
    }
    return carried._replace(tables=tables)


def _extended(table: Any, rows: int, row: Any) -> Any:
    """A table [..., n, dim] with copies of `row` [..., 1, dim] at its end."""
    more = rows - table.shape[-2]
    if more == 0:
        return table
    shape = (*row.shape[:-2], more, row.shape[-1])
    return jax.device_put(
        np.concatenate([np.asarray(table), np.broadcast_to(np.asarray(row), shape)], axis=-2)
    )


def _arrays(net: Net) -> list[Any]:
    return jax.tree.leaves(eqx.filter(net, eqx.is_array))


def _taken(arrays: Mapping[str, Array], name: str, shape: tuple[int, ...], dtype: Any = None) -> Any:
    found = arrays.get(name)
    if found is None or found.size != np.prod(shape, dtype=int):
        has = "is absent" if found is None else f"has the shape {found.shape}"
        raise SpecError(
            f"the parameters of the earlier run do not fit the model: {name} {has}, expected {shape}",
            hint="train the model that was saved, or from scratch",
        )
    return jax.device_put(np.array(found, dtype or found.dtype).reshape(shape))
