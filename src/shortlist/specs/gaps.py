"""Buckets of the time between a query and an event of its user's past, nearly even in the gap's logarithm."""

from __future__ import annotations

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400

GAPS: tuple[int, ...] = (
    1, 4, 15,
    _MINUTE, 4 * _MINUTE, 15 * _MINUTE,
    _HOUR, 4 * _HOUR,
    _DAY, 3 * _DAY, 7 * _DAY, 30 * _DAY, 120 * _DAY,
    365 * _DAY, 3 * 365 * _DAY,
)  # fmt: skip
"""Boundaries in seconds. A gap's bucket is the number of boundaries at or below it: 0 is the same second."""

NUM_GAPS = len(GAPS) + 1
"""Number of buckets."""
