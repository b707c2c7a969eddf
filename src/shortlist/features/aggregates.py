"""Aggregates of a log's events as features of (user, item, time) rows. NumPy only.

Fitted once: the global mean, where numeric columns are cut, and what the figures are standardised by.
Everything else comes from the log at hand, which need not be the one fitted on:

    aggregates = fit_aggregates(specs, log, users, items)
    ready = aggregates.over(log, users, items)      # about a second for 100,000 events
    ready.values(at, positions)                     # float32 [n, width]
    ready.with_users(their_log, their_columns)      # users the log does not know, at once
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np

from shortlist._typing import Array, Bools, Columns, Doubles, Floats
from shortlist.errors import DataError, SpecError
from shortlist.features.affinities import affinity
from shortlist.features.factors import Factors, learn
from shortlist.features.figures import Rows, aggregate, context
from shortlist.features.ground import Ground
from shortlist.features.keys import Edges, Table, numeric, quantiles, side_of
from shortlist.features.log import NOWHERE, Log, Standing
from shortlist.features.processes import process
from shortlist.specs.aggregates import (
    ACTIVITY,
    ITEM,
    POPULARITY,
    USER,
    Affinity,
    Aggregate,
    AggregateSpec,
    Context,
    Process,
)

SAMPLE = 20_000
"""Events of a log that figures are standardised by, spread evenly over it."""

LIMIT = 5.0
"""Standardised figures are held to so many deviations."""


@dataclass(frozen=True)
class Aggregates:
    """Fitted aggregates: the mean rating, inner edges by (column, bins), and each figure's mean and deviation
    over the events fitted on; the items' factors that processes use, by how many."""

    specs: tuple[AggregateSpec, ...]
    mean: float
    edges: tuple[tuple[str, int, tuple[float, ...]], ...]
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    factors: tuple[Factors, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(spec.name for spec in self.specs)

    @property
    def width(self) -> int:
        return len(self.specs)

    @property
    def foresees(self) -> bool:
        """Whether any sees events later than its row."""
        return any(spec.as_of == "leave-one-out" for spec in self.specs)

    def over(self, log: Log, users: Columns, items: Columns) -> Ready:
        """The aggregates over the events of a log. users, items: columns by user of the log and by catalogue
        position; users beyond the table have no columns. Raises as `fit_aggregates` does."""
        _check_log(self.specs, log)
        sides = _columns(self.specs, users, items)
        edges: Edges = {(name, bins): np.array(cuts) for name, bins, cuts in self.edges}
        tables = [
            Table.of(columns, [at for at in sides if at[0] in columns], edges) for columns in (users, items)
        ]
        ground = Ground.of(log, self.mean, *tables)
        ready = Ready(self, ground, ground)
        ready.figures(Standing.of(np.zeros(1), np.zeros(1)), np.zeros(1, np.int64))  # sorts all there is to
        return ready

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Aggregates:
        return msgspec.convert(plain, cls)


@dataclass(frozen=True, eq=False)
class Ready:
    """Aggregates over a log. `mine` has the events of the users asked for, `everyone` those of all others,
    often one and the same."""

    aggregates: Aggregates
    mine: Ground
    everyone: Ground

    def values(self, at: Standing, items: Array) -> Floats:
        """Standardised figures of n rows, float32 [n, width] in [-5, 5]. items: catalogue positions [n]."""
        figures = self.figures(at, items)
        figures -= self.aggregates.centre
        figures /= self.aggregates.scale
        out = np.clip(figures, -LIMIT, LIMIT).astype(np.float32)
        out[np.isnan(out)] = 0
        return out

    def without_users_past(self, values: Floats, at: Standing, items: Array, chosen: Bools) -> Floats:
        """The values [n, width] of rows, some of which (bool [n]) are to be as if their users, whose columns
        they keep, had done nothing yet."""
        none = np.zeros(0, np.int64)
        rated = None if self.mine.log.ratings is None else none
        nothing, _ = Log.of(none, none, none, rated, self.mine.log.num_users)
        bare = Ground.of(nothing, self.aggregates.mean, self.mine.user_table, self.mine.item_table)
        strange = replace(self, mine=replace(bare, behind=self.everyone))
        rows = at.rows(chosen)._replace(places=np.full(int(chosen.sum()), NOWHERE, np.int64))
        of_user = np.array([spec.of_user for spec in self.aggregates.specs])
        out = values.copy()
        out[np.ix_(chosen, of_user)] = strange.values(rows, items[chosen])[:, of_user]
        return out

    def figures(self, at: Standing, items: Array) -> Doubles:
        """The figures as they are, float64 [n, width]; NaN where a column has no number."""
        if len(items) != len(at.users):
            raise DataError(f"{len(at.users)} rows stand in the log, but there are {len(items)} items")
        rows = Rows(at, np.asarray(items, np.int64), self.mine, self.everyone)
        out = np.empty((len(rows), self.aggregates.width))
        for k, spec in enumerate(self.aggregates.specs):
            out[:, k] = _figure(spec, rows, self.aggregates.factors)
        return out

    def with_users(self, log: Log, users: Columns) -> Ready:
        """For users the log does not know: what has user_id in its key, and what users are like, comes from
        their own log (and columns, by its users); all else, with items' means and popularity, from the events
        of those it does know. Raises DataError for a missing column."""
        _check_log(self.aggregates.specs, log)
        known = self.everyone.user_table
        if missing := sorted({name for name, _ in known.codings} - set(users)):
            raise DataError(f"the users have no column {missing[0]!r}", hint=f"given: {sorted(users)}")
        mine = Ground.of(log, self.aggregates.mean, known.of_others(users), self.everyone.item_table)
        return replace(self, mine=replace(mine, behind=self.everyone))


def fit_aggregates(specs: Sequence[AggregateSpec], log: Log, users: Columns, items: Columns) -> Aggregates:
    """Fit aggregates on the events of a log, all of them training rows.

    users, items: columns by user of the log and by catalogue position. Raises SpecError where a column is in
    neither table or in both, has no values to tell apart or no numbers, or where two specs are equal;
    DataError where ratings are asked for and are missing.
    """
    return fit_over(specs, log, users, items).aggregates


def fit_over(specs: Sequence[AggregateSpec], log: Log, users: Columns, items: Columns) -> Ready:
    """Fit aggregates and have them ready over the same log, for the price of one."""
    if len(set(specs)) != len(specs):
        again = next(spec for k, spec in enumerate(specs) if spec in specs[:k])
        raise SpecError(f"the aggregate {again.name!r} is there twice")
    _check_log(specs, log)
    edges = [
        (name, bins, tuple(quantiles((users if name in users else items)[name], bins).tolist()))
        for name, bins in _columns(specs, users, items)
        if bins and numeric((users if name in users else items)[name])
    ]
    known = None if log.ratings is None or not len(log) else float(log.ratings.mean(dtype=np.float64))
    zero, one = (0.0,) * len(specs), (1.0,) * len(specs)
    sizes = sorted({spec.factors for spec in specs if isinstance(spec, Process) and spec.factors})
    num_items = max(len(next(iter(items.values()), ())), int(log.items.max(initial=-1)) + 1)
    factors = tuple(learn(log, num_items, size) for size in sizes)
    plain = Aggregates(tuple(specs), known or 0.0, tuple(edges), zero, one, factors)
    ready = plain.over(log, users, items)
    if not len(log):
        return ready
    places = np.unique(np.linspace(0, len(log) - 1, min(len(log), SAMPLE)).astype(np.int64))
    at = Standing.of(log.users[places], log.times[places], places)
    centre, scale = _moments(ready.figures(at, log.items[places]))
    return replace(ready, aggregates=replace(plain, centre=centre, scale=scale))


def _moments(figures: Doubles) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each figure that is known; a deviation of 1 where all are the same."""
    known = np.isfinite(figures)
    count = np.maximum(known.sum(0), 1)
    centre = np.where(known, figures, 0).sum(0) / count
    scale = np.sqrt((np.where(known, figures - centre, 0) ** 2).sum(0) / count)
    scale[scale <= 1e-9 * np.maximum(1, np.abs(centre))] = 1
    return tuple(centre.tolist()), tuple(scale.tolist())


def _figure(spec: AggregateSpec, rows: Rows, factors: tuple[Factors, ...]) -> Doubles:
    if isinstance(spec, Process):
        return process(spec, rows, next((some for some in factors if some.size == spec.factors), None))
    if isinstance(spec, Aggregate):
        return aggregate(spec, rows)
    return context(spec, rows) if isinstance(spec, Context) else affinity(spec, rows)


def _check_log(specs: Iterable[AggregateSpec], log: Log) -> None:
    rated = [
        spec
        for spec in specs
        if isinstance(spec, Affinity | Process) or (isinstance(spec, Aggregate) and spec.rated)
    ]
    if not rated:
        return
    if log.ratings is None:
        raise DataError(
            f"the aggregate {rated[0].name!r} needs ratings, and the log has none",
            hint='without ratings only statistic="count" and Context can be had',
        )
    if not np.isfinite(log.ratings).all():
        place = int(np.flatnonzero(~np.isfinite(log.ratings))[0])
        raise DataError(f"a rating of the log is {log.ratings[place]} (event {place})", hint="leave it out")


def _columns(specs: Iterable[AggregateSpec], users: Columns, items: Columns) -> list[tuple[str, int]]:
    """The columns that keys and tags name, with their bins; SpecError where one cannot be had."""
    keys: dict[tuple[str, int], None] = {}
    for spec in specs:
        if isinstance(spec, Context):
            _check_context(spec, users, items)
        elif isinstance(spec, Affinity | Process):
            keys.update(_check_likeness(spec, users, items))
        else:
            named = [name for name in spec.by if name not in (USER, ITEM, POPULARITY, ACTIVITY)]
            for name in named:
                _check_key(name, users, items, spec.name)
                keys[name, spec.bins] = None
            if spec.bins and not any(numeric({**users, **items}[name]) for name in named):
                raise SpecError(f"{spec.name}: no column of {named!r} is numeric, so bins cut nothing")
    return list(keys)


def _check_key(name: str, users: Columns, items: Columns, where: str) -> None:
    column = (users if side_of(name, users, items, where) == "users" else items)[name]
    if column.dtype.kind == "f" and column.ndim == 2:
        raise SpecError(f"{where}: column {name!r} holds vectors, which cannot be told apart as values")


def _check_context(spec: Context, users: Columns, items: Columns) -> None:
    if spec.what != "column":
        return
    side = side_of(spec.column, users, items, spec.name)
    column = (users if side == "users" else items)[spec.column]
    if numeric(column) == bool(spec.equals):
        hint = "leave out equals" if spec.equals else "say which value: equals=..."
        raise SpecError(f"{spec.name}: column {spec.column!r} has {_kind(column)}", hint=hint)


def _check_likeness(spec: Affinity | Process, users: Columns, items: Columns) -> dict[tuple[str, int], None]:
    by = spec.by if isinstance(spec, Affinity) else USER
    table, other = ("items", "users") if by == USER else ("users", "items")
    for name in (spec.tags, spec.near):
        derived = isinstance(spec, Affinity) and name in (POPULARITY, ACTIVITY)
        if name and not derived and side_of(name, users, items, spec.name) != table:
            raise SpecError(f"{spec.name}: column {name!r} is of the {other}, and by {by!r} compares {table}")
    columns = {**users, **items}
    if spec.near and spec.near in columns and not numeric(columns[spec.near]):
        raise SpecError(
            f"{spec.name}: near needs numbers, column {spec.near!r} has {_kind(columns[spec.near])}"
        )
    if spec.tags and (numeric(columns[spec.tags]) or columns[spec.tags].dtype.kind == "f"):
        raise SpecError(
            f"{spec.name}: tags needs texts, column {spec.tags!r} has {_kind(columns[spec.tags])}"
        )
    return {(spec.tags, 0): None} if spec.tags else {}


def _kind(column: Array) -> str:
    return "numbers" if numeric(column) else "vectors" if column.dtype.kind == "f" else "texts"
