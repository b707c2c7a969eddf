"""Recipes with something changed of them: what a model may see of other rows, what it knows of users."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from shortlist.specs.aggregates import Aggregate, AggregateSpec, Context, Process
from shortlist.specs.features import AsOf, FeatureSpec, OfPast
from shortlist.specs.models import Model, Tower, TwoTower
from shortlist.specs.recipe import Recipe
from shortlist.specs.tasks import Head, Retrieval, TaskSpec

Change = Callable[[Recipe], Recipe]
_S = TypeVar("_S", bound=msgspec.Struct)
CLOCK = ("timestamp", "past_gap", "past_span", "session_count")


def training(**changes: Any) -> Change:
    """Other fields of its training."""
    return lambda recipe: _with(recipe, training=_with(recipe.training, **changes))


def as_of(value: AsOf, *, retrieval: bool = True, ratings: bool = True) -> Change:
    """What the inputs of retrieval, and those of heads, may see of other rows."""

    def past(feature: FeatureSpec) -> FeatureSpec:
        return _with(feature, as_of=value) if isinstance(feature, OfPast) else feature

    def tower(side: Tower) -> Tower:
        return _with(side, features=tuple(map(past, side.features))) if retrieval else side

    def task(one: TaskSpec) -> TaskSpec:
        if isinstance(one, Retrieval):
            return _with(one, seen=value) if retrieval and one.seen else one
        if not ratings:
            return one
        return _with(
            one,
            query=tuple(map(past, one.query)),
            candidate=tuple(map(past, one.candidate)),
            aggregates=tuple(_with(a, as_of=value) for a in one.aggregates if _can_see(a, value)),
        )

    return lambda recipe: _changed(recipe, tower, task)


def _can_see(aggregate: AggregateSpec, value: AsOf) -> bool:
    """Nothing of a row's own second is earlier than it."""
    return not (isinstance(aggregate, Aggregate) and value == "row" and 0 < aggregate.window < 1)


def without_user_ids() -> Change:
    """No parameter of one user alone."""

    def kept(features: tuple[FeatureSpec, ...]) -> tuple[FeatureSpec, ...]:
        return tuple(f for f in features if f.column != "user_id")

    def task(one: TaskSpec) -> TaskSpec:
        return _with(one, query=kept(one.query)) if isinstance(one, Head) else one

    return lambda recipe: _changed(recipe, lambda side: _with(side, features=kept(side.features)), task)


def without_time() -> Change:
    """No input that reads a clock, or how events lie in time."""

    def kept(features: tuple[FeatureSpec, ...]) -> tuple[FeatureSpec, ...]:
        return tuple(f for f in features if f.column not in CLOCK)

    def timeless(aggregate: AggregateSpec) -> AggregateSpec | None:
        if isinstance(aggregate, Context) and aggregate.what != "column":
            return None
        if isinstance(aggregate, Aggregate) and (aggregate.window or aggregate.last):
            return None
        return _with(aggregate, time=False) if isinstance(aggregate, Process) else aggregate

    def task(one: TaskSpec) -> TaskSpec:
        if not isinstance(one, Head):
            return one
        left = tuple(a for a in map(timeless, one.aggregates) if a is not None)
        return _with(one, query=kept(one.query), aggregates=left)

    return lambda recipe: _changed(recipe, lambda side: _with(side, features=kept(side.features)), task)


def _changed(recipe: Recipe, tower: Callable[[Tower], Tower], task: Callable[[TaskSpec], TaskSpec]) -> Recipe:
    model = recipe.model
    assert isinstance(model, Model)
    tasks: dict[str, Any] = {"tasks": tuple(map(task, model.all_tasks))}
    if isinstance(model, TwoTower):
        tasks = {"task": task(model.task)}
    query, candidate = tower(model.query), tower(model.candidate)
    return _with(recipe, model=_with(model, query=query, candidate=candidate, **tasks))


def _with(spec: _S, **changes: Any) -> _S:
    made: _S = msgspec.structs.replace(spec, **changes)
    return made


def without_aggregates() -> Change:
    """No figure of other rows: of users like none of training they would be of nobody."""

    def task(one: TaskSpec) -> TaskSpec:
        return _with(one, aggregates=()) if isinstance(one, Head) else one

    return lambda recipe: _changed(recipe, lambda side: side, task)


def linear() -> Change:
    """Heads without hidden layers, which say little of users unlike any they have seen."""

    def task(one: TaskSpec) -> TaskSpec:
        return _with(one, hidden=(), dropout=0.0) if isinstance(one, Head) else one

    return lambda recipe: _changed(recipe, lambda side: side, task)
