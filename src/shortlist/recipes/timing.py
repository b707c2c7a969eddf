"""How long a stage of a run takes of all rows, from calls on few of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import polars as pl

from shortlist.evaluation.costs import followed, scored_rows

FEW, MORE, LONG = 250, 20_000, 1.5
"""Rows on which stages are timed: few, or fewer of many items, and more, as long as they take about so many
seconds; a line through both times is followed to all rows."""
LEAST = 16
"""Rows on which at least."""
FURTHER, GROWN, MUCH = 4, 1.0, 8
"""More rows are at least so many times as many. They must take longer than few by so many times what few
take, or what every call takes (all items are encoded, say) hides what a row takes: else still more are timed,
up to so many times as many."""
SAME = 0.2
"""Of the time that more rows take longer, that a first call may take beside for another not to be timed."""
PATIENCE = 10.0
"""Seconds after which a call is not repeated; more rows are so many that three times as long would do."""


def timed_on_all(
    make: Callable[[pl.DataFrame], Callable[[], Any]], rows: pl.DataFrame, num_items: int
) -> tuple[float, float]:
    """(seconds that first calls take beside, seconds of a call on all rows), from calls on few rows and on
    more, of which each takes so long in any case and so long a row. make: prepares a call on some rows."""
    size: int | None = max(LEAST, scored_rows(MUCH * FEW, num_items) // MUCH)
    beside, points = 0.0, list[tuple[int, float]]()
    while size is not None:
        part = _users_of(rows, size)
        if points and len(part) <= points[-1][0]:
            break
        # what is compiled of other numbers of rows must not be taken for what more rows take
        trusted = points[0][1] + beside / SAME if points else PATIENCE
        once, seconds = _called(make(part), min(trusted, PATIENCE))
        beside += once
        points.append((len(part), seconds))
        if len(part) == len(rows):
            return beside, seconds
        size = _next(points)
    (few, short), (more, long) = points[0], points[-1]
    return beside, followed((few, more), (short, long), len(rows))


def _next(points: list[tuple[int, float]]) -> int | None:
    """On how many rows to measure next; None where what a row takes can be told."""
    (_, short), (size, seconds) = points[0], points[-1]
    most = max(2.0, 3 * PATIENCE / max(seconds, 1e-9))
    if len(points) == 1:
        times = max(LONG / max(seconds, 1e-9), FURTHER)
    elif len(points) == 2 and seconds - short < GROWN * short:
        times = min(short / max(seconds - short, 1e-9), MUCH)
    else:
        return None
    return min(int(size * max(2.0, min(times, most))), max(MORE, size))


def _called(work: Callable[[], Any], trusted: float) -> tuple[float, float]:
    """(what the first call takes beside, seconds of another; of quick ones the quickest of two). A first call
    that takes longer than is `trusted` is all there is."""
    first = timed(work)[0]
    if first > trusted:
        return 0.0, first
    others = [timed(work)[0]]
    if others[0] < LONG:
        others.append(timed(work)[0])
    return max(first - min(others), 0.0), min(others)


def _users_of(rows: pl.DataFrame, size: int) -> pl.DataFrame:
    """About so many rows: all those of some users."""
    if len(rows) <= size:
        return rows
    counts = rows.group_by("user_id", maintain_order=True).len().sample(fraction=1.0, shuffle=True, seed=0)
    kept = counts.filter(pl.col("len").cum_sum() <= size)
    kept = kept if len(kept) else counts.head(1)
    return rows.join(kept.select("user_id"), on="user_id", how="semi", maintain_order="left")


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of a call, and what it gives."""
    start = time.perf_counter()
    found = work()
    return time.perf_counter() - start, found
