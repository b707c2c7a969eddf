"""Ratings above par, event by event; what shares a second with an event says nothing of it."""

from __future__ import annotations

import numpy as np
import pytest

from shortlist.features.log import Log
from shortlist.features.residuals import SHRINK, above, residuals, running
from shortlist.specs.features import AsOf

MEAN = 3.0
EVENTS = [
    (0, 0, 5, 5.0),
    (1, 0, 5, 1.0),
    (2, 0, 5, 2.0),
    (2, 0, 4, 4.0),
    (0, 0, 9, 2.0),
    (1, 1, 5, 5.0),
    (0, 1, 5, 4.0),
    (2, 1, 6, 3.0),
]
"""User, item, second, rating: three of item 0 and two of item 1 in second 5."""


def log_of(events: list[tuple[int, int, int, float]]) -> tuple[Log, np.ndarray]:
    users, items, times, ratings = (np.array(column) for column in zip(*events, strict=True))
    return Log.of(users, items, times, ratings, 3)


def expected(as_of: AsOf) -> list[float]:
    found = []
    for _, item, time, rating in EVENTS:
        others = [r - MEAN for _, i, t, r in EVENTS if i == item and (t < time or as_of == "leave-one-out")]
        found.append(rating - MEAN - sum(others) / (len(others) + SHRINK))
    return found


@pytest.mark.parametrize("turned", [1, -1])
def test_events_of_one_item_in_one_second_do_not_know_each_other(turned: int) -> None:
    """Worked out by hand, whatever the order of the events."""
    log, places = log_of(EVENTS[::turned])
    found = residuals(log, MEAN, "row")[places][::turned]
    of_first = (4.0 - MEAN) / (1 + SHRINK)
    three = (1.0 + 2.0 - 2.0 - 1.0) / (4 + SHRINK)
    by_hand = [2 - of_first, -2 - of_first, -1 - of_first, 1.0, -1 - three, 2.0, 1.0, -3 / (2 + SHRINK)]
    np.testing.assert_allclose(found, by_hand, rtol=1e-6)
    np.testing.assert_allclose(found, expected("row"), rtol=1e-6)


@pytest.mark.parametrize("as_of", ["row", "leave-one-out"])
def test_residuals_against_a_loop(as_of: AsOf) -> None:
    log, places = log_of(EVENTS)
    np.testing.assert_allclose(residuals(log, MEAN, as_of)[places], expected(as_of), rtol=1e-5, atol=1e-7)


def test_told_events_of_the_same_second_are_not_measured_by_it() -> None:
    told, places = log_of([(0, 0, 5, 5.0), (1, 0, 6, 5.0)])
    known, _ = log_of(EVENTS)
    turned, _ = Log.of(known.items, known.users, known.times, known.ratings, 2)
    earlier = [1.0, 1.0 + 2.0 - 2.0 - 1.0]
    by_hand = [2 - earlier[0] / (1 + SHRINK), 2 - earlier[1] / (4 + SHRINK)]
    np.testing.assert_allclose(
        above(told, turned, running(turned, MEAN), MEAN, "row")[places], by_hand, rtol=1e-6
    )
