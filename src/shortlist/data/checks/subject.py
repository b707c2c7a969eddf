"""What checks look at: raw tables under their roles, and what several checks read of them, made once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import polars as pl

from shortlist.data.checks.finding import Example, Limits
from shortlist.data.columns import seconds
from shortlist.data.times import DAY, FARTHEST_SECOND, PER_SECOND, parsed, scaled
from shortlist.errors import DataError, did_you_mean

ROLES = ("user_id", "item_id", "rating", "timestamp", "weight")
_SHOWN = 60


@dataclass(frozen=True)
class Subject:
    """Tables to be checked.

    rows: user_id and item_id, the other roles there are, then context columns; values as they were read,
    those of exotic types as texts. users, items: such tables with their id column so named. names: role ->
    the column's own name. part: of a split, "train", "validation" or "test" a row (null: in none).
    number: each row's own number where it was read. torn: lines that could not be read, by table. rule: the
    split asked for, rule_problem: why there is none.
    """

    rows: pl.DataFrame
    users: pl.DataFrame | None = None
    items: pl.DataFrame | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    part: pl.Series | None = None
    number: pl.Series | None = None
    torn: Mapping[str, tuple[Example, ...]] = field(default_factory=dict)
    now: float = 0.0
    time_unit: str = ""
    unit_stated: bool = False
    scale: tuple[float, float] | None = None
    rule: str = ""
    rule_problem: str = ""
    limits: Limits = field(default_factory=Limits)

    @cached_property
    def user(self) -> pl.Series:
        """Ids of users as texts, null where there is none."""
        return id_texts(self.rows["user_id"])

    @cached_property
    def item(self) -> pl.Series:
        """Ids of items as texts, null where there is none."""
        return id_texts(self.rows["item_id"])

    @cached_property
    def pairs(self) -> pl.DataFrame:
        """user, item (categories), part (where there is a split), time (where there are times), row: of rows
        with both ids."""
        frame = pl.DataFrame({"user": self.user, "item": self.item}).cast(pl.Categorical)
        if self.part is not None:
            frame = frame.with_columns(self.part.alias("part"))
        if self.has("timestamp"):
            frame = frame.with_columns(self.time.alias("time"))
        return frame.with_row_index("row").drop_nulls(["user", "item"])

    @cached_property
    def user_counts(self) -> pl.DataFrame:
        """id, rows: of every user, in the order of their first row."""
        return _counts(self.pairs["user"])

    @cached_property
    def item_counts(self) -> pl.DataFrame:
        """id, rows: of every item, in the order of its first row."""
        return _counts(self.pairs["item"])

    @cached_property
    def raw_time(self) -> pl.Series:
        """Times as whole numbers in whatever unit they have, null where they cannot be read."""
        column = self.rows["timestamp"]
        if column.dtype == pl.String:
            column = parsed(column, self.time_unit)
        if column.dtype.is_float():
            column = pl.select(
                pl.when(column.is_finite()).then(column.floor()).alias("timestamp")
            ).to_series()
        if column.dtype in (pl.Date, pl.Datetime):
            return seconds(column)
        if not column.dtype.is_numeric():
            return pl.Series("timestamp", [None] * len(column), dtype=pl.Int64)
        return column.cast(pl.Int64, strict=False)

    @cached_property
    def unit(self) -> pl.Series:
        """Each time's unit: the one given, else what its size says."""
        if self.time_unit in (*PER_SECOND, DAY):
            return pl.select(
                pl.when(self.raw_time.is_not_null()).then(pl.lit(self.time_unit)).alias("unit")
            ).to_series()
        size, found = pl.col("timestamp").abs(), pl.lit("s")
        for unit in ("ms", "us", "ns"):
            start = FARTHEST_SECOND * (PER_SECOND[unit] // 1000)
            found = pl.when(size > start).then(pl.lit(unit)).otherwise(found)
        found = pl.when(pl.col("timestamp").is_not_null()).then(found)
        return self.raw_time.to_frame("timestamp").select(found.alias("unit")).to_series()

    @cached_property
    def time(self) -> pl.Series:
        """Times as seconds since 1970, every row in the unit it seems to have."""
        if self.time_unit == DAY:
            return scaled(self.raw_time, DAY)
        per_second = self.unit.replace_strict(PER_SECOND, return_dtype=pl.Int64)
        return (self.raw_time // per_second).alias("timestamp")

    @cached_property
    def rating(self) -> pl.Series:
        return numbers(self.rows["rating"])

    @cached_property
    def weight(self) -> pl.Series:
        return numbers(self.rows["weight"])

    def has(self, what: str) -> bool:
        """Whether there is a role, a table or a split."""
        if what in ("users", "items"):
            return getattr(self, what) is not None
        if what in ("split", "rule"):
            return self.part is not None if what == "split" else bool(self.rule)
        return what in self.rows.columns

    def shown(self, column: str) -> str:
        """A column of the interactions under its own name."""
        return f"interactions.{self.names.get(column, column)}"

    def examples(self, bad: pl.Series, *columns: str) -> tuple[Example, ...]:
        """The first rows where `bad` is true, with their values in `columns`."""
        return tuple(self.example(row, *columns) for row in first(bad, self.limits.examples))

    def example(self, row: int, *columns: str) -> Example:
        number = row if self.number is None else int(self.number[row])
        part = "" if self.part is None or self.number is None else str(self.part[row])
        return Example(values(self.rows, row, columns, self.names), number, part)

    def side_columns(self) -> Iterator[tuple[str, pl.Series]]:
        """(where, column) of everything that is no id, rating, time or weight, of all tables."""
        for name in self.rows.columns:
            if name not in ROLES:
                yield self.shown(name), self.rows[name]
        for table in ("users", "items"):
            frame = getattr(self, table)
            if frame is not None:
                yield from ((f"{table}.{name}", frame[name]) for name in frame.columns[1:])


def _counts(ids: pl.Series) -> pl.DataFrame:
    counts = ids.alias("id").to_frame().group_by("id", maintain_order=True).agg(pl.len().alias("rows"))
    return counts.with_columns(pl.col("id").cast(pl.String))


def first(bad: pl.Series, count: int) -> list[int]:
    """The first rows where `bad` is true."""
    return [int(row) for row in bad.fill_null(False).arg_true().head(count)]


def values(frame: pl.DataFrame, row: int, columns: tuple[str, ...], names: Mapping[str, str]) -> str:
    """`user='a', item='b'` of one row."""
    return ", ".join(f"{names.get(name, name)}={quoted(frame[name][row])}" for name in columns)


def quoted(value: Any) -> str:
    """A value as it would be typed, cut when it is long."""
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 4] + text[0] * (text[0] in "'\"") + "..."


def table_of(frame: pl.DataFrame, roles: Mapping[str, str], place: str) -> pl.DataFrame:
    """Columns named by their roles, roles first, in types every check can read. DataError for an absent
    column, and for one that a renamed one would hide."""
    for role, name in roles.items():
        if name not in frame.columns:
            raise DataError(
                f"{place} has no column {name!r} (role {role})", hint=did_you_mean(name, frame.columns)
            )
        if name != role and role in frame.columns and role not in roles.values():
            raise DataError(
                f"{place}: {name!r} is to be {role}, but a column {role!r} exists too",
                hint="drop or rename one of them",
            )
    if len(set(roles.values())) < len(roles):
        raise DataError(f"{place}: one column cannot play two roles: {dict(roles)}")
    frame = frame.rename({name: role for role, name in roles.items()})
    return frame.select(
        _plain(frame[name]) for name in [*roles, *(c for c in frame.columns if c not in roles)]
    )


def _plain(column: pl.Series) -> pl.Series:
    """Numbers, booleans, times and texts; everything else as texts."""
    dtype = column.dtype
    if dtype.is_decimal():
        return column.cast(pl.Float64)
    if dtype in (pl.Categorical, pl.Enum, pl.Null):
        return column.cast(pl.String)
    if dtype in (pl.Duration, pl.Time):
        return column.cast(pl.Int64)
    if dtype.is_numeric() or dtype in (pl.Boolean, pl.String, pl.Date, pl.Datetime):
        return column
    if isinstance(dtype, pl.List) and (dtype.inner == pl.String or dtype.inner.is_numeric()):
        return column.cast(pl.List(pl.String)).list.join("|", ignore_nulls=True)
    texts = [None if value is None else str(value) for value in column.to_list()]
    return pl.Series(column.name, texts, dtype=pl.String)


def id_texts(column: pl.Series) -> pl.Series:
    """Ids as texts, null where one is missing or blank; whole floats without their point."""
    if column.dtype.is_float():
        whole = column.is_finite() & (column == column.floor())
        shown = pl.when(whole).then(column.cast(pl.Int64, strict=False).cast(pl.String))
        finite = pl.when(column.is_finite()).then(column.cast(pl.String))
        return pl.select(pl.coalesce(shown, finite).alias(column.name))[column.name]
    texts = column.cast(pl.String)
    return texts.to_frame().select(pl.when(texts.str.strip_chars() != "").then(texts).alias(column.name))[
        column.name
    ]


def numbers(column: pl.Series) -> pl.Series:
    """Finite numbers, null elsewhere."""
    if column.dtype == pl.String:
        column = column.str.strip_chars()
    elif not (column.dtype.is_numeric() or column.dtype == pl.Boolean):
        return pl.Series(column.name, [None] * len(column), dtype=pl.Float64)
    found = column.cast(pl.Float64, strict=False)
    return found.to_frame().select(pl.when(found.is_finite()).then(found).alias(column.name))[column.name]
