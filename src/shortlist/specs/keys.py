"""Dotted keys of a recipe: `training.epochs`, `model.tasks.0.weight` (numbers count list entries)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, cast

from shortlist.errors import RecipeError, SpecError, did_you_mean
from shortlist.specs.spec import Spec

SpecOf = TypeVar("SpecOf", bound=Spec)


def changed(recipe: SpecOf, settings: Mapping[str, Any], *, said: str = "--set") -> SpecOf:
    """The recipe with the values of dotted keys replaced.

    said: what a message calls the place the keys were given in. Raises RecipeError for a key or a value that
    does not fit, with its path.
    """
    if not settings:
        return recipe
    whole = recipe.to_dict()
    if settings.get("data.interactions"):
        whole["data"] = {}  # other tables: nothing the recipe said of its own is true of them
    for section in ("data", "split"):
        whole.setdefault(section, {})  # a recipe that infers may say nothing of these
    for key, value in settings.items():
        *way, last = key.split(".")
        place: Any = whole
        for step in way:
            place = _inside(place, step, f"{said} {key}")
        if isinstance(place, list):
            _entry(place, last, f"{said} {key}")
            place[int(last)] = value
        else:
            place[last] = value
    try:
        made: Any = type(recipe).from_dict({key: value for key, value in whole.items() if value != {}})
    except SpecError as error:
        hint = error.hint or "see docs/recipes.md for every key"
        raise RecipeError(f"{said}: {error}", hint=hint) from error
    return cast("SpecOf", made)


def value_at(recipe: Spec, key: str) -> Any:
    """The value of a dotted key; None where the recipe has none there."""
    place: Any = recipe.to_dict()
    for step in key.split("."):
        if isinstance(place, list):
            place = place[int(step)] if step.isdigit() and int(step) < len(place) else None
        else:
            place = place.get(step) if isinstance(place, dict) else None
    return place


def _inside(place: Any, step: str, said: str) -> Any:
    if isinstance(place, list):
        return _entry(place, step, said)
    if step not in place or not isinstance(place[step], dict | list):
        sections = [name for name, value in place.items() if isinstance(value, dict | list)]
        raise RecipeError(f"{said}: no section {step!r}", hint=did_you_mean(step, sections))
    return place[step]


def _entry(place: list[Any], step: str, said: str) -> Any:
    if not step.isdigit() or int(step) >= len(place):
        raise RecipeError(f"{said}: {step!r} is not one of the {len(place)} entries (counted from 0)")
    return place[int(step)]
