"""Where entries are found without a search."""

from __future__ import annotations

import numpy as np
import pytest

from shortlist.features.running import LARGEST, NONE, Clock, Running, distinct


@pytest.mark.parametrize("size", [7, LARGEST])  # keys that are coded, and ranked first
def test_events_find_what_is_before_themselves(size: int) -> None:
    rng = np.random.default_rng(4)
    keys, times = rng.integers(0, 7, (200, 1)), np.sort(rng.integers(0, 30, 200))
    clock = Clock.of(times)
    running = Running.of(keys, size, times, clock)
    found = running.own_spans()
    assert found is not None
    coded, none = running.coded(keys[:, 0]), np.full(200, NONE)
    for own, sought in zip(found, running.spans(coded, times.copy(), none, "row", 0.0, 0), strict=True):
        np.testing.assert_array_equal(own, sought)
    counts = [
        int(((keys == key).all(1) & (times < time)).sum()) for key, time in zip(keys, times, strict=True)
    ]
    assert found.counts.tolist() == counts


def test_events_without_a_key_or_with_several_are_searched() -> None:
    times = np.arange(3)
    clock = Clock.of(times)
    for keys in ([[0], [NONE], [1]], [[0, 1], [1, 0], [0, 1]], np.zeros((0, 1), np.int64)):
        assert Running.of(np.array(keys), 2, times[: len(keys)], clock).own_spans() is None


def test_a_clock_knows_its_own_times() -> None:
    times = np.array([9, 4, 4, 7, 9])
    clock = Clock.of(times)
    assert clock.seconds.tolist() == [4, 7, 9]
    assert clock.before(times).tolist() == clock.before(times.copy()).tolist() == [2, 0, 0, 1, 2]
    assert clock.before(np.array([5, 10])).tolist() == [1, 3]
    assert distinct(np.array([[2.0, 1.0], [2.0, -1.0]])).tolist() == [-1, 1, 2]
    assert distinct(np.zeros(0)).tolist() == []
