"""From a recipe's words to its tables and their division."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import msgspec

from shortlist.data.dataset import Dataset, from_tables
from shortlist.data.movielens import movielens
from shortlist.data.reading import Source
from shortlist.data.splits import Split, parse_rule
from shortlist.errors import DataError, did_you_mean
from shortlist.features.history import DERIVED
from shortlist.specs.features import OfPast
from shortlist.specs.recipe import DataSource, Outline, Recipe, SplitRule

RecipeOf = TypeVar("RecipeOf", bound="Recipe | Outline")


def read_data(recipe: Recipe) -> Dataset:
    """The tables a recipe names. Raises DataError where they cannot be read."""
    source = recipe.data
    if source.dataset:
        family, _, size = source.dataset.partition("-")
        if family != "movielens" or not size:
            hint = "movielens-100k; others, such as movielens-1m, with path="
            raise DataError(f"no data set {source.dataset!r}", hint=hint)
        return movielens(size, path=source.path or None)
    return read_tables(source)


def require_columns(recipe: Recipe, data: Dataset) -> None:
    """DataError where a recipe's tables lack a column that one of its features is to learn from."""
    source, events = recipe.data, data.place or data.name
    either = f"neither {events} nor {source.users} has" if source.users else f"{events} does not have"
    things = source.items or (data.name if source.dataset else "")
    alone = f"{things} does not have" if things else "items do not have without a table of their own"
    for side, columns, lacking in (
        ("query", (*data.interactions.columns, *data.users.columns), either),
        ("candidate", data.items.columns, alone),
    ):
        for feature in recipe.model.features(side):
            made = isinstance(feature, OfPast) or feature.column in DERIVED
            if not made and feature.column not in columns:
                raise DataError(
                    f"the {side} tower's feature {type(feature).__name__}({feature.column!r}) names a column"
                    f" that {lacking}",
                    hint=did_you_mean(feature.column, columns),
                )


def read_tables(source: DataSource, interactions: Source | None = None, *, unrated: bool = False) -> Dataset:
    """The files a source names, read as it says: nothing is guessed. interactions: what was read of its own
    before. unrated: rows may have no rating."""
    return from_tables(
        source.interactions if interactions is None else interactions,
        users=source.users or None,
        items=source.items or None,
        name=Path(source.interactions).stem,
        licence=source.licence,
        user=source.user,
        item=source.item,
        rating=_chosen(source, "rating"),
        timestamp=_chosen(source, "timestamp"),
        weight=_chosen(source, "weight"),
        event=source.event or None,
        event_weights=source.event_weights or None,
        time_unit=source.time_unit,
        user_key=source.user_key or None,
        item_key=source.item_key or None,
        lists=source.lists,
        delimiter=source.delimiter,
        guess=False,
        place=source.interactions,
        unrated=unrated,
    )


def split_data(recipe: Recipe, data: Dataset) -> Split:
    """The division a recipe asks for; what the rule itself says of validation goes before `validation`."""
    return split_by(recipe.split, data)


def split_by(wanted: SplitRule, data: Dataset) -> Split:
    """The same, of the part of a recipe that says it."""
    rule = parse_rule(wanted.rule)
    if "validation" not in wanted.rule:
        rule = replace(rule, validation=wanted.validation)
    return rule.apply(data, seed=wanted.seed)


def beside(recipe: RecipeOf, folder: Path) -> RecipeOf:
    """The recipe with the files it names taken from `folder`, where its file lies, if they are found there;
    other paths stay as they are, to be taken from the working folder."""
    if recipe.data is None:
        return recipe
    paths = {name: getattr(recipe.data, name) for name in ("interactions", "users", "items", "path")}
    found = {n: str(folder / p) for n, p in paths.items() if p and (folder / p).exists()}
    return msgspec.structs.replace(recipe, data=msgspec.structs.replace(recipe.data, **found))


def _chosen(source: DataSource, role: str) -> str | None:
    """A column name that was chosen; None (look whether the usual one is there) where it was left alone."""
    name: str = getattr(source, role)
    return None if name == role else name
