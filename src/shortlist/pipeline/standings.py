"""Representations of items that depend on who had them, as of any second, looked up by state.

An item with n raters is in one of n + 1 states (`features.crowds`), and a table has the representation of
each. Where a model reads raters as bags, and nothing stands above the bags, every rater adds a vector of its
own to a sum that is divided by sqrt(1 + how many): two questions a rater then fill the table. That a model is
such a one is looked at, not assumed: states must come out as the model has them, among them those of the most
raters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from shortlist._typing import Array, Doubles, Floats, Longs
from shortlist.data.coded import Coded, Column
from shortlist.features.crowds import Places
from shortlist.features.history import Events
from shortlist.features.log import Log, Standing
from shortlist.features.running import LARGEST, Clock

MOST = 1 << 24
"""Numbers of a table: 64 MB."""
SAME = 5e-6
"""By how much a number of a state may differ from the model's, in units of the largest one, 1 at least."""
_DRAWN = 24
_BLOCK = 1 << 15

Encode = Callable[[Longs, Mapping[str, Column]], Floats]
"""Positions [n], and their columns that are made of raters -> representations [n, r]."""


@dataclass(frozen=True, eq=False)
class Standings:
    """base float32 [N + 1, r]: items without raters, the last nobody's; columns: the numbers that depend on
    raters; table float32 [S, len(columns)]: these in every state."""

    places: Places
    base: Floats = field(repr=False)
    columns: Any
    table: Floats = field(repr=False)

    @classmethod
    def of(cls, raters: Events, encode: Encode, lengths: Mapping[str, int]) -> Standings | None:
        """Of the items of `raters`, which are by item; lengths: of the lists the model reads. None where a
        model is another one, or the table would be too large."""
        log = raters.firsts
        clock = Clock.of(np.asarray(log.times))
        if set(lengths) - {"raters", "raters_residual"} or log.num_users * clock.span >= LARGEST:
            return None
        codes = log.users * clock.span + clock.before(np.asarray(log.times))
        places = Places.of(codes, clock, log.num_users)
        base = encode(np.arange(log.num_users), _lists(lengths, raters.ids, np.full(log.num_users, -1), 0.0))
        apart = _apart(encode, lengths, raters.ids, base[0])
        chosen = np.flatnonzero((apart != 0).any(axis=(0, 1)))
        if not len(chosen) or places.num_states * len(chosen) > MOST:
            return None
        spread = slice(int(chosen[0]), int(chosen[-1]) + 1)
        table = np.zeros((places.num_states, spread.stop - spread.start), np.float32)
        whole = np.concatenate([base, np.zeros((1, base.shape[1]), np.float32)])
        made = cls(places, whole, spread, table)
        _fill(made, log, raters.residuals("row"), apart[:, :, spread], min(lengths.values()))
        return made if _same(made, raters, encode, lengths) else None

    def __call__(self, positions: Longs, times: Longs) -> Floats:
        """Representations of items [b, k] as of times [b]: [b * k, r]."""
        found = self.places.find(positions, times)
        out = self.base.take(found.item.reshape(-1), axis=0)
        out[:, self.columns] = self.table.take(found.state.reshape(-1), axis=0)
        return out


def _lists(lengths: Mapping[str, int], ids: Array, rater: Array, residual: float) -> dict[str, Column]:
    """The columns of items with one rater each, -1: none."""
    order = np.argsort(ids)
    place = np.append(np.argsort(order), -1).astype(np.int32)
    made: dict[str, Column] = {
        "raters": Coded(place[rater][:, None], ids[order]),
        "raters_residual": np.where(rater >= 0, residual, np.nan)[:, None],
    }
    return {name: made[name] for name in lengths}


def _apart(encode: Encode, lengths: Mapping[str, int], ids: Array, nobody: Floats) -> Doubles:
    """What each rater adds to a sum, and what each times its residual: [2, U, r]."""
    every, first = np.arange(len(ids)), np.zeros(len(ids), np.int64)
    zero, one = (
        encode(first, _lists(lengths, ids, every, residual)).astype(np.float64) for residual in (0, 1)
    )
    apart: Doubles = np.stack([zero - nobody, one - zero]) * np.sqrt(2.0)
    return apart


def _fill(made: Standings, log: Log, residuals: Floats, apart: Doubles, length: int) -> None:
    """Sums over each state's raters, of at most `length` the last, block by block."""
    item, start, stop = made.places.states()
    start = np.maximum(start, stop - length)
    for first in range(0, len(item), _BLOCK):
        block = slice(first, min(first + _BLOCK, len(item)))
        low, high = int(start[block].min()), int(stop[block].max())
        raters, residual = log.items[low:high], residuals[low:high, None].astype(np.float64)
        sums = np.zeros((high - low + 1, apart.shape[2]))
        np.cumsum(apart[0][raters] + residual * apart[1][raters], axis=0, out=sums[1:])
        total = sums[stop[block] - low] - sums[start[block] - low]
        total /= np.sqrt(1.0 + (stop - start)[block])[:, None]
        made.table[block] = made.base[item[block], made.columns] + total


def _same(made: Standings, raters: Events, encode: Encode, lengths: Mapping[str, int]) -> bool:
    """Whether states are what the model has."""
    log = raters.firsts
    drawn = np.random.default_rng(0).integers(0, len(log), _DRAWN)
    busiest = np.argsort(-np.diff(log.indptr), kind="stable")[: _DRAWN // 4]
    items = np.concatenate([log.users[drawn], busiest])
    after = np.full(len(busiest), np.iinfo(np.int64).max // 2)
    times = np.concatenate([np.asarray(log.times)[drawn], after])
    want = encode(items, raters.columns(lengths, Standing.of(items, times)))
    apart = np.abs(made(items[:, None], times) - want).max()
    return bool(apart <= SAME * max(1.0, float(np.abs(want).max())))
