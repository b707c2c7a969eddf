"""Checks of how rows are spread over users and items: too few each, all on a few, all by one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from shortlist._typing import Array
from shortlist.data.checks.finding import Check, Example, Hit, Severity
from shortlist.data.checks.subject import Subject, quoted

_TIMES_TYPICAL, _MANY = 20, 100


def few_rows_per_user(subject: Subject) -> Iterator[Hit]:
    """Users with fewer rows than a model can learn from."""
    yield from _few(subject, "user", subject.limits.user_rows)


def few_rows_per_item(subject: Subject) -> Iterator[Hit]:
    """Items with fewer rows than a model can learn from."""
    yield from _few(subject, "item", subject.limits.item_rows)


def _few(subject: Subject, side: str, least: int) -> Iterator[Hit]:
    counts = subject.user_counts if side == "user" else subject.item_counts
    few = counts.filter(pl.col("rows") < least)
    if few.height:
        severity: Severity = "warning" if few.height >= subject.limits.few_share * counts.height else "note"
        rows = int(few["rows"].sum())
        what = f"{side}s have fewer than {least} rows ({rows:,} rows together): little can be learned of them"
        shown = few.sort("rows", "id").head(subject.limits.examples).iter_rows()
        examples = tuple(Example(f"{quoted(name)}: {count}") for name, count in shown)
        yield Hit(severity, few.height, counts.height, subject.shown(f"{side}_id"), what, examples)


def concentration(subject: Subject) -> Iterator[Hit]:
    """Rows that go to a few items."""
    counts = subject.item_counts
    if counts.height < _MANY:
        return
    uneven, top = gini(counts["rows"].to_numpy()), top_share(counts["rows"].to_numpy())
    if uneven < subject.limits.gini and top < subject.limits.top_share:
        return
    what = (
        f"the most frequent 1 % of the items take {top:.0%} of the rows (Gini coefficient {uneven:.2f}): "
        "popularity alone scores high, and figures say little of the other items"
    )
    busiest = counts.sort("rows", "id", descending=[True, False])
    most = -(-counts.height // 100)
    shown = busiest.head(min(most, subject.limits.examples)).iter_rows()
    examples = tuple(Example(f"{quoted(name)}: {count:,} rows") for name, count in shown)
    rows = int(busiest["rows"].head(most).sum())
    yield Hit("warning", rows, int(counts["rows"].sum()), subject.shown("item_id"), what, examples)


def dominant_user(subject: Subject) -> Iterator[Hit]:
    """Users with a large share of all rows, far above the median user."""
    counts = subject.user_counts
    total = int(counts["rows"].sum())
    typical = float(counts["rows"].median() or 0)  # type: ignore[arg-type]
    least = max(subject.limits.user_share * total, _TIMES_TYPICAL * typical, _MANY)
    busy = counts.filter(pl.col("rows") >= least).sort("rows", "id", descending=[True, False])
    if busy.height:
        rows, largest = int(busy["rows"].sum()), int(busy["rows"][0]) / total
        who = "one user has" if busy.height == 1 else f"{busy.height} users have"
        what = (
            f"rows belong to users who stand out: {who} them, the busiest {largest:.1%} of all, where the "
            f"median user has {typical:g} rows; a bot, a test account or a shared one?"
        )
        shown = busy.head(subject.limits.examples).iter_rows()
        examples = tuple(Example(f"{quoted(name)}: {count:,} rows") for name, count in shown)
        yield Hit("warning", rows, total, subject.shown("user_id"), what, examples)


def gini(counts: Array) -> float:
    """0 where all have the same, towards 1 where one has all. Zero for no counts."""
    ordered = np.sort(counts.astype(np.float64))
    total, n = ordered.sum(), ordered.size
    if not total:
        return 0.0
    return float(2 * (np.arange(1, n + 1) * ordered).sum() / (n * total) - (n + 1) / n)


def top_share(counts: Array, share: float = 0.01) -> float:
    """What the largest `share` of the counts (at least one) have of the sum."""
    if not counts.size or not counts.sum():
        return 0.0
    most = max(1, int(np.ceil(counts.size * share)))
    return float(np.sort(counts)[-most:].sum() / counts.sum())


CHECKS = (
    Check(
        "few-rows-per-user",
        few_rows_per_user,
        "expect little of them, look at the report's slices of warm and cold users, or leave them out",
    ),
    Check(
        "few-rows-per-item",
        few_rows_per_item,
        "give items features (title, category), so that new ones can be found",
    ),
    Check(
        "popularity-concentration",
        concentration,
        "read the report's slices of head and tail items, and compare with popularity",
    ),
    Check(
        "dominant-user", dominant_user, "look at these users; leave bots out, they train the model for all"
    ),
)
