"""Bags that rows of one user share are the bags that every row has to itself."""

from __future__ import annotations

from functools import cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

from shortlist.api.fitting import Fitted, fit
from shortlist.api.preparing import Prepared, prepare
from shortlist.data.splits import Split
from shortlist.models.bags import Shared, shared_sum, spread_sum
from shortlist.specs.features import Bag, Id
from shortlist.specs.models import MultiTask, Tower
from shortlist.specs.tasks import Rating, Retrieval
from shortlist.specs.training import Training
from shortlist.tasks.past import PastTables, past_tables
from shortlist.training import steps

NUM_USERS, NUM_ITEMS, ROWS, DIM = 9, 17, 160, 3
OTHERS: Any = {"dim": DIM, "as_of": "leave-one-out", "scale": 0.5}
BAGS = {bag.name: bag for bag in (Bag(name="plain", **OTHERS), Bag(name="rated", rated=True, **OTHERS))}
EACH = pytest.mark.parametrize("name", BAGS)
HEAD = Rating(
    hidden=[3],
    interaction="product",
    dim=DIM,
    query=[Bag(rated=True, l2_all=1e-3, **OTHERS)],
    candidate=[Bag(column="user_id", **OTHERS), Bag(column="user_id", rated=True, **OTHERS)],
)
MODEL = MultiTask(
    Tower([*BAGS.values()], combine="sum"), Tower([Id("item_id", DIM, scale=0.5)]), [Retrieval(), HEAD]
)


@cache
def split() -> Split:
    """Rows with repeats of items, several a second, and items nobody had."""
    rng = np.random.default_rng(6)
    rows = pl.DataFrame(
        {
            "user_id": [f"u{u}" for u in rng.integers(0, NUM_USERS, ROWS)],
            "item_id": [f"i{i}" for i in rng.integers(0, NUM_ITEMS - 3, ROWS)],
            "rating": rng.integers(1, 6, ROWS).astype(float),
            "timestamp": rng.integers(0, 40, ROWS),
        }
    )
    users = pl.DataFrame({"user_id": [f"u{u}" for u in range(NUM_USERS)]})
    items = pl.DataFrame({"item_id": [f"i{i}" for i in range(NUM_ITEMS)]})
    return Split(rows, rows[:0], rows[:9], users, items, "given", None, "")


@cache
def prepared() -> Prepared:
    return prepare(MODEL, split())


def given() -> tuple[PastTables, Any, Any, Any]:
    """Pasts, and of the training rows and one of nobody known: users, where they stand, own items."""
    examples, pasts = prepared().examples, prepared().catalogue.pasts
    assert examples.past is not None and pasts is not None
    past = np.concatenate([examples.past, np.zeros((1, 3), np.int32)])
    users, items = np.append(examples.users, np.int32(-1)), np.append(examples.candidates, np.int32(2))
    return past_tables(pasts, NUM_ITEMS), *map(jnp.asarray, (users, past, items))


@EACH
def test_values_and_gradients_are_equal(name: str) -> None:
    tables, users, past, own = given()
    bag = BAGS[name]
    found, beside = tables.weights(bag, users, past, own)
    assert isinstance(found, Shared) and beside is None
    assert found.weights.shape == (NUM_USERS + 1, NUM_ITEMS)
    spread = tables.bag(name, users, past, bag.as_of, bag.length)
    rng = np.random.default_rng(0)
    table = jax.device_put(np.asarray(rng.normal(size=(NUM_ITEMS + 1, DIM)), np.float32))
    slope = jax.device_put(np.asarray(rng.normal(size=(len(users), DIM)), np.float32))

    def ours(t: Any) -> Any:
        return shared_sum(t, found)

    def theirs(t: Any) -> Any:
        return spread_sum(bag, t, spread, tables.slots[name], None)

    (one, back), (other, slow) = jax.vjp(ours, table), jax.vjp(theirs, table)
    assert np.abs(other).max() > 0.5 and not np.asarray(other)[-1].any()
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(back(slope)[0], slow(slope)[0], rtol=1e-4, atol=1e-5)


def test_what_rows_do_not_share_is_spread() -> None:
    """As of the row, with items dropped or penalised, of the last few, and where users are more than rows."""
    tables, users, past, own = given()
    tables = eqx.tree_at(lambda t: t.slots, tables, dict.fromkeys(("a", "plain"), tables.slots["plain"]))
    longest = tables.longest
    apart = [
        Bag(name="a", dim=DIM),
        Bag(name="a", event_dropout=0.1, **OTHERS),
        Bag(name="a", l2=0.1, **OTHERS),
        Bag(name="a", length=longest - 1, **OTHERS),
    ]
    for bag in apart:
        found, slots = tables.weights(bag, users, past, own)
        assert not isinstance(found, Shared) and slots is not None
        assert found.shape == (len(users), NUM_ITEMS)
    few = slice(0, NUM_USERS)
    assert not isinstance(tables.weights(BAGS["plain"], users[few], past[few], own[few])[0], Shared)
    assert isinstance(tables.weights(Bag(name="a", length=longest, **OTHERS), users, past, own)[0], Shared)


def trained(monkeypatch: pytest.MonkeyPatch, *, spread: bool) -> tuple[Fitted, list[bool]]:
    """A fit in which bags are shared, or none is; of each that was asked for, whether it was."""
    usual, shared = PastTables.weights, []

    def weights(self: PastTables, bag: Bag, users: Any, past: Any, own: Any) -> Any:
        found = usual(self, bag, users, past, own)
        if spread:
            found = self.bag(bag.key, users, past, bag.as_of, bag.length), self.slots[bag.key]
        shared.append(isinstance(found[0], Shared))
        return found

    monkeypatch.setattr(PastTables, "weights", weights)
    monkeypatch.setattr(steps, "_PROGRAMS", {})
    fitted = fit(MODEL, split(), training=Training(epochs=3, batch_size=64, tables="dense"))
    monkeypatch.undo()
    return fitted, shared


@pytest.mark.slow
def test_they_train_the_same_model(monkeypatch: pytest.MonkeyPatch) -> None:
    (ours, shared), (theirs, spread) = (trained(monkeypatch, spread=s) for s in (False, True))
    assert len(shared) >= 5 and all(shared) and not any(spread)
    for name, curve in ours.history.items():
        assert curve == pytest.approx(theirs.history[name], rel=1e-4)
        assert curve[-1] < curve[0]
    one, other = (jax.tree.leaves((f.scorer.net, f.scorer.tables)) for f in (ours, theirs))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-4)
