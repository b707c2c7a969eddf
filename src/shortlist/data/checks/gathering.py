"""From sources to what checks look at: tables read leniently, columns under their roles, parts of a split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import polars as pl

from shortlist.data.checks.raw import Raw, read_raw
from shortlist.data.checks.subject import Subject, table_of
from shortlist.data.dataset import Dataset
from shortlist.data.reading import Source, describe_source
from shortlist.data.roles import CANONICAL, guess_key, guess_roles
from shortlist.data.splits import Split
from shortlist.data.times import DAY
from shortlist.errors import DataError

PARTS = ("train", "validation", "test")
_COLUMNS = {role: name for role, name in CANONICAL.items() if role != "event"}
_SIDES = ("user", "item")


@dataclass(frozen=True)
class Gathered:
    """What checks look at, and what `from_tables` is to be asked to load: tables as they were read, the
    its options. Without tables there is nothing to load. refused: why the strict reader does not even read
    one of them."""

    subject: Subject
    tables: tuple[pl.DataFrame, pl.DataFrame | None, pl.DataFrame | None] | None
    options: Mapping[str, Any]
    refused: str = ""


def gather(
    source: Source | Dataset | Split,
    users: Source | None,
    items: Source | None,
    named: Mapping[str, str | None],
    *,
    guess: bool,
    time_unit: str = "",
) -> Gathered:
    """The subject of a validation. named: columns by role, as `from_tables` takes them; time_unit: of the
    times, where it was stated.

    Raises DataError where a table cannot be read at all or has no column of ids.
    """
    if isinstance(source, Dataset | Split):
        users, items = source.users, source.items
    read, part, number = _rows(source, named)
    guess = guess and part is None and not isinstance(source, Dataset)
    read, roles, unit = _under_roles(source, read, named, time_unit, guess=guess)
    rows = table_of(read.frame, {_COLUMNS[role]: name for role, name in roles.items()}, place_of(source))
    sides = {
        "user": _entities(rows, users, "user", roles["user"], guess),
        "item": _entities(rows, items, "item", roles["item"], guess),
    }
    subject = Subject(
        rows,
        users=_renamed(sides["user"], "user_id"),
        items=_renamed(sides["item"], "item_id"),
        names={_COLUMNS[role]: name for role, name in roles.items()},
        part=part,
        number=number,
        torn={"interactions": read.torn} | {f"{s}s": found[0].torn for s, found in sides.items() if found},
        time_unit=unit,
    )
    if isinstance(source, Dataset | Split):
        return Gathered(subject, None, {})
    frames = [found[0].frame if found else None for found in sides.values()]
    keys = {f"{side}_key": found[1] for side, found in sides.items() if found}
    refused = next((raw.refused for raw in (read, *(f[0] for f in sides.values() if f)) if raw.refused), "")
    options = {**dict.fromkeys(_COLUMNS, ""), **roles, **keys, "guess": guess}
    return Gathered(subject, (read.frame, frames[0], frames[1]), options, refused)


def _under_roles(
    source: Any, read: Raw, named: Mapping[str, str | None], time_unit: str, *, guess: bool
) -> tuple[Raw, dict[str, str], str]:
    """The interactions, their columns by role and the form of their times."""
    roles, unit = _roles(read.frame, named, place_of(source), time_unit, guess=guess)
    ids = {roles[side] for side in _SIDES}
    if guess and any(read.frame[name].dtype.is_float() for name in ids & set(read.frame.columns)):
        # Whole numbers with gaps, or numbers too large: as texts they stay what was written.
        read = read_raw(source, ids)
    return read, roles, unit


def _rows(source: Any, named: Mapping[str, str | None]) -> tuple[Raw, pl.Series | None, pl.Series | None]:
    """The interactions and, of a split that has been made, the part and the number of every row."""
    divided = _parts_of(source)
    if not divided:
        table = source.interactions if isinstance(source, Dataset) else source
        return read_raw(table, {named.get(side) or CANONICAL[side] for side in _SIDES}), None, None
    marked = [f.with_row_index("_row").with_columns(_part=pl.lit(name)) for name, f in divided.items()]
    try:
        frame = pl.concat(marked, how="diagonal_relaxed")
    except pl.exceptions.PolarsError as error:
        raise DataError(f"the parts of {place_of(source)} do not fit together: {error}") from error
    return Raw(frame.drop("_row", "_part")), frame["_part"], frame["_row"]


def _parts_of(source: Any) -> dict[str, pl.DataFrame]:
    """The parts of a split that has been made; empty for anything else."""
    if isinstance(source, Split):
        return {part: getattr(source, part) for part in PARTS}
    if not isinstance(source, str | PathLike) or not (Path(source) / "train.parquet").is_file():
        return {}
    files = {part: Path(source) / f"{part}.parquet" for part in PARTS}
    try:
        return {part: pl.read_parquet(file) for part, file in files.items() if file.is_file()}
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"cannot read the split {source}: {error}", hint="are its files whole?") from error


def _roles(
    frame: pl.DataFrame, named: Mapping[str, str | None], place: str, time_unit: str, *, guess: bool
) -> tuple[dict[str, str], str]:
    """Column by role, and the form of the times where it is no number of seconds or finer units. A table too
    poor for a guess is taken by the usual names."""
    usual = {
        role: name or column
        for role, column in _COLUMNS.items()
        if (name := named.get(role)) or (name is None and (column in frame.columns or role in _SIDES))
    }
    if not guess:
        return usual, ""
    try:
        found = guess_roles(frame, named, place, time_unit)
    except DataError:
        if any(usual[side] not in frame.columns for side in _SIDES):
            raise
        return usual, ""
    roles = {role: column for role in _COLUMNS if (column := found.column(role))}
    return roles, found.time_unit if found.time_unit == DAY or "%" in found.time_unit else ""


def _entities(
    rows: pl.DataFrame, table: Source | None, side: str, name: str, guess: bool
) -> tuple[Raw, str] | None:
    """The table of users or items, and the column of their ids."""
    if table is None:
        return None
    raw = read_raw(table, {name, CANONICAL[side]})
    key = name if name in raw.frame.columns or CANONICAL[side] not in raw.frame.columns else CANONICAL[side]
    if guess:
        try:
            key = guess_key(raw.frame, side, rows[f"{side}_id"].cast(pl.String), name=name).column
        except DataError:
            if key not in raw.frame.columns:
                raise
    return raw, key


def _renamed(found: tuple[Raw, str] | None, role: str) -> pl.DataFrame | None:
    return None if found is None else table_of(found[0].frame, {role: found[1]}, f"the table of {role[:4]}s")


def place_of(source: Any) -> str:
    """A short name of a source for messages."""
    if isinstance(source, Dataset):
        return source.name
    return f"the split {source.rule}" if isinstance(source, Split) else describe_source(source)
