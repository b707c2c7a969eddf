"""Which items of a catalogue a predicate lets through, worked out for all of them at once."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import reduce
from math import floor
from typing import Any, cast

import numpy as np

from shortlist._typing import MISSING_INT, Array, Bools
from shortlist.errors import FilterError, did_you_mean
from shortlist.features.columns import ColumnType
from shortlist.features.fitted import type_of
from shortlist.pipeline.where.grammar import (
    Column,
    Comparison,
    Constant,
    Every,
    Holds,
    Missing,
    Node,
    OneOf,
    Sign,
    Some,
    Value,
    parse,
)
from shortlist.state.catalogue import Items

_COMPARED: dict[Sign, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_HOLDS: dict[str, str] = {
    "string": "texts",
    "strings": "lists of texts",
    "int": "whole numbers",
    "float": "numbers",
    "vector": "vectors",
}
ITEM_ID = "item_id"


def mask(text: str, items: Items) -> Bools:
    """True [N] at the items a predicate is true of; grammar.py has its form.

    Columns are the catalogue's, and item_id. A missing value is neither equal to, nor other than, nor less
    than anything: only `is missing` is true of it.

    Raises FilterError, which is a RequestError, for a text that is no predicate, for a column there is not,
    and for a value that is nothing a column could hold.
    """
    return _Reading(text, items).of(parse(text))


@dataclass(frozen=True)
class _Reading:
    text: str
    items: Items

    def of(self, node: Node) -> Bools:
        match node:
            case Every(parts):
                return reduce(np.logical_and, map(self.of, parts))
            case Some(parts):
                return reduce(np.logical_or, map(self.of, parts))
            case Comparison(column, sign, value):
                return self.compared(column, sign, value)
            case OneOf(column, values, turned):
                return self.turned(column, self.among(column, values), turned)
            case Holds(column, value, turned):
                return self.turned(column, self.holding(column, value), turned)
            case Missing(column, turned):
                there = self.there(column)
                return there if turned else ~there

    def kind(self, column: Column) -> ColumnType:
        if column.name == ITEM_ID:
            return "string"
        if column.name not in self.items.columns:
            known = (ITEM_ID, *self.items.columns)
            raise self.wrong(
                column, f"items have no column {column.name!r}", did_you_mean(column.name, known)
            )
        return type_of(self.items.columns[column.name])

    def wrong(self, at: Column | Constant, message: str, hint: str = "") -> FilterError:
        return FilterError(message, text=self.text, position=at.start, hint=hint)

    def there(self, column: Column) -> Bools:
        """Items whose value is not missing."""
        kind = self.kind(column)
        if column.name == ITEM_ID:
            return np.ones(len(self.items), np.bool_)
        if kind in ("string", "strings"):
            return self.items.texts(column.name).there
        return _there(self.items.columns[column.name])

    def turned(self, column: Column, found: Bools, turned: bool) -> Bools:
        return self.there(column) & ~found if turned else found

    def compared(self, column: Column, sign: Sign, constant: Constant) -> Bools:
        kind = self.kind(column)
        if kind in ("strings", "vector"):
            hint = f"'A' in {column.name}" if kind == "strings" else f"{column.name} is missing"
            what = f"the column {column.name!r} holds {_HOLDS[kind]}, which {sign} cannot compare"
            raise self.wrong(column, what, f"for instance {hint}")
        value = self.value(column, kind, constant)
        if isinstance(value, str):
            return self.compared_texts(column, sign, value)
        return compared(self.items.columns[column.name], sign, value)

    def compared_texts(self, column: Column, sign: Sign, text: str) -> Bools:
        if sign == "==":
            return self.equal_texts(column, [text])
        if sign == "!=":
            return self.turned(column, self.equal_texts(column, [text]), True)
        compare = _COMPARED[sign]
        if column.name == ITEM_ID:
            return np.asarray(compare(self.items.ids, text), np.bool_)
        texts = self.items.texts(column.name)
        return texts.among(one for one in texts.distinct() if compare(one, text))

    def equal_texts(self, column: Column, wanted: Iterable[str]) -> Bools:
        if column.name != ITEM_ID:
            return self.items.texts(column.name).among(wanted)
        found = np.zeros(len(self.items), np.bool_)
        positions = self.items.positions(list(wanted))
        found[positions[positions >= 0]] = True
        return found

    def among(self, column: Column, constants: Iterable[Constant]) -> Bools:
        kind = self.kind(column)
        if kind in ("strings", "vector"):
            hint = f"'A' in {column.name} or 'B' in {column.name}" if kind == "strings" else ""
            raise self.wrong(column, f"the column {column.name!r} holds {_HOLDS[kind]}, not one value", hint)
        values = [self.value(column, kind, constant) for constant in constants]
        if kind == "string":
            return self.equal_texts(column, cast(list[str], values))
        numbers = self.items.columns[column.name]
        return _equal_numbers(numbers, cast(list[int | float], values))

    def holding(self, column: Column, constant: Constant) -> Bools:
        kind = self.kind(column)
        if kind != "strings":
            one = f"{column.name} in ({constant.value!r}, ...)"
            what = f"the column {column.name!r} holds {_HOLDS[kind]}, not lists"
            raise self.wrong(column, what, f"compare with ==, or choose from several: {one}")
        return self.items.texts(column.name).holding(str(self.value(column, "string", constant)))

    def value(self, column: Column, kind: ColumnType, constant: Constant) -> Value:
        """The value as the column holds such. FilterError where it cannot."""
        value = constant.value
        if isinstance(value, str) == (kind == "string"):
            return value
        if kind == "int" and isinstance(value, str) and (seconds := _seconds(value)) is not None:
            return seconds
        what = f"the column {column.name!r} holds {_HOLDS[self.kind(column)]}"
        if kind == "string":
            quoted = f"'{int(value)}'" if isinstance(value, int) else f"'{value}'"
            raise self.wrong(constant, f"{what}, which a number is never", f"put it in quotes: {quoted}")
        hint = "take the quotes away" if re.fullmatch(r"[+-]?[\d.]+", str(value)) else ""
        raise self.wrong(constant, f"{what}, which the text {value!r} is never", hint)


def _seconds(text: str) -> int | float | None:
    """Seconds since 1970 of a date or time in ISO 8601, UTC where it names no zone. What falls between two
    whole seconds is in their middle, which compares to whole numbers as it does."""
    if not _DAY.match(text):
        return None
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    since = (when if when.tzinfo else when.replace(tzinfo=UTC)) - _EPOCH
    whole, rest = divmod(since, timedelta(seconds=1))
    return whole + 0.5 if rest else whole


# Numbers, exactly


def compared(column: Array, sign: Sign, value: int | float) -> Bools:
    """`column sign value` for int64 or float64 [n], as Python compares numbers: exactly, whatever their types
    and sizes. False where the column's value is missing."""
    exact = (_whole_bound if column.dtype.kind == "i" else _float_bound)(sign, value)
    if isinstance(exact, bool):
        return _there(column) if exact else np.zeros(len(column), np.bool_)
    sign, bound = exact
    found: Bools = _COMPARED[sign](column, bound)
    if sign in ("!=", "<", "<="):
        found &= _there(column)
    return found


def _whole_bound(sign: Sign, value: int | float) -> bool | tuple[Sign, int]:
    """The same question to whole numbers with a whole number of 64 bits; or its answer, where all have it."""
    if value != floor(value):
        if sign in ("==", "!="):
            return sign == "!="
        sign = "<=" if sign in ("<", "<=") else ">"
    value = floor(value)
    if -MISSING_INT > value > MISSING_INT:
        return sign, value
    if sign in ("==", "!="):
        return sign == "!="
    return (value > 0) == (sign in ("<", "<="))


def _float_bound(sign: Sign, value: int | float) -> bool | tuple[Sign, float]:
    """The same question to floats with a float; or its answer, where all have it."""
    try:
        near = float(value)
    except OverflowError:
        return sign == "!=" or (sign not in ("==",) and (value > 0) == (sign in ("<", "<=")))
    if near == value:
        return sign, near
    if sign in ("==", "!="):
        return sign == "!="
    if sign in ("<", "<="):
        return ("<=" if near < value else "<"), near
    return (">" if near < value else ">="), near


def _equal_numbers(column: Array, values: Iterable[int | float]) -> Bools:
    """Values that are one of these; bool [n]."""
    wanted = {value for value in values if isinstance(_bound(column, value), tuple)}
    if len(wanted) <= 8:
        nothing = np.zeros(len(column), np.bool_)
        return reduce(np.logical_or, (compared(column, "==", value) for value in wanted), nothing)
    return np.isin(column, np.array(sorted(wanted), column.dtype))


def _bound(column: Array, value: int | float) -> bool | tuple[Sign, int] | tuple[Sign, float]:
    return (_whole_bound if column.dtype.kind == "i" else _float_bound)("==", value)


def _there(column: Array) -> Bools:
    if column.ndim == 2:
        return ~np.asarray(np.isnan(column).any(axis=1))
    return np.asarray(column != MISSING_INT if column.dtype.kind == "i" else ~np.isnan(column))
