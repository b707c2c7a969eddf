"""Two sides of an experiment compared: figures of each, differences with intervals, and whether it can be
believed.

Users are what was divided, so users are the unit: a figure is a sum over users by a sum over users, and its
variance is of users (the delta method; Deng, Knoblich and Lu, "Applying the Delta Method in Metric
Analytics", 2018).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import erfc, sqrt
from typing import Any, NamedTuple

import numpy as np

from shortlist._typing import Bools, Doubles
from shortlist.errors import RequestError, did_you_mean
from shortlist.evaluation.intervals import MIN_USERS, Estimate, Verdict, in_words, verdict_on
from shortlist.server.attributing import Exposed

METRICS = {
    "rate": "successes an impression",
    "per-user": "successes a user",
    "reached": "share of users with a success",
}
"""What sides are compared by."""
SPLITS = 400
UNLIKELY = 1e-3
"""Below this probability, shares of users that are not the planned ones are no chance."""
_Z = 1.959963984540054  # of a two-sided 95 % interval


class Ratio(NamedTuple):
    """A sum over users by a sum over users, and its variance."""

    value: float
    variance: float


class Compared(NamedTuple):
    """A metric of one side minus that of the other."""

    metric: str
    side: str
    against: str
    difference: Estimate
    verdict: Verdict

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        return in_words(METRICS[self.metric], self.side, self.against, self.difference, self.verdict)


@dataclass(frozen=True)
class Side:
    """One side: how much there is of it, and its figures."""

    name: str
    users: int
    impressions: int
    shown: int
    successes: int
    reached: int
    figures: dict[str, Estimate]
    versions: dict[str, int]


@dataclass(frozen=True)
class Shares:
    """Whether users came to two sides in the shares that were planned (sample-ratio mismatch): the
    probability of shares as far from them, or farther."""

    side: str
    against: str
    expected: float
    found: float
    probability: float

    @property
    def suspicious(self) -> bool:
        """Whether something other than chance divided users: then no difference can be believed."""
        return self.probability < UNLIKELY


@dataclass(frozen=True)
class Same:
    """Users of one side divided at random, again and again: how often two halves seem to differ."""

    side: str
    splits: int
    differing: int

    @property
    def share(self) -> float:
        """About 0.05 where intervals are what they say."""
        return self.differing / self.splits

    @property
    def suspicious(self) -> bool:
        """Whether that is far more often than 1 in 20 (four standard deviations)."""
        return self.share > 0.05 + 4 * sqrt(0.05 * 0.95 / self.splits)


@dataclass(frozen=True)
class Report:
    """What an experiment has shown. metric: the one there is a verdict of; others are beside it."""

    success: str
    metric: str
    sides: tuple[Side, ...]
    compared: tuple[Compared, ...]
    shares: tuple[Shares, ...]
    same: Same | None
    crossed: int
    counted: int
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values; ends of intervals that there are too few users for are None."""
        return {
            "success": self.success,
            "metric": self.metric,
            "sides": [_plain(side) for side in self.sides],
            "compared": [_plain(one) | {"sentence": one.sentence} for one in self.compared],
            "shares": [_plain(one) | {"suspicious": one.suspicious} for one in self.shares],
            "same": None
            if self.same is None
            else _plain(self.same) | {"share": self.same.share, "suspicious": self.same.suspicious},
            "users_of_several_sides": self.crossed,
            "events_that_count": self.counted,
            "warnings": list(self.warnings),
        }


def compare(
    found: Exposed,
    success: str,
    *,
    against: str = "",
    metric: str = "rate",
    shares: Mapping[str, float] | None = None,
    splits: int = SPLITS,
    seed: int = 42,
) -> Report:
    """Sides beside one of them.

    against: the side that others are compared with; "": the first by name. shares: how users were to be
    divided; None: equally. splits: of the A/A check. Raises RequestError for a side or a metric that is not
    there.
    """
    names = sorted(found.sides)
    against = against or names[0]
    _require(against, names, "side")
    _require(metric, list(METRICS), "metric")
    planned = {name: 1.0 for name in names} if shares is None else dict(shares)
    for name in planned:
        _require(name, names, "side")
    if missing := [name for name in names if name not in planned]:
        raise RequestError(f"there is no share for the side {missing[0]!r}", hint="give one for every side")
    of = {name: found.users == found.sides.index(name) for name in names}
    sides = tuple(_side(found, name, of[name]) for name in names)
    compared, told = [], []
    for name in names:
        if name == against:
            continue
        for one in METRICS:
            compared.append(_compared(found, one, name, against, of))
        told.append(mismatch(name, against, int(of[name].sum()), int(of[against].sum()), planned))
    same = same_twice(found, of[against], against, metric, splits, seed)
    return Report(
        success,
        metric,
        sides,
        tuple(compared),
        tuple(told),
        same,
        found.crossed,
        found.counted,
        tuple(_warnings(found, sides, told, same)),
    )


def ratio(tops: Doubles, bottoms: Doubles) -> Ratio:
    """Sum of tops by sum of bottoms, [U] each, and its variance over users by the delta method."""
    num = len(tops)
    if not num or not bottoms.sum():
        return Ratio(float("nan"), float("nan"))
    value = float(tops.sum() / bottoms.sum())
    if num < 2:
        return Ratio(value, float("nan"))
    apart = (tops - value * bottoms) / bottoms.mean()  # its mean is zero
    return Ratio(value, float((apart**2).sum() / (num - 1) / num))


def difference(first: Ratio, second: Ratio, num_users: int) -> Estimate:
    """first - second of different users, with its 95 % interval; num_users: of the smaller side."""
    gap = first.value - second.value
    if num_users < MIN_USERS:
        return Estimate(gap, float("nan"), float("nan"))
    far = _Z * sqrt(first.variance + second.variance)
    return Estimate(gap, gap - far, gap + far)


def mismatch(
    side: str, against: str, num_side: int, num_against: int, planned: Mapping[str, float]
) -> Shares:
    """The chi-square test of one degree of freedom of how users were divided between two sides."""
    total = num_side + num_against
    expected = planned[side] / (planned[side] + planned[against])
    if not total or not 0 < expected < 1:
        return Shares(side, against, expected, float("nan"), 1.0)
    far = (num_side - total * expected) ** 2 / (total * expected * (1 - expected))
    return Shares(side, against, expected, num_side / total, erfc(sqrt(far / 2)))


def same_twice(found: Exposed, users: Bools, side: str, metric: str, splits: int, seed: int) -> Same | None:
    """The A/A check: one side's users in random halves, compared as sides are. None for too few users."""
    tops, bottoms = _parts(found, metric, users)
    num = len(tops)
    if num < 2 * MIN_USERS or not splits:
        return None
    rng, differing = np.random.default_rng(seed), 0
    for _ in range(splits):
        first = np.zeros(num, np.bool_)
        first[rng.permutation(num)[: num // 2]] = True
        gap = difference(ratio(tops[first], bottoms[first]), ratio(tops[~first], bottoms[~first]), num // 2)
        differing += verdict_on(gap, lower_is_better=False) != "no difference shown"
    return Same(side, splits, differing)


def _parts(found: Exposed, metric: str, users: Bools) -> tuple[Doubles, Doubles]:
    """What a metric is the ratio of, a value a user."""
    successes = found.successes[users]
    if metric == "rate":
        return successes, found.impressions[users]
    ones = np.ones(len(successes))
    return (successes, ones) if metric == "per-user" else ((successes > 0).astype(np.float64), ones)


def _side(found: Exposed, name: str, users: Bools) -> Side:
    figures = {}
    for metric in METRICS:
        value = ratio(*_parts(found, metric, users))
        figures[metric] = difference(value, Ratio(0.0, 0.0), int(users.sum()))
    return Side(
        name,
        int(users.sum()),
        int(found.impressions[users].sum()),
        int(found.shown[users].sum()),
        int(found.successes[users].sum()),
        int((found.successes[users] > 0).sum()),
        figures,
        found.versions[name],
    )


def _compared(found: Exposed, metric: str, name: str, against: str, of: Mapping[str, Bools]) -> Compared:
    first, second = (ratio(*_parts(found, metric, of[side])) for side in (name, against))
    fewest = int(min(of[name].sum(), of[against].sum()))
    gap = difference(first, second, fewest)
    return Compared(metric, name, against, gap, verdict_on(gap, lower_is_better=False))


def _warnings(
    found: Exposed, sides: Sequence[Side], shares: Sequence[Shares], same: Same | None
) -> list[str]:
    out = list(found.notes)
    for one in shares:
        if one.suspicious:
            out.append(
                f"users were not divided as planned: {one.found:.1%} of those of {one.side} and {one.against}"
                f" had {one.side}, expected {one.expected:.1%} (p = {one.probability:.2g}): find out why"
                " before you believe any difference"
            )
    if same is not None and same.suspicious:
        out.append(
            f"two random halves of {same.side} seem to differ {same.share:.0%} of the time, not 5 %: a few"
            " users count for so much that intervals are too narrow"
        )
    if found.crossed:
        out.append(
            f"{found.crossed:,} users had more than one side and are left out: shares or salt were changed,"
            " or requests named a side"
        )
    for side in sides:
        if side.users < MIN_USERS:
            out.append(f"{side.name} has {side.users} users, too few for an interval")
    return out


def _require(name: str, known: Sequence[str], what: str) -> None:
    if name not in known:
        raise RequestError(f"there is no {what} {name!r}", hint=did_you_mean(name, known) or ", ".join(known))


def _plain(value: Any) -> Any:
    if isinstance(value, Estimate):
        return {"value": _plain(value.value), "low": _plain(value.low), "high": _plain(value.high)}
    if isinstance(value, Side | Shares | Same):
        return {name: _plain(one) for name, one in vars(value).items()}
    if isinstance(value, Compared):
        return {name: _plain(one) for name, one in value._asdict().items()}
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return None if isinstance(value, float) and np.isnan(value) else value
