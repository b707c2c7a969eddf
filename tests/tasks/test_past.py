"""A bag is the same sum in each of its forms, and what users had before is the same in both."""

from __future__ import annotations

from functools import cache
from typing import Any

import equinox as eqx
import jax
import msgspec
import numpy as np
import polars as pl
import pytest

from shortlist.api.pasts import events_of
from shortlist.api.preparing import Prepared, positions_of, prepare, user_indices
from shortlist.data.splits import Split
from shortlist.features import batches
from shortlist.features.history import Total
from shortlist.features.log import Log, Standing
from shortlist.models.bags import listed_sum, spread, spread_sum
from shortlist.specs.features import AsOf, Bag, Id
from shortlist.specs.models import Ranker, Tower, TwoTower
from shortlist.specs.tasks import Rating, Retrieval
from shortlist.tasks.multitask import _spread_over, _touched
from shortlist.tasks.past import PastTables, past_tables

NUM_USERS, NUM_ITEMS, ROWS, DIM = 9, 17, 160, 3
AS_OF = pytest.mark.parametrize("as_of", ["row", "leave-one-out"])
BAGS = {
    bag.name: bag
    for bag in (
        Bag(dim=DIM, event_dropout=0.4, name="plain, row"),
        Bag(dim=DIM, event_dropout=0.4, rated=True, length=4, name="rated, row, the last four"),
        Bag(dim=DIM, event_dropout=0.4, length=4, as_of="leave-one-out", name="plain, others, the last four"),
        Bag(dim=DIM, event_dropout=0.4, rated=True, as_of="leave-one-out", name="rated, others"),
    )
}
EACH = pytest.mark.parametrize("name", BAGS)


@cache
def split() -> Split:
    """Rows with repeats of items, several a second, and items nobody had."""
    rng = np.random.default_rng(3)
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
    return Split(rows, rows[:0], rows[:0], users, items, "given", None, "")


@cache
def prepared() -> Prepared:
    model = TwoTower(Tower(list(BAGS.values())), Tower([Id("item_id")]), Retrieval(seen="row"))
    return prepare(model, split())


def tables() -> PastTables:
    pasts = prepared().catalogue.pasts
    assert pasts is not None
    return past_tables(pasts, NUM_ITEMS)


def rows() -> tuple[jax.Array, jax.Array]:
    """Users and pasts of the training rows, and of one whose user is not known."""
    examples = prepared().examples
    assert examples.past is not None
    past = np.concatenate([examples.past, np.zeros((1, 3), np.int32)])
    return jax.device_put(np.append(examples.users, np.int32(-1))), jax.device_put(past)


@cache
def lists(name: str) -> tuple[Total, np.ndarray, np.ndarray | None]:
    """Slots and weights of the same rows, as a request would be encoded."""
    one, given = prepared(), split()
    feature = next(f for f in one.encoder.query.features if f.spec == BAGS[name])
    assert isinstance(feature, Total)
    users, items = user_indices(given.train, one.users), positions_of(given.train, given.items)
    times = given.train["timestamp"].to_numpy()
    model = TwoTower(Tower([BAGS[name]]), Tower([Id("item_id")], out=DIM))
    events, at = events_of(model, given, users, items, times, len(one.users))
    at = type(at)(*(np.append(column, np.int64(-1)) for column in at))
    encoded = feature.encode(events.columns(feature.lengths, at))
    return feature, encoded[feature.spec.key], encoded.get(f"{feature.spec.key}@weight")


def table_of(feature: Total) -> np.ndarray:
    assert feature.rows is not None
    return np.random.default_rng(0).normal(size=(feature.rows, DIM)).astype(np.float32)


@EACH
def test_the_three_forms_of_a_bag_agree(name: str) -> None:
    feature, slots, weight = lists(name)
    table, (users, past) = jax.device_put(table_of(feature)), rows()
    drawn = np.random.default_rng(1).integers(0, 2**32, len(users), dtype=np.uint32)
    wide = spread(slots, weight, len(table))
    tabled = bag_of(tables(), name, users, past, feature.spec.as_of, feature.spec.length)
    for words in (None, drawn):
        expected = naive(feature, slots, weight, words)
        assert np.abs(expected).max() > 0.5 and not expected[-1].any()
        for found in (
            listed(table[np.maximum(slots, 0)], slots, weight, words),
            summed(table, wide, None, words),
            summed(table, tabled, tables().slots[name], words),
        ):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


ANY = BAGS["plain, row"]  # all drop events alike

# Compiled whole, as in training: what they are made of would be as many programs, one after the other.
bag_of, had_in = eqx.filter_jit(PastTables.bag), eqx.filter_jit(PastTables.had_columns)
touched_by, spread_by = eqx.filter_jit(_touched), eqx.filter_jit(_spread_over)


@jax.jit
def listed(rows: Any, slots: Any, weight: Any, words: Any) -> Any:
    return jax.vmap(lambda *row: listed_sum(ANY, *row))(rows, slots, weight, words)


@jax.jit
def summed(*given: Any) -> Any:
    return spread_sum(ANY, *given)


def naive(
    feature: Total, slots: np.ndarray, weight: np.ndarray | None, words: np.ndarray | None
) -> np.ndarray:
    """In float64, item by item."""
    table, rate = table_of(feature).astype(np.float64), feature.spec.event_dropout
    out = np.zeros((len(slots), DIM))
    for row, listed_slots in enumerate(slots):
        items = [(k, slot) for k, slot in enumerate(listed_slots) if slot >= 0]
        for k, slot in items:
            scale = (1.0 if weight is None else float(weight[row, k])) / np.sqrt(1 + len(items))
            if words is not None:
                scale *= keeps(int(words[row]), int(slot), rate) / (1 - rate)
            out[row] += scale * table[slot]
    return out


def keeps(word: int, slot: int, rate: float) -> bool:
    return mixed(word ^ mixed(slot)) >= int(rate * 2**32)


def mixed(x: int) -> int:
    """The finaliser of MurmurHash3, in whole numbers without end."""
    x = (x ^ (x >> 16)) * 0x85EBCA6B % 2**32
    x = (x ^ (x >> 13)) * 0xC2B2AE35 % 2**32
    return x ^ (x >> 16)


@EACH
def test_penalties_of_lists_and_of_weights_agree(name: str) -> None:
    feature, slots, weight = lists(name)
    table, (users, past) = table_of(feature), rows()
    share = np.random.default_rng(2).random(len(users)).astype(np.float32)
    squares = np.square(table.astype(np.float64)).sum(axis=1)
    touched = sum(share[n] * squares[slot] for n, row in enumerate(slots) for slot in row if slot >= 0)
    tabled = bag_of(tables(), name, users, past, feature.spec.as_of, feature.spec.length)
    for found in (
        touched_by(table, slots, share),
        spread_by(table, spread(slots, weight, len(table)), None, share),
        spread_by(table, tabled, tables().slots[name], share),
    ):
        assert float(found) == pytest.approx(touched, rel=1e-5)


@AS_OF
@pytest.mark.parametrize("columns", ["all", "some"])
def test_what_users_had_is_the_same_in_both_forms(
    as_of: AsOf, columns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (users, past), by_order = rows(), tables()
    assert by_order.order is not None
    monkeypatch.setattr(batches, "SPREAD_BYTES", 0)
    by_list = tables()
    assert by_list.order is None
    chosen = None if columns == "all" else np.array([5, 0, 16, 3])
    column_of = np.full(NUM_ITEMS, 4)
    if chosen is not None:
        column_of[chosen] = np.arange(4)
    given = np.arange(NUM_ITEMS) if chosen is None else column_of
    num_columns = NUM_ITEMS if chosen is None else 4
    found = [
        np.asarray(had_in(t, users, past, as_of, chosen, jax.device_put(given), num_columns))
        for t in (by_order, by_list)
    ]
    expected = had(as_of)
    assert 0 < expected.sum() < expected.size
    for one in found:
        np.testing.assert_array_equal(one, expected if chosen is None else expected[:, chosen])


def had(as_of: AsOf) -> np.ndarray:
    """bool [R, N], row by row."""
    train = split().train.to_dicts()
    out = np.zeros((len(train) + 1, NUM_ITEMS), bool)
    for n, row in enumerate(train):
        mine = [e for e in train if e["user_id"] == row["user_id"]]
        if as_of == "row":
            mine = [e for e in mine if e["timestamp"] < row["timestamp"]]
        else:
            mine = [e for e in mine if e["item_id"] != row["item_id"]]
        out[n, [int(e["item_id"][1:]) for e in mine]] = True
    return out


@EACH
def test_bags_of_who_had_an_item_agree(name: str) -> None:
    """The mirror image: training's table of items by users, and the lists a row is encoded from."""
    given, bag = split(), msgspec.structs.replace(BAGS[name], column="user_id", event_dropout=0.0)
    head = Rating(hidden=[], interaction="product", dim=DIM, candidate=[bag])
    one = prepare(Ranker(Tower([Id("user_id")]), Tower([Id("item_id")]), [head]), given)
    feature = one.encoder.candidate.features[-1]
    assert isinstance(feature, Total) and one.events is not None and one.raters is not None
    assert one.catalogue.raters is not None and one.examples.raters is not None
    items = one.examples.candidates
    tabled = past_tables(one.catalogue.raters, len(one.users))
    weights = bag_of(
        tabled,
        feature.spec.key,
        jax.device_put(items),
        jax.device_put(one.examples.raters),
        bag.as_of,
        bag.length,
    )
    users, times = user_indices(given.train, one.users), given.train["timestamp"].to_numpy()
    _, places = Log.of(users, items, times, None, len(one.users))
    at = Standing.of(items, times, one.events.places_by_item(places))
    encoded = feature.encode(one.raters.columns(feature.lengths, at))
    slots, weight = encoded[feature.spec.key], encoded.get(f"{feature.spec.key}@weight")
    table = jax.device_put(table_of(feature))
    expected = naive(feature, slots, weight, None)
    assert np.abs(expected).max() > 0.5
    found = summed(table, weights, tabled.slots[feature.spec.key], None)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    who, train = feature.vocabulary.lookup(given.train["user_id"].to_numpy()), given.train.to_dicts()
    for n, row in enumerate(train):
        others = [k for k, e in enumerate(train) if e["item_id"] == row["item_id"]]
        if bag.as_of == "row":
            others = [k for k in others if train[k]["timestamp"] < row["timestamp"]]
        else:
            others = [k for k in others if who[k] != who[n]]
        expected_slots = {int(who[k]) for k in others}
        found_slots = set(slots[n][slots[n] >= 0].tolist())
        assert found_slots <= expected_slots and len(found_slots) == min(bag.length, len(expected_slots))
