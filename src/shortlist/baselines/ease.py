"""EASE: a linear item-to-item model in closed form (Steck, "Embarrassingly Shallow Autoencoders", 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from shortlist.baselines.fitted import ItemWeights
from shortlist.baselines.interactions import Interactions
from shortlist.errors import DataError

MAX_ITEMS = 20_000
_FLOPS_PER_CORE = 2e10  # a laptop core in double precision, for the estimate alone


def ease_cost(num_items: int) -> tuple[float, float]:
    """What a fit takes: GiB held (the Gram matrix, its inverse and the weights) and core-seconds."""
    return 3 * 8 * num_items**2 / 2**30, 2 * num_items**3 / _FLOPS_PER_CORE


@dataclass(frozen=True)
class EASE:
    """Weights B = I - P / diag(P) with P the inverse of (co-counts + `regularisation` on the diagonal)."""

    regularisation: float = 400.0
    name: ClassVar[str] = "EASE"

    def fit(self, interactions: Interactions) -> ItemWeights:
        """Raises `DataError`, with the arithmetic, above 20,000 items."""
        require_affordable(interactions.num_items)
        from scipy.linalg.lapack import dpotrf, dpotri

        gram = interactions.co_counts.toarray().astype(np.float64)
        gram[np.diag_indices_from(gram)] += self.regularisation
        # the inverse from a Cholesky factor: half the work of a general inverse, and always stable here
        lower, _ = dpotrf(gram.T, lower=1, overwrite_a=1)
        half, _ = dpotri(lower, lower=1, overwrite_c=1)
        precision = np.tril(half) + np.tril(half, -1).T
        weights = -precision / np.diag(precision)
        np.fill_diagonal(weights, 0.0)
        return ItemWeights(interactions.matrix, weights.astype(np.float32), interactions.popularity)


def require_affordable(num_items: int) -> None:
    """Raises `DataError`, with the arithmetic, for a catalogue EASE is not run on."""
    if num_items > MAX_ITEMS:
        memory, seconds = ease_cost(num_items)
        raise DataError(
            f"EASE inverts a matrix of {num_items:,} x {num_items:,} items: about {memory:,.0f} GiB "
            f"and {seconds / 3600:,.1f} core-hours a fit; it is not run above {MAX_ITEMS:,} items",
            hint="compare with iALS or item-kNN instead, which grow with the number of interactions",
        )
