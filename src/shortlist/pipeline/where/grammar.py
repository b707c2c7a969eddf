"""From the text of a predicate to its tree.

    predicate   = conjunction ("or" conjunction)*
    conjunction = condition ("and" condition)*
    condition   = "not" condition | "(" predicate ")" | comparison
    comparison  = operand (sign operand)+                 each neighbouring pair, joined by and
                | column ["not"] "in" list                one of these values
                | value ["not"] "in" column               among the row's values
                | column "is" ["not"] "missing"
    operand     = column | value
    list        = "(" [value ("," value)* [","]] ")" | "[" ... "]"
    sign        = "==" | "!=" | "<" | "<=" | ">" | ">="
    column      = a word, or anything between backticks
    value       = number | 'text' | "text" | true | false

`not` is carried to the comparisons while reading. That keeps what a predicate means, as every comparison of
a missing value is neither true nor false: neither it nor its opposite lets a row through.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from shortlist.errors import FilterError
from shortlist.pipeline.where.tokens import Token, tokens

DEEPEST = 64
"""Parentheses and `not` inside each other, at most."""

Value: TypeAlias = int | float | str
Sign = Literal["==", "!=", "<", "<=", ">", ">="]
_OPPOSITE: dict[Sign, Sign] = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
_MIRRORED: dict[Sign, Sign] = {"==": "==", "!=": "!=", "<": ">", ">": "<", "<=": ">=", ">=": "<="}
_BOOLEANS = {"true": 1, "false": 0}
_NOTHING = frozenset({"none", "null", "nan", "nil"})
_LIKE = frozenset({"like", "ilike", "contains", "startswith", "endswith", "regexp", "rlike", "matches"})
_WHOLE = "texts are compared as a whole: none looks for a part of one; find the ids and give them as only"


@dataclass(frozen=True)
class Column:
    """A column by name, and where it stands in the text."""

    name: str
    start: int


@dataclass(frozen=True)
class Constant:
    """A value, and where it stands."""

    value: Value
    start: int


@dataclass(frozen=True)
class Comparison:
    """column sign value."""

    column: Column
    sign: Sign
    value: Constant

    def opposite(self) -> Comparison:
        return Comparison(self.column, _OPPOSITE[self.sign], self.value)


@dataclass(frozen=True)
class OneOf:
    """The column's value is one of these, or none of them."""

    column: Column
    values: tuple[Constant, ...]
    turned: bool = False

    def opposite(self) -> OneOf:
        return OneOf(self.column, self.values, not self.turned)


@dataclass(frozen=True)
class Holds:
    """The column's list holds the value, or does not."""

    column: Column
    value: Constant
    turned: bool = False

    def opposite(self) -> Holds:
        return Holds(self.column, self.value, not self.turned)


@dataclass(frozen=True)
class Missing:
    """The column's value is missing, or is there."""

    column: Column
    turned: bool = False

    def opposite(self) -> Missing:
        return Missing(self.column, not self.turned)


@dataclass(frozen=True)
class Every:
    """Every part is true."""

    parts: tuple[Node, ...]

    def opposite(self) -> Some:
        return Some(tuple(part.opposite() for part in self.parts))


@dataclass(frozen=True)
class Some:
    """A part is true."""

    parts: tuple[Node, ...]

    def opposite(self) -> Every:
        return Every(tuple(part.opposite() for part in self.parts))


Node: TypeAlias = Comparison | OneOf | Holds | Missing | Every | Some


def parse(text: str) -> Node:
    """The tree of a predicate. FilterError names where it cannot be understood and what was expected."""
    reader = _Reader(text)
    tree = reader.predicate(0)
    if reader.now.kind != "end":
        raise reader.expected("`and`, `or` or the end")
    return tree


class _Reader:
    """Tokens read from left to right; every method reads what it is named after."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tokens(text)
        self.at = 0

    @property
    def now(self) -> Token:
        return self.tokens[self.at]

    def is_next(self, value: str) -> bool:
        return self.now.kind in ("sign", "keyword") and self.now.value == value

    def accept(self, value: str) -> bool:
        """Step over a sign or keyword, if it is next."""
        found = self.is_next(value)
        self.at += found
        return found

    def expected(self, what: str, hint: str = "") -> FilterError:
        found = "the end" if self.now.kind == "end" else repr(self.now.written[:40])
        return FilterError(
            f"expected {what}, got {found}", text=self.text, position=self.now.start, hint=hint
        )

    def predicate(self, depth: int) -> Node:
        parts = [self.conjunction(depth)]
        while self.accept("or"):
            parts.append(self.conjunction(depth))
        return parts[0] if len(parts) == 1 else Some(tuple(parts))

    def conjunction(self, depth: int) -> Node:
        parts = [self.condition(depth)]
        while self.accept("and"):
            parts.append(self.condition(depth))
        return parts[0] if len(parts) == 1 else Every(tuple(parts))

    def condition(self, depth: int) -> Node:
        if depth > DEEPEST:
            raise FilterError(
                f"more than {DEEPEST} parentheses and `not` inside each other",
                text=self.text,
                position=self.now.start,
                hint="write it flatter",
            )
        if self.accept("not"):
            return self.condition(depth + 1).opposite()
        if self.accept("("):
            inner = self.predicate(depth + 1)
            if not self.accept(")"):
                raise self.expected("`)`, `and` or `or`")
            return inner
        return self.comparison()

    def comparison(self) -> Node:
        first = self.operand()
        if self.accept("is"):
            return self.missing(first)
        turned = self.accept("not")
        if self.accept("in"):
            return self.membership(first, turned=turned)
        if turned:
            raise self.expected("`in`")
        if not self.compares():
            what = f"the column {first.name!r}" if isinstance(first, Column) else f"{first.value!r}"
            like = self.now.kind == "name" and self.now.written.lower() in _LIKE
            hint = _WHOLE if like else ""
            raise self.expected(f"a comparison after {what} (== != < <= > >=, in, is missing)", hint)
        pairs = []
        while self.compares():
            sign: Sign = self.now.value
            self.at += 1
            second = self.operand()
            pairs.append(self.pair(first, sign, second))
            first = second
        return pairs[0] if len(pairs) == 1 else Every(tuple(pairs))

    def compares(self) -> bool:
        """Whether a sign that compares is next."""
        return self.now.kind == "sign" and self.now.value in _OPPOSITE

    def pair(self, first: Column | Constant, sign: Sign, second: Column | Constant) -> Comparison:
        if isinstance(first, Column) and isinstance(second, Constant):
            return Comparison(first, sign, second)
        if isinstance(first, Constant) and isinstance(second, Column):
            return Comparison(second, _MIRRORED[sign], first)
        kind = "columns" if isinstance(first, Column) else "values"
        hint = "a text stands in quotes" if kind == "columns" else "a column's name stands without quotes"
        raise FilterError(
            f"expected a column and a value beside {sign}, got two {kind}",
            text=self.text,
            position=second.start,
            hint=hint,
        )

    def missing(self, first: Column | Constant) -> Missing:
        turned = self.accept("not")
        if not self.accept("missing"):
            raise self.expected("`missing` or `not missing`", "column is missing, column is not missing")
        return Missing(self.column(first, "is missing"), turned)

    def membership(self, first: Column | Constant, *, turned: bool) -> Node:
        if self.is_next("(") or self.is_next("["):
            column = self.column(first, "in (...)")
            return OneOf(column, self.values(), turned)
        if isinstance(first, Column):
            raise self.expected(
                f"a list of values after `{first.name} in`",
                f"{first.name} in ('A', 'B'), or 'A' in {first.name} where it holds lists",
            )
        second = self.operand()
        if isinstance(second, Constant):
            self.at -= 1
            raise self.expected("a column or a list of values after `in`")
        return Holds(second, first, turned)

    def column(self, operand: Column | Constant, what: str) -> Column:
        if isinstance(operand, Constant):
            raise FilterError(
                f"expected a column before `{what}`, got {operand.value!r}",
                text=self.text,
                position=operand.start,
            )
        return operand

    def values(self) -> tuple[Constant, ...]:
        closing = ")" if self.now.value == "(" else "]"
        self.at += 1
        found: list[Constant] = []
        while not self.accept(closing):
            value = self.operand()
            if isinstance(value, Column):
                self.at -= 1
                raise self.expected("a value", "a text stands in quotes")
            found.append(value)
            if not self.accept(",") and not self.is_next(closing):
                raise self.expected(f"`,` or `{closing}`")
        return tuple(found)

    def operand(self) -> Column | Constant:
        token = self.now
        if token.kind in ("number", "text"):
            self.at += 1
            return Constant(token.value, token.start)
        if token.kind != "name":
            raise self.expected("a column or a value")
        bare = not token.written.startswith("`")
        if bare and token.value.lower() in _NOTHING:
            raise self.expected("a column or a value", "missing values are found with `column is missing`")
        self.at += 1
        if bare and token.value.lower() in _BOOLEANS:
            return Constant(_BOOLEANS[token.value.lower()], token.start)
        return Column(token.value, token.start)
