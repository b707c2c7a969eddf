"""Rows with columns beside their fields: those a bundle stores, a request asks for or a head predicts."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeVar, cast

import msgspec
from msgspec import NODEFAULT, Struct

Stored = str | int | float | bool | list[str | int | float | bool] | None
"""A value of a stored column."""


class Open(Struct):
    """A row beside whose fields there may be columns, which only a bundle or a request names."""


Row = TypeVar("Row", bound=Open)


@lru_cache(1024)
def beside(row: type[Row], names: tuple[str, ...]) -> type[Row]:
    """A type of rows that have these columns, in this order: `row`'s fields where they are so called, others
    beside them. Fields of `row` that are not named are left out of the answer.

    Such rows are made, by position, and written much faster than dicts.
    """
    own = {field.name: field for field in msgspec.structs.fields(row)}
    fields: list[Any] = []
    rename = {}
    for n, name in enumerate(names):
        if name in own:
            fields.append((name, own[name].type))
        else:  # any text may be the name of a column
            fields.append((f"column_{n}", Any))
            rename[f"column_{n}"] = name
    for name, field in own.items():
        if name not in names:
            required = field.default is NODEFAULT
            fields.append((name, field.type) if required else (name, field.type, field.default))
    made = msgspec.defstruct(row.__name__, fields, rename=rename, gc=False)
    return cast(type[Row], made)


def row_of(row: type[Row], columns: dict[str, Any]) -> Row:
    """One such row."""
    made: Row = beside(row, tuple(columns))(*columns.values())
    return made
