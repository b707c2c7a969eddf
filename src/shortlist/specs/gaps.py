"""Buckets of the time between a query and an event of its user's past, even in the gap's logarithm."""

from __future__ import annotations

from math import ceil, exp

GAPS: tuple[int, ...] = tuple(sorted({ceil(exp(k / 2) - 1) for k in range(1, 37)}))
"""Boundaries in seconds, two for every factor of e, up to two years. A gap's bucket is the number of
boundaries at or below it: 0 is the same second."""
