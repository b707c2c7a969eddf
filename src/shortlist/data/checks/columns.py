"""Checks of single columns: missing values, one value, almost only different values, several types."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from shortlist.data.checks.finding import Check, Example, Hit, Severity
from shortlist.data.checks.subject import Subject, first, quoted

_ENOUGH = 20
_WORDS = 1.5


def missing_values(subject: Subject) -> Iterator[Hit]:
    """Columns with rows that have no value."""
    for where, column in subject.side_columns():
        missing = _missing(column)
        count = int(missing.sum())
        if count and count < len(column):
            severity: Severity = "warning" if count >= subject.limits.missing_share * len(column) else "note"
            what = "rows have no value here (null, empty or not a number); features read them as unknown"
            yield Hit(severity, count, len(column), where, what, _examples(subject, column, missing))


def constant_columns(subject: Subject) -> Iterator[Hit]:
    """Columns that say the same everywhere, or nothing."""
    for where, column in subject.side_columns():
        given = column.filter(~_missing(column))
        if len(column) > 1 and given.n_unique() <= 1:
            said = (
                f"every row that has a value says {quoted(given[0])}" if len(given) else "no row has a value"
            )
            yield Hit("note", len(column), len(column), where, f"{said}: nothing can be learned from it")


def unique_columns(subject: Subject) -> Iterator[Hit]:
    """Columns that say something else in almost every row."""
    for where, column in subject.side_columns():
        given = column.filter(~_missing(column))
        if len(given) < _ENOUGH or not _may_tell_apart(given):
            continue
        distinct = given.n_unique()
        if distinct >= subject.limits.unique_share * len(given):
            what = "values are almost all different: the column tells rows apart, it does not group them"
            examples = tuple(Example(quoted(value)) for value in given.head(subject.limits.examples))
            yield Hit("note", distinct, len(given), where, what, examples)


def _may_tell_apart(given: pl.Series) -> bool:
    """Whole numbers and texts of hardly more than a word: longer texts are read word by word."""
    if given.dtype == pl.String:
        return float(given.head(10_000).str.count_matches(r"\S+").mean() or 0) < _WORDS  # type: ignore[arg-type]
    return given.dtype.is_integer()


def mixed_types(subject: Subject) -> Iterator[Hit]:
    """Columns, ids among them, of numbers and a few texts."""
    ids = [(subject.shown(role), subject.rows[role]) for role in ("user_id", "item_id")]
    for where, column in [*ids, *subject.side_columns()]:
        if column.dtype != pl.String:
            continue
        texts = column.str.strip_chars()
        given = (texts != "").fill_null(False)
        numeric = texts.cast(pl.Float64, strict=False).is_not_null()
        stray, total = given & ~numeric, int(given.sum())
        count = int(stray.sum())
        if count and total - count >= subject.limits.number_share * total:
            what = "values are texts in a column of numbers, so that the whole column is read as text"
            yield Hit("warning", count, total, where, what, _examples(subject, column, stray))


def _missing(column: pl.Series) -> pl.Series:
    if column.dtype == pl.String:
        return (column.str.strip_chars() == "").fill_null(True)
    if column.dtype.is_float():
        return column.is_nan().fill_null(True)
    return column.is_null()


def _examples(subject: Subject, column: pl.Series, bad: pl.Series) -> tuple[Example, ...]:
    return tuple(Example(quoted(column[row]), row) for row in first(bad, subject.limits.examples))


CHECKS = (
    Check(
        "missing-values", missing_values, "fill what can be filled; leave out a column that says too little"
    ),
    Check("constant-columns", constant_columns, "leave the column out"),
    Check("unique-columns", unique_columns, "leave the column out, or cut what groups rows from it"),
    Check("mixed-types", mixed_types, "leave these values empty, or move them to a column of their own"),
)
