"""Embedding tables in a step: which are updated row by row, and how their touched rows are found.

A step that touches few rows of a large table works on a small table of just these rows, in the place of the
large one: the features that read it are renumbered, so that towers, heads and penalties notice nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from shortlist.models.bags import Shared
from shortlist.models.build import Tables
from shortlist.models.towers import UNKNOWN
from shortlist.specs.features import TableSpec
from shortlist.specs.models import Model
from shortlist.specs.training import Adagrad, Adam, Training
from shortlist.tasks.multitask import View
from shortlist.training.optimizers import Rule, State, added, taken

SPARSE_FROM = {Adagrad: 3, Adam: 5}
"""Rows of a table for each id a step looks up, from which on touched rows alone are updated. Below, writing
the whole table in order costs less than finding and visiting rows (benchmarks: tables-choice). Adam's lazy
form visits a row more often, and does not do the same: small tables keep the moments that fade."""


@dataclass(frozen=True)
class Group:
    """Tables that are read by the same ids: the vectors of a feature, or of several that share them, and
    their biases.

    tables: their names. readers: (side, feature key) of each feature that reads them. num_rows: of each
    table. num_ids: looked up in a step, repeats and padding included. whole: a reader gives weights for every
    row, or a penalty is on all of them.
    """

    tables: tuple[str, ...]
    readers: tuple[tuple[str, str], ...]
    num_rows: int
    num_ids: int
    whole: bool = False

    @property
    def name(self) -> str:
        return self.tables[0]

    def sparse(self, training: Training) -> bool:
        """Whether touched rows alone are updated."""
        if self.whole:
            return False
        if training.tables != "auto":
            return training.tables == "sparse"
        return self.num_rows >= SPARSE_FROM[type(training.optimizer)] * self.num_ids

    def reason(self, training: Training) -> str:
        """The choice in a sentence, for the log."""
        form = "touched rows only" if self.sparse(training) else "the whole table"
        least = SPARSE_FROM[type(training.optimizer)] * self.num_ids
        if self.whole:
            return f"{self.name}: the whole table updated (a step touches all {self.num_rows:,} rows)"
        rule = (
            f"tables={training.tables!r}" if training.tables != "auto" else f"rows alone from {least:,} rows"
        )
        why = f"{self.num_rows:,} rows, {self.num_ids:,} ids a step; {rule}"
        return f"{self.name}: {form} updated ({why})"


def groups_of(spec: Model, tables: Mapping[str, Array], view: View) -> tuple[Group, ...]:
    """Every table of a model, grouped, with the ids that a step's view looks up in it (shapes suffice)."""
    groups = []
    for side, encoded in {"query": view.query, "candidate": view.items}.items():
        readers: dict[str, list[str]] = {}
        for feature in spec.features(side):
            if isinstance(feature, TableSpec):
                found = [key for key in (feature.key, feature.key + UNKNOWN) if key in encoded]
                readers.setdefault(f"{side}/{feature.table_name}", []).extend(found or [feature.key])
        for name, keys in readers.items():
            names = tuple(t for t in tables if t == name or t.startswith(f"{name}#"))
            read: list[Any] = [encoded[key] if key in encoded else view.raters[key] for key in keys]
            read = [x.weights if isinstance(x, Shared) else x for x in read]
            num_ids = sum(x.size for x in read)
            whole = any(jnp.issubdtype(x.dtype, jnp.floating) for x in read)
            whole |= any(f.key in keys and getattr(f, "l2_all", 0.0) > 0 for f in spec.features(side))
            places = tuple((side, key) for key in keys)
            # the last axes but one: those of members stand before them
            groups.append(Group(names, places, tables[name].shape[-2], num_ids, whole))
    return tuple(groups)


class Narrow(NamedTuple):
    """A step's view of small tables: rows instead of large tables, ids renumbered to match.

    rows: table name -> its touched rows [n, dim]; owners: group name -> the row of the large table each
    stands for, int [n] (beyond the table where it stands for nothing); scratch: as it is now.
    """

    view: View
    rows: Tables
    owners: dict[str, Array]
    scratch: dict[str, Array]


def narrow(groups: tuple[Group, ...], tables: Tables, scratch: dict[str, Array], view: View) -> Narrow:
    """Gather the touched rows of every group. scratch: group name -> int32 [num_rows], of any content."""
    encoded = {"query": dict(view.query), "candidate": dict(view.items)}
    rows: Tables = {}
    owners: dict[str, Array] = {}
    scratch = dict(scratch)
    for group in groups:
        ids = [encoded[side][key] for side, key in group.readers]
        flat = jnp.concatenate([x.reshape(-1) for x in ids])
        owner, place, scratch[group.name] = distinct_rows(flat, group.num_rows, scratch[group.name])
        rows |= {name: taken(tables[name], owner) for name in group.tables}
        owners[group.name] = owner
        start = 0
        for (side, key), x in zip(group.readers, ids, strict=True):
            encoded[side][key] = place[start : start + x.size].reshape(x.shape)
            start += x.size
    view = view._replace(query=encoded["query"], items=encoded["candidate"])
    return Narrow(view, rows, owners, scratch)


def distinct_rows(ids: Array, num_rows: int, scratch: Array) -> tuple[Array, Array, Array]:
    """(owner, place, scratch) of ids int [n], -1 where padding.

    Every id writes its own position into its row of the scratch; what it reads back is the one position
    that speaks for that row: place int [n] (-1 for padding). owner int [n]: the row a position speaks for,
    or one beyond the table. No sorting, and the scratch is never cleared: only what was just written is read.
    """
    position = jnp.arange(ids.shape[0], dtype=jnp.int32)
    beyond = num_rows + position
    real = ids >= 0
    at = jnp.where(real, ids, beyond)
    scratch = scratch.at[at].set(position, mode="drop")
    place = scratch.at[at].get(mode="fill", fill_value=-1)
    owner = jnp.where(real & (place == position), ids, beyond)
    return owner, jnp.where(real, place, -1), scratch


def update_rows(
    group: Group,
    rule: Rule,
    tables: Tables,
    states: dict[str, State],
    owner: Array,
    gradients: Tables,
    rate: Array,
    step: Array,
) -> tuple[Tables, dict[str, State]]:
    """The group's tables and their optimiser states after a step that touched the rows `owner`."""
    tables, states = dict(tables), dict(states)
    for name in group.tables:
        change, states[name] = rule.touched(owner, gradients[name], states[name], rate, step)
        tables[name] = added(tables[name], owner, change)
    return tables, states
