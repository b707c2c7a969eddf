"""Choosing a baseline's settings on validation rows: small grids, one judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from numpy.typing import ArrayLike

from shortlist._typing import Array
from shortlist.baselines.ease import EASE
from shortlist.baselines.ials import IALS
from shortlist.baselines.interactions import Interactions
from shortlist.baselines.neighbours import ItemKNN
from shortlist.baselines.popularity import Popular, RecentPopular
from shortlist.baselines.ratings import FittedRatings, MatrixFactorization, RatingBiases


class FittedScores(Protocol):
    """A fitted retrieval baseline."""

    def scores(self, users: ArrayLike) -> Array:
        """Scores [b, N] for user indices [b], -1 unknown."""
        ...


class RetrievalBaseline(Protocol):
    """Settings of a retrieval baseline."""

    @property
    def name(self) -> str: ...

    def fit(self, interactions: Interactions) -> FittedScores: ...


class RatingBaseline(Protocol):
    """Settings of a rating baseline."""

    @property
    def name(self) -> str: ...

    def fit(self, interactions: Interactions) -> FittedRatings: ...


# the first of each grid is what is used when there are no validation rows
RETRIEVAL_GRIDS: tuple[tuple[RetrievalBaseline, ...], ...] = (
    (Popular(),),
    tuple(RecentPopular(half_life) for half_life in (30.0, 7.0, 100.0)),
    tuple(ItemKNN(neighbours, shrinkage) for neighbours in (100, 50) for shrinkage in (0.0, 1.0)),
    tuple(EASE(regularisation) for regularisation in (400.0, 200.0, 800.0)),
    tuple(IALS(32, *pair) for pair in ((30.0, 4.0), (10.0, 2.0), (20.0, 2.0), (20.0, 4.0), (60.0, 8.0))),
)
RATING_GRIDS: tuple[tuple[RatingBaseline, ...], ...] = (
    tuple(RatingBiases(user, item) for user in (5.0, 2.0, 15.0) for item in (5.0, 2.0, 15.0)),
    (MatrixFactorization(),),
)

S = TypeVar("S")
F = TypeVar("F")


@dataclass(frozen=True)
class Tuned(Generic[S]):
    """The chosen settings, and what every setting tried was worth on validation."""

    settings: S
    trials: tuple[tuple[S, float], ...]


def tune(
    grid: Sequence[S],
    train: Interactions,
    judge: Callable[[F], float],
    fit: Callable[[S, Interactions], F],
    *,
    higher_is_better: bool = True,
) -> Tuned[S]:
    """Fit every setting on `train` and keep the one the judge likes best; the earlier one on a tie.

    A grid of one is returned untried. Errors of `fit` pass through.
    """
    if len(grid) == 1:
        return Tuned(grid[0], ())
    trials = tuple((settings, judge(fit(settings, train))) for settings in grid)
    sign = 1.0 if higher_is_better else -1.0
    return Tuned(max(trials, key=lambda trial: sign * trial[1])[0], trials)


def described(settings: object) -> str:
    """Settings as "neighbours=100, shrinkage=0", for a report; empty when there are none."""
    values = vars(settings)
    return ", ".join(f"{name}={value:g}" for name, value in values.items() if name not in ("seed", "rounds"))
