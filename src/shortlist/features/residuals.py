"""How far a rating lies above par: above what other ratings of its item suggest. NumPy only."""

from __future__ import annotations

import numpy as np

from shortlist._typing import Doubles, Floats
from shortlist.features.log import Log, Standing
from shortlist.specs.features import AsOf

SHRINK = 5.0
"""Ratings of the training mean that every item is thought to have had already."""


def residuals(log: Log, mean: float, as_of: AsOf) -> Floats:
    """rating - mean - item's shrunk mean, of every event; float32 [T]. The log has ratings.

    The item's mean is of events at an earlier second ("row"), or of all ("leave-one-out": a row never looks
    at residuals of its own item, so that its own rating stays out).
    """
    assert log.ratings is not None
    values = log.ratings.astype(np.float64) - mean
    if as_of == "leave-one-out":
        usual = np.bincount(log.items, values) / (np.bincount(log.items) + SHRINK)
        return (values - usual[log.items]).astype(np.float32)
    sums, counts = _earlier(log, values)
    return (values - sums / (counts + SHRINK)).astype(np.float32)


def running(log: Log, mean: float) -> Doubles | None:
    """Running sums of a log's ratings less a mean, from 0 on; None without ratings."""
    if log.ratings is None:
        return None
    return np.concatenate([[0.0], np.cumsum(log.ratings.astype(np.float64) - mean)])


def above(log: Log, by_item: Log, sums: Doubles | None, mean: float, as_of: AsOf) -> Floats:
    """The same of events [T] that others are the measure of, those at an earlier second or all; 0 where a
    rating is missing. by_item: the others, with items in place of users; sums: their `running` ones."""
    if log.ratings is None or sums is None:
        return np.zeros(len(log), np.float32)
    begin, end = by_item.ranges(Standing.of(log.items, log.times), as_of)
    usual = (sums[end] - sums[begin]) / (end - begin + SHRINK)
    found: Doubles = np.nan_to_num(log.ratings.astype(np.float64) - mean - usual)
    return found.astype(np.float32)


def _earlier(log: Log, values: Doubles) -> tuple[Doubles, Doubles]:
    """Sum and number of values of the same item at an earlier second, for every event."""
    order = np.lexsort((log.times, log.items))
    item, time = log.items[order], log.times[order]
    new_item = np.diff(item, prepend=-1) != 0
    new_second = new_item | (np.diff(time, prepend=time[:1] - 1) != 0)
    places = np.arange(len(order))
    begin = np.maximum.accumulate(np.where(new_item, places, 0)) if len(order) else places
    until = np.maximum.accumulate(np.where(new_second, places, 0)) if len(order) else places
    running = np.concatenate([[0.0], np.cumsum(values[order])])
    sums, counts = np.empty(len(order)), np.empty(len(order))
    sums[order] = running[until] - running[begin]
    counts[order] = until - begin
    return sums, counts
