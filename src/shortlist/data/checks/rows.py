"""Checks of whole rows: lines that are none, rows that stand there twice, pairs that come back."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from shortlist.data.checks.finding import Check, Hit
from shortlist.data.checks.subject import Subject


def torn_lines(subject: Subject) -> Iterator[Hit]:
    """Lines of a file that are no rows."""
    for table, examples in subject.torn.items():
        if examples:
            frame = getattr(subject, "rows" if table == "interactions" else table)
            yield Hit(
                "error",
                len(examples),
                max(frame.height, len(examples)),
                table,
                "lines do not fit the header, are no JSON object or no UTF-8; the strict reader refuses them",
                examples[: subject.limits.examples],
            )


def duplicate_rows(subject: Subject) -> Iterator[Hit]:
    """Rows that are equal in every column."""
    rows = subject.rows
    again = ~rows.select(pl.struct(pl.all()).is_first_distinct()).to_series()
    if count := int(again.sum()):
        yield Hit(
            "warning",
            count,
            rows.height,
            "interactions",
            "rows repeat an earlier row in every column: usually an export or a join that ran twice",
            subject.examples(again, "user_id", "item_id"),
        )


def repeated_pairs(subject: Subject) -> Iterator[Hit]:
    """Rows of a user and an item who met before."""
    pairs = subject.pairs
    again = pairs.filter(~pl.struct("user", "item").is_first_distinct())
    if not again.height:
        return
    rated = subject.has("rating")
    said = "each of its ratings is trained on" if rated else "people came back"
    yield Hit(
        "warning" if rated else "note",
        again.height,
        pairs.height,
        "interactions",
        f"rows repeat an earlier (user, item) pair: {said}",
        tuple(
            subject.example(row, "user_id", "item_id") for row in again["row"].head(subject.limits.examples)
        ),
    )


CHECKS = (
    Check("torn-lines", torn_lines, "repair or delete these lines; export as UTF-8 with quoted texts"),
    Check("duplicate-rows", duplicate_rows, "drop them, unless each really is an event of its own"),
    Check(
        "repeated-pairs",
        repeated_pairs,
        "keep the last row of a pair if only the latest opinion counts; keep all if each is an event",
    ),
)
