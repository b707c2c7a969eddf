"""New tables beside old ones: brought to their types, merged into them by id, their times in one unit."""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl

from shortlist.data.columns import column_types
from shortlist.errors import DataError

OLDEST = 631_152_000
"""1990: a log that begins later is not gone on with by rows from before it."""


@dataclass(frozen=True)
class Merged:
    """The old table with the new one's rows. changed: how many known ids had other columns before; columns:
    those in which they did."""

    table: pl.DataFrame = field(repr=False)
    changed: int = 0
    columns: tuple[str, ...] = ()


def merged(old: pl.DataFrame, new: pl.DataFrame | None, key: str, what: str) -> Merged:
    """The old table with the new one's rows: in place of the old where an id is known, else at the end.

    Columns that the new table lacks keep their values; a row that says nothing of a known id changes nothing.
    what: "items" or "users", for messages. Raises DataError for a column of another type.
    """
    if new is None:
        return Merged(old)
    told = in_types(new, old, f"the new {what}")
    given = [name for name in told.columns if name != key]
    silent = pl.all_horizontal(_empty(told, name) for name in given) if given else pl.lit(True)
    told = told.filter(~(silent & pl.col(key).is_in(old[key].implode())))
    kept = [name for name in old.columns if name not in told.columns]
    told = told.join(old.select(key, *kept), on=key, how="left", maintain_order="left")
    both = pl.concat([old, told.select(key, pl.exclude(key))], how="diagonal")
    order = both.select(pl.col(key).unique(maintain_order=True))
    table = order.join(both.unique(key, keep="last"), on=key, how="left", maintain_order="left")
    pairs = old.join(table, on=key, suffix="\0")
    differ = pairs.select(
        pl.col(name).ne_missing(pl.col(f"{name}\0")) for name in old.columns if name in given
    )
    columns = tuple(name for name in differ.columns if differ[name].any())
    rows = differ.select(pl.any_horizontal(pl.all()).sum()).item() if columns else 0
    return Merged(table, int(rows), columns)


def in_types(new: pl.DataFrame, old: pl.DataFrame, what: str) -> pl.DataFrame:
    """The new table, its columns in the types the old one has: nothing but missing values goes as any type,
    whole floats as integers, integers as floats. Raises DataError for a column that holds something else."""
    shared = [name for name in new.columns if name in old.columns]
    kinds, now = column_types(old.select(shared)), column_types(new.select(shared))
    made = {name: _cast(new[name], old.schema[name], (now[name], kinds[name]), what) for name in shared}
    return new.with_columns(**made)


def _cast(column: pl.Series, dtype: pl.DataType, kinds: tuple[str, str], what: str) -> pl.Series:
    if column.dtype.is_float():
        column = column.fill_nan(None)
    if column.null_count() == len(column):
        return pl.Series(column.name, [None] * len(column), dtype)
    wrong = DataError(
        f"column {column.name!r} of {what} holds {kinds[0]}, training had {kinds[1]}",
        hint="give it the type it had",
    )
    whole = kinds == ("float", "int") and bool((column == column.floor()).all())
    if kinds[0] != kinds[1] and not whole and kinds != ("int", "float"):
        raise wrong
    try:
        return column.cast(dtype)
    except pl.exceptions.PolarsError as error:
        raise wrong from error


def _empty(table: pl.DataFrame, name: str) -> pl.Expr:
    """Whether a row says nothing in a column: null, or an empty list."""
    column = pl.col(name)
    return column.is_null() | (column.list.len() == 0) if table.schema[name] == pl.List else column.is_null()


def require_same_clock(new: pl.DataFrame, old: pl.DataFrame, what: str) -> None:
    """DataError where the times of the new rows are before 1990, mostly, and those of the old after it: they
    were read in another unit than they are in."""
    if any("timestamp" not in frame.columns or not frame.height for frame in (new, old)):
        return
    middle, first = int(new["timestamp"].median()), int(old["timestamp"].min())  # type: ignore[arg-type]
    if middle < OLDEST <= first:
        days = pl.from_epoch(pl.Series([middle, first], dtype=pl.Int64), time_unit="s").dt.date().to_list()
        raise DataError(
            f"column 'timestamp' of {what}: the middle of its times is {days[0]}, those of training begin"
            f" {days[1]}: it is in another unit",
            hint="bring them to the unit of training, or with train --from: --set data.time_unit=s",
        )
