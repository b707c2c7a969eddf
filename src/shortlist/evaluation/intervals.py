"""Intervals and verdicts by resampling users (Efron's bootstrap; ratio estimates for row averages).

Rows of one user are not independent, users nearly are: so users are drawn, with all their rows. All
entrants share the same draws, which makes differences between them paired.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from shortlist._typing import Doubles

Verdict = Literal["wins", "loses", "no difference shown"]

# a percentile interval of so few users says nothing, and would call any difference certain for one
MIN_USERS = 10
_BLOCK_WEIGHTS = 1 << 22


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval; the ends are NaN where there were too few users for one."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Tally:
    """A metric taken apart by user: sum of `tops` over sum of `bottoms` (both [U]), rooted for RMSE."""

    tops: Doubles
    bottoms: Doubles
    root: bool = False


@dataclass(frozen=True)
class Comparison:
    """A model beside the best baseline on one metric; `difference` is model - baseline."""

    metric: str
    model: str
    baseline: str
    difference: Estimate
    verdict: Verdict

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        return in_words(self.metric, self.model, self.baseline, self.difference, self.verdict)


def in_words(metric: str, one: str, other: str, gap: Estimate, verdict: Verdict) -> str:
    """What is said of a metric of one minus that of the other."""
    span = "" if np.isnan(gap.low) else f" (95 % interval {gap.low:+.4f} to {gap.high:+.4f})"
    how = {
        "wins": f"{one} wins against {other}",
        "loses": f"{one} loses to {other}",
        "no difference shown": f"no difference shown between {one} and {other}",
    }[verdict]
    return f"{metric}: {how}, {gap.value:+.4f}{span}"


def draws_of_users(num_users: int, resamples: int, seed: int) -> Iterator[Doubles]:
    """How often each user is drawn, in blocks [r, U] that add up to `resamples` rows."""
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK_WEIGHTS // max(num_users, 1))
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        drawn = [np.bincount(rng.integers(0, num_users, num_users), minlength=num_users) for _ in range(size)]
        yield np.asarray(drawn, np.float64)


def bootstrap(tallies: Sequence[Tally], num_users: int, resamples: int, seed: int) -> tuple[Doubles, Doubles]:
    """Every metric on the sample itself [M] and on each resample [R, M]; NaN where nothing was drawn."""
    if not tallies:
        return np.zeros(0), np.zeros((resamples, 0))
    parts = np.stack([t.tops for t in tallies] + [t.bottoms for t in tallies], axis=1)
    root = np.array([t.root for t in tallies])
    values = _ratio(np.ones((1, num_users)) @ parts, root)[0]
    if num_users < MIN_USERS or not resamples:
        return values, np.full((resamples, len(tallies)), np.nan)
    draws = [_ratio(weights @ parts, root) for weights in draws_of_users(num_users, resamples, seed)]
    return values, np.concatenate(draws)


def _ratio(sums: Doubles, root: Doubles) -> Doubles:
    tops, bottoms = np.split(sums, 2, axis=1)
    mean = np.divide(tops, bottoms, out=np.full_like(tops, np.nan), where=bottoms > 0)
    return np.where(root, np.sqrt(mean), mean)


def estimate(value: float, draws: Doubles) -> Estimate:
    """The value with the 2.5th and 97.5th percentile of its draws [R]."""
    usable = draws[np.isfinite(draws)]
    if not usable.size:
        return Estimate(float(value), float("nan"), float("nan"))
    low, high = np.percentile(usable, [2.5, 97.5])
    return Estimate(float(value), float(low), float(high))


def verdict_on(difference: Estimate, *, lower_is_better: bool) -> Verdict:
    """ "wins" or "loses" only where the interval of the difference excludes zero."""
    if np.isnan(difference.low) or difference.low <= 0.0 <= difference.high:
        return "no difference shown"
    return "wins" if (difference.high < 0.0) == lower_is_better else "loses"
