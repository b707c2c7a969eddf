"""Item-based nearest neighbours, with users normalised and similarity made asymmetric as in
Deshpande and Karypis, "Item-Based Top-N Recommendation Algorithms" (2004); shrinkage as in Bell and
Koren (2007).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from shortlist._typing import Floats, Longs
from shortlist.baselines.fitted import ItemWeights
from shortlist.baselines.interactions import Interactions, sparse


@dataclass(frozen=True)
class ItemKNN:
    """A candidate scores the summed similarity to the user's items among its nearest neighbours.

    sim(candidate i, item j) = c_ij / (c_i^a c_j^(1-a) + shrinkage), a cosine when a = `exponent` is 0.5;
    below that, popular candidates are held back less. The co-counts c add 1 / sqrt(rows of the user)
    a user, so that one who took everything says little. Every candidate keeps `neighbours` items.
    """

    neighbours: int = 100
    shrinkage: float = 0.0
    exponent: float = 0.4
    name: ClassVar[str] = "item-kNN"

    def fit(self, interactions: Interactions) -> ItemWeights:
        similar = interactions.damped_co_counts.copy()
        size = np.maximum(np.asarray(similar.diagonal(), np.float64), np.finfo(np.float64).tiny)
        rows = np.repeat(np.arange(len(size)), np.diff(similar.indptr))
        scale = size[rows] ** self.exponent * size[similar.indices] ** (1 - self.exponent) + self.shrinkage
        similar.data = np.where(rows == similar.indices, 0.0, similar.data / scale).astype(np.float32)
        # row = candidate; transposed, because a user's items come first in the product with the weights
        return ItemWeights(
            interactions.matrix, _keep_best(similar, self.neighbours).T.tocsr(), interactions.popularity
        )


def _keep_best(similar: Any, num: int) -> Any:
    """A CSR matrix with only the `num` largest entries of each row."""
    bounds = zip(similar.indptr[:-1].tolist(), similar.indptr[1:].tolist(), strict=True)
    kept = [_largest(similar.data, start, stop, num) for start, stop in bounds]
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in kept])])
    entries = np.concatenate(kept) if kept else np.zeros(0, np.int64)
    return sparse().csr_matrix((similar.data[entries], similar.indices[entries], indptr), shape=similar.shape)


def _largest(values: Floats, start: int, stop: int, num: int) -> Longs:
    if stop - start <= num:
        return np.arange(start, stop)
    return start + np.argpartition(-values[start:stop], num - 1)[:num]
