"""What most people take, over all time or lately: the yardstick every recommender must beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from shortlist.baselines.fitted import PopularityScores
from shortlist.baselines.interactions import Interactions
from shortlist.errors import DataError

_DAY = 86_400.0


@dataclass(frozen=True)
class Popular:
    """Items by their number of training interactions, equal numbers in catalogue order.

    The order is built into the scores: the list everyone would be shown is a definite one, and its
    ranks should not hang on how a measure treats ties.
    """

    name: ClassVar[str] = "popular"

    def fit(self, interactions: Interactions) -> PopularityScores:
        return PopularityScores(interactions.popularity)


@dataclass(frozen=True)
class RecentPopular:
    """Items by interactions that lose half their weight every `half_life` days before the newest one."""

    half_life: float = 30.0
    name: ClassVar[str] = "recent popular"

    def fit(self, interactions: Interactions) -> PopularityScores:
        """Raises `DataError` when the rows have no timestamps."""
        times = interactions.timestamps
        if times is None:
            raise DataError(
                "recent popularity needs timestamps", hint="name the timestamp column of the interactions"
            )
        age = (times.max() - times) / _DAY if len(times) else np.zeros(0)
        weights = np.exp2(-age / self.half_life)
        total = np.bincount(interactions.items, weights, minlength=interactions.num_items)
        return PopularityScores(total.astype(np.float64))
