"""Fitted retrieval baselines: arrays that turn user indices into scores over the catalogue.

Every one answers for an unknown user (-1), or one without training rows, with popularity.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from shortlist._typing import Array, Bools, Doubles, Floats, Longs


def _known(users: ArrayLike, active: Bools) -> tuple[Longs, Bools]:
    """Indices safe to gather with, and which of them are users with training rows."""
    index = np.asarray(users, np.int64)
    inside = (index >= 0) & (index < len(active))
    safe = np.where(inside, index, 0)
    return safe, inside & (active[safe] if len(active) else inside)


@dataclass(frozen=True, eq=False)
class PopularityScores:
    """The same scores [N] for everyone."""

    popularity: Doubles

    def scores(self, users: ArrayLike) -> Array:
        """Scores float64 [b, N]."""
        return np.broadcast_to(self.popularity, (len(np.asarray(users)), len(self.popularity)))


@dataclass(frozen=True, eq=False)
class ItemWeights:
    """Scores as a user's row of `matrix` (SciPy CSR [U, N]) times item-to-item `weights` [N, N]."""

    matrix: Any
    weights: Any
    popularity: Doubles

    def scores(self, users: ArrayLike) -> Array:
        """Scores float32 [b, N]."""
        safe, known = _known(users, np.diff(self.matrix.indptr) > 0)
        found = self.matrix[safe] @ self.weights
        scores = np.asarray(found if isinstance(found, np.ndarray) else found.toarray(), np.float32)
        scores[~known] = self.popularity
        return scores


@dataclass(frozen=True, eq=False)
class FactorScores:
    """Scores as inner products of user factors [U, d] and item factors [N, d]."""

    user_factors: Floats
    item_factors: Floats
    active: Bools
    popularity: Doubles

    def scores(self, users: ArrayLike) -> Array:
        """Scores float32 [b, N]."""
        safe, known = _known(users, self.active)
        scores = self.user_factors[safe] @ self.item_factors.T
        scores[~known] = self.popularity
        return scores
