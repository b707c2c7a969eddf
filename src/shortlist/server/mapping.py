"""A map of the items: their vectors on the two axes along which they differ most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from shortlist._typing import Doubles, Floats, Longs
from shortlist.errors import RequestError
from shortlist.pipeline.recommender import Recommender

_SAMPLE = 20_000  # items the axes are found from


@dataclass(frozen=True, eq=False)
class Axes:
    """Principal axes of the items' directions. middle: float64 [d]; axes: float64 [2, d], each with its
    largest number positive, so that a map is never turned round; shares: of the variance each shows."""

    middle: Doubles
    axes: Doubles
    shares: tuple[float, float]

    @classmethod
    def of(cls, vectors: Floats) -> Axes:
        """From vectors [n, d] of items. All the same: every item is in the middle."""
        units = _units(vectors)
        middle = units.mean(axis=0) if len(units) else np.zeros(units.shape[1])
        apart = units - middle
        spread, axes = np.linalg.eigh(apart.T @ apart)
        wide = max(2, len(spread))
        both = np.zeros((2, wide))
        both[: min(2, len(spread)), : len(spread)] = axes.T[::-1][:2]
        signs = np.sign(both[np.arange(2), np.abs(both).argmax(axis=1)])
        total = max(float(spread.sum()), 1e-12)
        shares = [max(0.0, float(one)) / total for one in spread[::-1][:2]] + [0.0, 0.0]
        axes = (both * np.where(signs == 0, 1, signs)[:, None])[:, : len(spread)]
        return cls(middle, axes, (shares[0], shares[1]))

    def places(self, vectors: Floats) -> Doubles:
        """Where items are on the map: float64 [n, 2]."""
        placed: Doubles = (_units(vectors) - self.middle) @ self.axes.T
        return placed


def _units(vectors: Floats) -> Doubles:
    """Directions: what items have in common by their length says how popular they are, not what they are."""
    wide = np.asarray(vectors, np.float64)
    units: Doubles = wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)
    return units


def vectors_at(recommender: Recommender, places: Longs) -> Floats:
    """The vectors that items are compared by. RequestError where there are none."""
    vectors: Any = recommender.item_vectors
    if vectors is None and recommender.index is not None:
        return np.asarray(recommender.index.vectors(places), np.float32)
    vectors = recommender.item_representations if vectors is None else vectors
    if vectors is None:
        raise RequestError("this recommender has no vectors of items")
    return np.asarray(vectors[places], np.float32)


def axes_of(recommender: Recommender) -> Axes:
    """The axes of a catalogue, from at most 20,000 of its items, evenly spaced."""
    items = recommender.items
    present = np.arange(len(items)) if items.retired is None else np.flatnonzero(~items.retired)
    step = max(1, -(-len(present) // _SAMPLE))
    return Axes.of(vectors_at(recommender, present[::step]))


def chosen(recommender: Recommender, limit: int, wanted: Longs) -> tuple[Longs, bool]:
    """Up to `limit` items, in catalogue order, those `wanted` among them; and whether these are all. Where
    there are more, they are the most popular."""
    items = recommender.items
    if items.num_present <= limit:
        every = np.arange(len(items)) if items.retired is None else np.flatnonzero(~items.retired)
        return np.union1d(every, wanted).astype(np.int64), True
    popular = recommender.popular.order[:limit].astype(np.int64)
    others = popular[~np.isin(popular, wanted)][: max(0, limit - len(wanted))]
    return np.union1d(others, wanted).astype(np.int64), False
