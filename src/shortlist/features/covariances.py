"""The covariance of a Gaussian process of a user's residuals: how alike two events are. NumPy only."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from shortlist._typing import Doubles, Floats, Longs
from shortlist.specs.aggregates import Process

SESSION, CROWDING = 600.0, 0.7
"""Seconds that tastes of the moment last; the width of the likeness of popularity."""

MISSING = 1e9
"""A missing number, in widths: as far from another missing one as from any."""


class Points(NamedTuple):
    """What n events or rows are compared by. None where it does not matter."""

    tags: Floats | None
    near: Doubles | None
    popular: Floats
    factors: Floats | None
    times: Longs


def covariance(spec: Process, left: Points, right: Points) -> Floats:
    """Of n events and m others without their noise, float32 [n, m]."""
    total: Floats = np.full((len(left.times), len(right.times)), spec.constant, np.float32)
    total += np.float32(spec.popularity_weight) * _bell(
        left.popular / np.float32(CROWDING), right.popular / np.float32(CROWDING)
    )
    tags = near = factors = None
    if left.tags is not None and right.tags is not None:
        tags = left.tags @ right.tags.T
        total += np.float32(spec.tags_weight) * tags
    if left.near is not None and right.near is not None:
        sides = np.nan_to_num(left.near, nan=MISSING), np.nan_to_num(right.near, nan=-MISSING)
        near = _bell(*(side.astype(np.float32) for side in sides))
        total += np.float32(spec.near_weight) * near
        if tags is not None:
            total += np.float32(spec.product_weight) * tags * near
    if left.factors is not None and right.factors is not None:
        factors = left.factors @ right.factors.T
        total += np.float32(spec.factors_weight) * factors
    if spec.time:
        _add_times(spec, total, tags, factors, left.times, right.times)
    return total


def _add_times(
    spec: Process, total: Floats, tags: Floats | None, factors: Floats | None, left: Longs, right: Longs
) -> None:
    gap = np.abs(left[:, None] - right).astype(np.float32)
    for span, weight in zip(spec.spans, spec.span_weights, strict=True):
        if weight:
            total += np.float32(weight) * (np.exp(gap / np.float32(-span)) if span else gap == 0)
    shared = [
        np.float32(weight) * product
        for weight, product in zip(spec.session_weights, (tags, factors), strict=True)
        if product is not None and weight
    ]
    if shared:
        total += np.exp(gap / np.float32(-SESSION)) * sum(shared)


def _bell(left: Floats, right: Floats) -> Floats:
    apart = left[:, None] - right
    apart *= apart
    apart *= np.float32(-0.5)
    bell: Floats = np.exp(apart, out=apart)
    return bell
