"""Representations of items by who had them before: from a table as from the model, or from the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from shortlist._typing import Array, Floats, Longs
from shortlist.data.coded import Coded, Column
from shortlist.features.history import Events
from shortlist.features.log import Log, Standing
from shortlist.pipeline import standings
from shortlist.pipeline.standings import Standings

NUM_ITEMS, NUM_USERS = 7, 9
RNG = np.random.default_rng(5)
ITEM = RNG.normal(size=(NUM_ITEMS, 6)).astype(np.float32)
RATER, RATED = RNG.normal(size=(2, NUM_USERS, 3)).astype(np.float32)


def raters() -> Events:
    """Events of items, some of them the same user's again, some of one second."""
    users, items = RNG.integers(0, NUM_USERS, 60), RNG.integers(0, NUM_ITEMS - 1, 60)
    log, _ = Log.of(users, items, RNG.integers(0, 30, 60), RNG.integers(1, 6, 60), NUM_USERS)
    ids = np.array([f"i{n}" for n in range(NUM_ITEMS)], object)
    return Events(log, ids, 3.0).by_item(np.array([f"u{n}" for n in range(NUM_USERS)], object))


def model(after: Callable[[Array], Array], reads: tuple[str, ...]) -> standings.Encode:
    """Bags of raters, plain and rated, among an item's numbers; `after` stands above."""

    def encode(positions: Longs, lists: Mapping[str, Column]) -> Floats:
        coded = lists["raters"]
        assert isinstance(coded, Coded)
        names = coded.expand()
        there = names != ""
        users = np.where(there, np.char.lstrip(np.where(there, names, "u0").astype(str), "u").astype(int), 0)
        sums = (RATER[users] * there[..., None]).sum(1)
        if "raters_residual" in reads:
            weights = np.nan_to_num(np.asarray(lists["raters_residual"]))
            sums = sums + (RATED[users] * (weights * there)[..., None]).sum(1)
        out = ITEM[positions].copy()
        out[:, 2:5] += sums / np.sqrt(1.0 + there.sum(1, keepdims=True))
        return after(out).astype(np.float32)

    return encode


@pytest.mark.parametrize("reads", [("raters",), ("raters", "raters_residual")])
@pytest.mark.parametrize("length", [100, 3])
def test_states_are_what_the_model_has(reads: tuple[str, ...], length: int) -> None:
    events, lengths = raters(), dict.fromkeys(reads, length)
    encode = model(lambda x: x, reads)
    made = Standings.of(events, encode, lengths)
    assert made is not None and made.table.shape[1] == 3
    times = np.array([-5, 0, 3, 11, 17, 29, 30, 1 << 61])
    items = np.tile(np.arange(NUM_ITEMS), (len(times), 1))
    flat = items.reshape(-1)
    at = Standing.of(flat, np.repeat(times, NUM_ITEMS))
    expected = encode(flat, events.columns(lengths, at))
    np.testing.assert_allclose(made(items, times), expected, atol=1e-6)


def test_another_model_has_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    events, lengths = raters(), {"raters": 50}
    assert Standings.of(events, model(np.tanh, ("raters",)), lengths) is None
    plain = model(lambda x: x, ("raters",))
    assert Standings.of(events, plain, {**lengths, "other_raters": 50}) is None
    monkeypatch.setattr(standings, "MOST", 20)
    assert Standings.of(events, plain, lengths) is None
