"""From a recipe's words to its tables and their division."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from shortlist.data.dataset import Dataset, from_tables
from shortlist.data.movielens import movielens
from shortlist.data.splits import Split, parse_rule
from shortlist.errors import DataError
from shortlist.specs.recipe import DataSource, Recipe


def read_data(recipe: Recipe) -> Dataset:
    """The tables a recipe names. Raises DataError where they cannot be read."""
    source = recipe.data
    if source.dataset:
        family, _, size = source.dataset.partition("-")
        if family != "movielens" or not size:
            hint = "movielens-100k; others, such as movielens-1m, with path="
            raise DataError(f"no data set {source.dataset!r}", hint=hint)
        return movielens(size, path=source.path or None)
    return from_tables(
        source.interactions,
        users=source.users or None,
        items=source.items or None,
        name=Path(source.interactions).stem,
        user=source.user,
        item=source.item,
        rating=_chosen(source, "rating"),
        timestamp=_chosen(source, "timestamp"),
        weight=_chosen(source, "weight"),
    )


def split_data(recipe: Recipe, data: Dataset) -> Split:
    """The division a recipe asks for; what the rule itself says of validation goes before `validation`."""
    rule = parse_rule(recipe.split.rule)
    if "validation" not in recipe.split.rule:
        rule = replace(rule, validation=recipe.split.validation)
    return rule.apply(data, seed=recipe.split.seed)


def _chosen(source: DataSource, role: str) -> str | None:
    """A column name that was chosen; None (look whether the usual one is there) where it was left alone."""
    name: str = getattr(source, role)
    return None if name == role else name
