"""What smaller weights cost: both recommenders on the same held-out rows, or why it was not measured."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec

from shortlist.errors import DataError, MissingExtra, ShortlistError
from shortlist.pipeline.recommender import Recommender

if TYPE_CHECKING:
    from shortlist.data.splits import Split
    from shortlist.specs.recipe import Recipe

BEFORE, AFTER = "before", "after"


def weighed(before: Recommender, after: Recommender, held_out: Split | Recipe | None) -> dict[str, Any]:
    """rows, measured_on and metrics, or not_measured: the reason, in words.

    held_out is a Split whose test rows count, or a recipe that says how to read one; None: the recipe the
    recommender carries, if its data is still what it was trained on. Errors of a split or recipe that is
    given are raised.
    """
    try:
        split = _own_split(before) if held_out is None else _given(held_out)
        return _compared(before, after, split)
    except (ShortlistError, OSError) as error:
        if held_out is not None:
            raise
        return {"not_measured": str(error).splitlines()[0]}


def _given(held_out: Split | Recipe) -> Split:
    from shortlist.data.splits import Split

    return held_out if isinstance(held_out, Split) else _read(held_out)[1]


def _read(recipe: Recipe) -> tuple[Any, Split]:
    try:
        from shortlist.api.sources import read_data, split_data
    except ModuleNotFoundError as error:
        raise MissingExtra(str(error.name), "tables", "measuring on held-out rows") from error

    data = read_data(recipe)
    return data, split_data(recipe, data)


def _own_split(recommender: Recommender) -> Split:
    """The division the bundle was trained on. DataError where its test rows cannot be told any more."""
    from shortlist.specs.recipe import Recipe

    made = recommender.provenance
    if "recipe" not in made:
        raise DataError("the bundle holds no recipe to find its data by")
    if made.get("trained_on"):
        raise DataError(f"it was trained on {made['trained_on']}: no row is held out")
    data, split = _read(Recipe.from_dict(made["recipe"]))
    from shortlist.data.dataset import describe

    now, then = describe(data), made.get("data", {}).get("described")
    if then is not None and msgspec.to_builtins(now) != then:
        raise DataError("the data is not what it was when the bundle was trained")
    if split.describe() != made.get("split"):
        raise DataError("the split of its recipe is not the one it was trained on")
    return split


def _compared(before: Recommender, after: Recommender, split: Split) -> dict[str, Any]:
    from shortlist.api.comparing import compare

    found = compare(before, after, split, names=(BEFORE, AFTER))
    figures = {
        d.figure: {
            BEFORE: _plain(d.a.value),
            AFTER: _plain(d.b.value),
            "difference": _plain(d.gap.value),
            "low": _plain(d.gap.low),
            "high": _plain(d.gap.high),
        }
        for d in found.differences
        if d.figure in found.headline
    }
    said = {"warnings": list(found.warnings)} if found.warnings else {}
    rule = f"test rows of {split.rule}, seed {split.seed}"
    return {"rows": split.test.height, "measured_on": rule, "metrics": figures, **said}


def _plain(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
