"""Columns of any table as features, each with a sentence of reason; from training rows only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import ceil, sqrt

import polars as pl

from shortlist.data.times import DAY, PER_SECOND, nearly_units_of
from shortlist.pipeline.histories import RESERVED
from shortlist.specs.features import Bucket, Category, FeatureSpec, Tags, Text, Vector

FEW = 20
"""Distinct numbers told apart one by one; more are cut into buckets."""
REPEATED = 5
"""Rows a distinct value must stand for on average to be a category whatever the number of its words."""
WORDS = 1.5
"""Words a value has on average from which on a column of mostly different texts is read word by word."""
ENOUGH = 3
"""Entities a value of a category must stand for, or its vector would be learned from one or two."""
COVERED = 0.2
"""Share of entities whose value must stand for enough of them; else the column tells entities apart."""
SPARSE = 0.05
"""Share of entities that must have a value at all."""
MOST_BUCKETS, MOST_WORDS, LONGEST = 50, 10_000, 32
"""Bounds: buckets of a number; words kept of a text column; words of one text."""


IDS = ("user_id", "item_id")
_TIMES = "dates or times as texts, which no feature reads: write seconds since 1970, or the table as Parquet"
NAMELESS = re.compile(r"\s*(_duplicated_\d+)?")
"""Columns whose header is blank, as the reader of text calls them."""


@dataclass(frozen=True)
class Choice:
    """What is made of a column, or None, and why."""

    column: str
    feature: FeatureSpec | None
    reason: str


@dataclass(frozen=True)
class Shape:
    """How features of one side are made: their width, and how many training rows an entity has on average
    (vocabularies of the query side are counted over rows)."""

    dim: int
    rows_each: float = 1.0
    l2: float = 0.0


def choose(frame: pl.DataFrame, shape: Shape) -> list[Choice]:
    """A choice for every column of one row an entity (or an interaction)."""
    return [_choice(frame[name], shape) for name in frame.columns]


def _choice(column: pl.Series, shape: Shape) -> Choice:
    name, dtype = column.name, column.dtype
    if NAMELESS.fullmatch(name):
        return Choice(name, None, "its header is blank: name it in the file to have it read")
    if "#" in name or "@" in name:
        return Choice(name, None, "its name holds '#' or '@'")
    if name in RESERVED:
        return Choice(name, None, "its name is that of a column made of past events: rename it")
    if name in IDS:
        return Choice(name, None, "its name is that of an id of another table")
    if isinstance(dtype, pl.List | pl.Array):
        return _listed(column, shape)
    given = column.drop_nulls()
    if dtype.is_float() or dtype.is_decimal():
        given = given.cast(pl.Float64).drop_nans()
    text = dtype in (pl.String, pl.Categorical, pl.Enum)
    if text:
        given = given.cast(pl.String).filter(given.cast(pl.String).str.strip_chars() != "")
    if not (text or dtype.is_numeric() or dtype in (pl.Boolean, pl.Date, pl.Datetime)):
        return Choice(name, None, f"no feature reads the type {dtype}")
    if len(given) < max(2, SPARSE * len(column)):
        return Choice(name, None, f"only {len(given):,} of {len(column):,} rows have a value")
    if given.n_unique() < 2:
        return Choice(name, None, f"every row says {given.to_list()[0]!r}")
    ids = name.lower().endswith(("_id", "_key", "_code")) and dtype.is_integer()
    return _textual(given, shape) if text or ids or dtype == pl.Boolean else _number(given, shape)


def _number(given: pl.Series, shape: Shape) -> Choice:
    name, distinct = given.name, given.n_unique()
    if distinct <= FEW and given.dtype.is_integer():
        return Choice(name, _category(name, shape), f"{distinct} distinct numbers")
    buckets = max(2, min(MOST_BUCKETS, round(sqrt(distinct))))
    feature = Bucket(name, num_buckets=buckets, dim=shape.dim, method="quantile", l2=shape.l2)
    return Choice(name, feature, f"{distinct:,} distinct numbers in {buckets} buckets of as many rows each")


def _textual(given: pl.Series, shape: Shape) -> Choice:
    name, n = given.name, len(given)
    counts = given.value_counts()["count"]
    distinct = len(counts)
    if distinct <= FEW or n / distinct >= REPEATED:
        few = f"{distinct:,} distinct values, {n / distinct:.1f} rows each"
        return Choice(name, _category(name, shape), few)
    if given.dtype in (pl.String, pl.Categorical, pl.Enum):
        if set(nearly_units_of(given.cast(pl.String))) - {*PER_SECOND, DAY}:
            return Choice(name, None, _TIMES)
        words = given.cast(pl.String).str.to_lowercase().str.count_matches("[a-z0-9]+")
        average = float(words.mean() or 0.0)  # type: ignore[arg-type]
        if average >= WORDS:
            length = max(1, min(LONGEST, int(words.quantile(0.95, "higher") or 1)))
            feature = Text(name, vocabulary=MOST_WORDS, dim=shape.dim, length=length, l2=shape.l2)
            return Choice(name, feature, f"{average:.1f} words a text, mostly different texts")
    covered = int(counts.filter(counts >= ENOUGH).sum()) / n
    if covered < COVERED:
        told = f"{distinct:,} distinct values in {n:,} rows tell rows apart, they do not group them"
        return Choice(name, None, told)
    least = ceil(ENOUGH * shape.rows_each)
    told = f"{distinct:,} distinct values; those of fewer than {ENOUGH} entities count as unknown"
    return Choice(name, _category(name, shape, least), told)


def _category(name: str, shape: Shape, min_count: int = 1) -> Category:
    return Category(name, dim=shape.dim, min_count=min_count, l2=shape.l2)


def _listed(column: pl.Series, shape: Shape) -> Choice:
    name, dtype = column.name, column.dtype
    inner = dtype.inner if isinstance(dtype, pl.List | pl.Array) else None
    given = column.drop_nulls()
    if isinstance(inner, pl.DataType) and inner.is_float():
        sizes = given.arr.to_list().list.len() if isinstance(dtype, pl.Array) else given.list.len()
        if sizes.filter(sizes > 0).n_unique() != 1:
            return Choice(name, None, "lists of numbers of unequal length are no vectors")
        return Choice(name, Vector(name, dim=shape.dim), f"vectors of {max(sizes.to_list())} numbers")
    if not isinstance(inner, pl.DataType) or not (inner.is_integer() or inner in (pl.String, pl.Categorical)):
        return Choice(name, None, f"no feature reads the type {dtype}")
    lists = given.arr.to_list() if isinstance(dtype, pl.Array) else given
    values = lists.explode().drop_nulls()
    counts = values.value_counts()["count"]
    kept = counts.filter(counts >= ENOUGH)
    if len(counts) < 2 or not len(kept):
        return Choice(name, None, f"lists of {len(counts):,} distinct values, {len(kept):,} of them repeated")
    least = ceil(ENOUGH * shape.rows_each) if len(kept) < len(counts) else 1
    feature = Tags(name, dim=shape.dim, min_count=least, l2=shape.l2)
    return Choice(name, feature, f"lists of {len(counts):,} distinct values")
