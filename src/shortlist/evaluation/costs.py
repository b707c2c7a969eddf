"""What baselines will take: seconds measured on a sample of users and scaled, bytes by arithmetic.

Fits are timed at two numbers of users with all items, and a line through both is followed to all users; EASE,
whose cost is a cube, is timed on some of the items. Scoring is timed on some rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from shortlist._typing import Array, Longs
from shortlist.baselines.ease import EASE, MAX_ITEMS
from shortlist.baselines.fitted import ItemWeights
from shortlist.baselines.interactions import Interactions
from shortlist.baselines.ratings import MatrixFactorization
from shortlist.baselines.threads import one_blas_thread
from shortlist.baselines.tuning import RATING_GRIDS, RETRIEVAL_GRIDS, FittedScores
from shortlist.errors import DataError, MissingExtra
from shortlist.evaluation.rows import TestRows
from shortlist.evaluation.suite import SMALL_ITEMS, ranks_by_user, top_lists

FIT_ROWS, SCORE_ROWS, TOP_USERS, EASE_ITEMS, ROUND_ROWS = 200_000, 4_000, 2_000, 2_000, 10**6
SCORED, LEAST = 40_000_000, 100
"""Of rows and users that are scored for a measure, so many scores in all, and at least so many of them."""
ENOUGH = 2.0
"""Seconds of a fit after which another, to tell what a first one takes beside, is not timed."""
SCORES = 64 * 2**20
"""Bytes of a block of scores and what is made of it."""


@dataclass(frozen=True)
class BaselineCost:
    """What a baseline takes. how: what was measured; empty seconds and bytes where it will be skipped."""

    name: str
    seconds: float
    how: str


def baseline_bytes(
    num_rows: int, num_users: int, num_items: int, pairs: float, *, rated: bool
) -> dict[str, int]:
    """The most each baseline holds beside the rows themselves.

    num_rows: of the last fit. pairs: the sum over users of the square of their rows, which bounds how many
    pairs of items ever meet.
    """
    cells = float(num_items) ** 2
    meet = cells * -np.expm1(-pairs / cells)  # distinct pairs of items, were all as likely
    scores = SCORES
    found = {
        "item-kNN": 48 * meet + scores,
        "iALS": 4 * 32 * 2 * (num_users + num_items) + 24 * num_rows + scores,
    }
    if num_items <= MAX_ITEMS:
        found["EASE"] = 28 * cells + 8 * meet + scores
    if rated:
        width = MatrixFactorization().factors + 1
        posterior = 8 * width**2 * (4 * num_users + 3 * num_items)
        found["matrix factorisation"] = posterior + num_rows * (2 * 8 * width + 72)
    return {name: int(nbytes) for name, nbytes in found.items()}


def baseline_costs(
    train: Interactions,
    validation: Interactions | None,
    rows: TestRows,
    *,
    tell: Callable[[str], None] | None = None,
) -> list[BaselineCost]:
    """The seconds of each baseline as `baseline_predictions` runs it; rows: TestRows, whole.

    A baseline that will be skipped takes nothing.
    """
    tuned = validation is not None and len(validation) > 0
    last = train.joined(validation) if validation is not None and tuned else train
    sample = _Sample.of(train, validation if tuned else None, rows)
    found = []
    rated = train.ratings is not None and rows.ratings is not None
    grids: list[Sequence[Any]] = [*RETRIEVAL_GRIDS, *(RATING_GRIDS if rated else ())]
    for grid in grids:
        if tell is not None:
            tell(grid[0].name)
        try:
            with one_blas_thread() if rows.num_items <= SMALL_ITEMS else nullcontext():
                seconds = _seconds(grid, sample, train, last, tuned, scored=grid in RETRIEVAL_GRIDS)
            found.append(BaselineCost(grid[0].name, seconds, _said(grid, tuned)))
        except (DataError, MissingExtra) as error:
            found.append(BaselineCost(grid[0].name, 0.0, f"skipped: {error}"))
    return found


def _said(grid: Sequence[Any], tuned: bool) -> str:
    fits = 1 + (len(grid) if tuned and len(grid) > 1 else 0)
    return f"{fits} fits, timed on some users and scaled"


@dataclass(frozen=True, eq=False)
class _Sample:
    """Two nested sets of users with all of their rows, and rows to be scored."""

    small: Interactions
    large: Interactions
    judged: Interactions | None
    num_judged: int
    rows: TestRows

    @classmethod
    def of(cls, train: Interactions, validation: Interactions | None, rows: TestRows) -> _Sample:
        order = np.random.default_rng(0).permutation(train.num_users)
        place = np.empty(train.num_users, np.int64)
        place[order] = np.arange(train.num_users)
        share = min(1.0, FIT_ROWS / max(len(train), 1))
        counts = [max(1, int(train.num_users * share / part)) for part in (4, 1)]
        small, large = (_of_users(train, place, count) for count in counts)
        judged = None if validation is None else _of_users(validation, place, counts[1])
        return cls(small, large, judged, 0 if validation is None else len(validation), rows)


def _of_users(rows: Interactions, place: Longs, count: int) -> Interactions:
    """The rows of the first `count` users in another order, in which they are numbered."""
    users = place[rows.users]
    kept = users < count
    ratings = None if rows.ratings is None else rows.ratings[kept]
    times = None if rows.timestamps is None else rows.timestamps[kept]
    return Interactions(users[kept], rows.items[kept], count, rows.num_items, ratings, times)


def _seconds(
    grid: Sequence[Any],
    sample: _Sample,
    train: Interactions,
    last: Interactions,
    tuned: bool,
    *,
    scored: bool,
) -> float:
    settings = grid[0]
    trials = len(grid) if tuned and len(grid) > 1 else 0
    if isinstance(settings, EASE) and train.num_items > MAX_ITEMS:
        settings.fit(train)  # says why not
    grown = len(last) / max(len(train), 1)
    if isinstance(settings, MatrixFactorization):
        return grown * _rounds_seconds(settings, train)
    first, again, fitted = _fit_seconds(settings, sample, len(train))
    total = first * grown + (first + again * (trials - 1) if trials else 0.0)
    if not scored:
        return total
    row = _row_seconds(fitted, sample)
    total += row * (trials * sample.num_judged + len(sample.rows))
    return total + _top_seconds(fitted, sample)


def _fit_seconds(settings: Any, sample: _Sample, num_rows: int) -> tuple[float, float, Any]:
    """A first fit on all of the rows, another on the same rows, and what came of the sample."""
    if isinstance(settings, EASE):
        return _ease_seconds(settings, sample, num_rows)
    small, _ = _timed(lambda: settings.fit(sample.small))
    large, fitted = _timed(lambda: settings.fit(sample.large))
    again = large if large > ENOUGH else _timed(lambda: settings.fit(sample.large))[0]
    sizes = len(sample.small), len(sample.large)
    first = followed(sizes, (small, large), num_rows)
    repeated = first * min(1.0, again / max(large, 1e-9))
    return first, repeated, fitted


def _rounds_seconds(settings: MatrixFactorization, train: Interactions) -> float:
    """One round and two on as many rows as there are, or nearly: what fits a cache costs a third."""
    count = min(len(train), ROUND_ROWS)
    assert train.ratings is not None
    part = Interactions(
        train.users[:count], train.items[:count], train.num_users, train.num_items, train.ratings[:count]
    )
    one = _timed(lambda: replace(settings, rounds=1).fit(part))[0]
    if one > ENOUGH:
        return settings.rounds * one * len(train) / count
    two = _timed(lambda: replace(settings, rounds=2).fit(part))[0]
    return (one + (settings.rounds - 1) * max(two - one, one / 4)) * len(train) / count


def _ease_seconds(settings: EASE, sample: _Sample, num_rows: int) -> tuple[float, float, Any]:
    """Counting by rows, inverting by the cube of the items."""
    num_items = sample.large.num_items
    some = min(num_items, EASE_ITEMS)
    counts = [_timed(lambda part=part: part.co_counts)[0] for part in (sample.small, sample.large)]  # type: ignore[misc]
    counting = followed((len(sample.small), len(sample.large)), counts, num_rows)
    kept = sample.large.items < some
    users, items = sample.large.users[kept], sample.large.items[kept]
    part = Interactions(users, items, sample.large.num_users, some)
    part.co_counts  # noqa: B018
    inverting, fitted = _timed(lambda: settings.fit(part))
    inverting *= (num_items / some) ** 3
    popularity = sample.large.popularity
    if some < num_items:
        dense = np.ones((num_items, some), np.float32)
        fitted = _Wide(ItemWeights(sample.large.matrix, dense, popularity[:some]), num_items)
    else:
        fitted = ItemWeights(sample.large.matrix, fitted.weights, popularity)
    return counting + inverting, inverting, fitted


@dataclass(frozen=True, eq=False)
class _Wide:
    """Scores of some items, made as often as it takes to have as many as there are items."""

    part: ItemWeights
    num_items: int

    def scores(self, users: ArrayLike) -> Array:
        width = self.part.weights.shape[1]
        found = [self.part.scores(users) for _ in range(-(-self.num_items // width))]
        return np.concatenate(found, axis=1)[:, : self.num_items]


def scored_rows(most: int, num_items: int) -> int:
    """On how many rows what scores every item is measured: the fewer the more items there are."""
    return min(most, max(LEAST, SCORED // max(1, num_items)))


def _row_seconds(fitted: FittedScores, sample: _Sample) -> float:
    """Seconds to rank a row's item."""
    rows = sample.judged if sample.judged is not None and len(sample.judged) else sample.large
    few = scored_rows(SCORE_ROWS, rows.num_items)
    order = np.argsort(rows.users, kind="stable")[:few]  # all rows of some users
    users, targets = rows.users[order], rows.items[order]
    seconds, _ = _timed(lambda: ranks_by_user(fitted, users, targets, sample.large.seen, rows.num_items))
    return seconds / max(len(users), 1)


def _top_seconds(fitted: FittedScores, sample: _Sample) -> float:
    """Seconds of the first ten items of every test user."""
    few = scored_rows(TOP_USERS, sample.rows.num_items)
    count = min(sample.rows.num_users, sample.large.num_users, few)
    users = np.arange(count)
    every = np.ones(count, np.bool_)
    some = TestRows(users, users, users, sample.rows.num_items, every, every)
    seconds, _ = _timed(lambda: top_lists(fitted, some))
    return seconds * sample.rows.num_users / max(count, 1)


def followed(sizes: Sequence[int], seconds: Sequence[float], size: int) -> float:
    """Seconds at a size, on the line through two measured ones; below the larger, in proportion to it."""
    (low, high), (first, second) = sizes, seconds
    if size <= high or high <= low:
        return second * size / max(high, 1)
    slope = max((second - first) / (high - low), 0.0)
    return second + slope * (size - high)


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    found = work()
    return time.perf_counter() - start, found
