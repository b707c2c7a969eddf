"""Row-sparse updates: the same numbers as dense ones, for bags, biases, penalties and repeated ids."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shortlist.features.batches import Catalogue, Examples, log_sampling_probability
from shortlist.models.build import build
from shortlist.specs.features import Category, Id, Tags, Text
from shortlist.specs.models import MultiTask, Ranker, Tower
from shortlist.specs.tasks import Rating, Retrieval
from shortlist.specs.training import Adagrad, Adam, OptimizerSpec, Training
from shortlist.training.loop import Compiled, EpochEnd, train
from shortlist.training.optimizers import added, rule_of, taken
from shortlist.training.tables import SPARSE_FROM, Group, distinct_rows

USERS, ITEMS, WORDS, ROWS = 60, 90, 40, 200
SIZES = {
    "query/user_id.id": USERS + 1,
    "query/likes.tags": WORDS,
    "candidate/item_id.id": ITEMS + 1,
    "candidate/title.text": WORDS,
}


def model(l2: float = 0.0) -> MultiTask:
    """Bags with padding on both sides, biases, dropout of numbers and of ids."""
    return MultiTask(
        Tower([Id("user_id", 4, l2=l2), Tags("likes", 3)], out=4),
        Tower([Id("item_id", 4, dropout=0.2, id_dropout=0.3), Text("title", 99, 4, length=5, l2=l2)], out=4),
        [Retrieval(), Rating(hidden=[3], bias_l2=l2)],
    )


def data() -> tuple[Examples, Catalogue]:
    rng = np.random.default_rng(0)
    users = rng.integers(0, USERS, ROWS).astype(np.int32)
    items = rng.integers(0, ITEMS, ROWS).astype(np.int32)

    def bags(count: int, length: int) -> np.ndarray:
        words = rng.integers(0, WORDS, (count, length)).astype(np.int32)
        return np.where(np.arange(length) < rng.integers(0, length + 1, (count, 1)), words, -1)

    query = {"user_id.id": users + 1, "likes.tags": bags(ROWS, 3)}
    labels = {"rating": rng.integers(1, 6, ROWS).astype(np.float32)}
    examples = Examples(query, items, labels, np.ones(ROWS, np.float32), users)
    features = {"item_id.id": np.arange(1, ITEMS + 1, dtype=np.int32), "title.text": bags(ITEMS, 5)}
    empty = np.zeros(USERS + 1, np.int32)
    return examples, Catalogue(features, log_sampling_probability(items, ITEMS), empty, empty[:1])


@cache
def trained(choice: Any, rule: OptimizerSpec, l2: float = 0.0, epochs: int = 2) -> tuple[Compiled, EpochEnd]:
    examples, catalogue = data()
    course = Training(epochs=epochs, batch_size=16, optimizer=rule, tables=choice)
    net, tables = build(model(l2), SIZES, means={"rating": 3.0}, seed=1)
    weights = {"retrieval": 1.0, "rating": 1.0}
    events = list(train(net, tables, examples, catalogue, course, task_weights=weights))
    assert isinstance(events[0], Compiled) and isinstance(events[-1], EpochEnd)
    return events[0], events[-1]


def test_sparse_adagrad_is_dense_adagrad_everywhere() -> None:
    (_, dense), (_, sparse) = trained("dense", Adagrad(0.1)), trained("sparse", Adagrad(0.1))
    assert dense.losses == sparse.losses
    for name, table in dense.live[1].items():
        np.testing.assert_array_equal(sparse.live[1][name], table, err_msg=name)
    assert "#rating" in " ".join(dense.live[1])  # biases were among them
    assert np.abs(dense.live[1]["candidate/item_id.id"][0]).max() > 1e-3  # dropped ids train the unknown row
    assert not np.any(dense.live[1]["query/user_id.id"][0])


def test_penalties_reach_touched_rows_alike() -> None:
    """Equal but for a rounding: the compiler may contract the penalty's slope, a product, with a sum."""
    (_, dense), (_, sparse) = trained("dense", Adagrad(0.1), 0.1), trained("sparse", Adagrad(0.1), 0.1)
    _, free = trained("dense", Adagrad(0.1))
    for name, table in dense.live[1].items():
        np.testing.assert_allclose(sparse.live[1][name], table, atol=1e-6, err_msg=name)
        assert np.abs(np.asarray(table) - np.asarray(free.live[1][name])).max() > 1e-5


def test_the_choice_goes_by_rows_and_ids_and_is_told() -> None:
    (told, _), (asked, _) = trained("auto", Adagrad(0.1), epochs=1), trained("sparse", Adagrad(0.1))
    assert len(told.choices) == len(asked.choices) == 4
    expected = "query/likes.tags: the whole table updated (40 rows, 48 ids a step; rows alone from 144 rows)"
    assert expected in told.choices
    assert any(line.startswith("query/user_id.id: touched rows only") for line in told.choices)
    assert all("touched rows only" in line and "tables='sparse'" in line for line in asked.choices)


SHARED = {"query/things": WORDS, "candidate/item_id.id": ITEMS + 1}
THINGS = [
    Category("last", 4, table="things"),
    Tags("likes", 4, table="things"),
    Id("best", 4, table="things"),
]
SHARING = Ranker(Tower(THINGS), Tower([Id("item_id", 4)]), [Rating(hidden=[])])


def shared_data() -> tuple[Examples, Catalogue]:
    """Few distinct things, so that features of a row and rows of a batch name the same ones; one bag is
    empty, unknown things are among them."""
    examples, catalogue = data()
    rng = np.random.default_rng(5)
    query = {key: rng.integers(0, WORDS // 2, ROWS).astype(np.int32) for key in ("last.category", "best.id")}
    bags = np.minimum(examples.query["likes.tags"], WORDS // 2)
    assert (bags < 0).all(axis=1).any()
    items = {"item_id.id": catalogue.items["item_id.id"]}
    return replace(examples, query=query | {"likes.tags": bags}), replace(catalogue, items=items)


def test_features_that_share_a_table_are_one_group() -> None:
    examples, catalogue = shared_data()
    told = []
    for choice in ("dense", "sparse"):
        course = Training(epochs=2, batch_size=16, optimizer=Adagrad(0.1), tables=choice)
        made = build(SHARING, SHARED, means={"rating": 3.0}, seed=1)
        told.append(list(train(*made, examples, catalogue, course, task_weights={"rating": 1.0})))
    dense, sparse = (events[-1] for events in told)
    assert isinstance(dense, EpochEnd) and isinstance(sparse, EpochEnd)
    assert set(dense.live[1]) == {*SHARED, *(f"{name}#rating" for name in SHARED)}
    assert dense.losses == sparse.losses
    for name, table in dense.live[1].items():
        np.testing.assert_array_equal(sparse.live[1][name], table, err_msg=name)
    choices = told[1][0].choices
    assert len(choices) == 2
    assert "40 rows, 80 ids a step" in choices[0]  # 16 rows with bags of 3 and two values


@pytest.mark.parametrize("choice", ["dense", "sparse"])
def test_a_step_of_a_shared_table_is_the_slow_obvious_one(choice: Any) -> None:
    """One step of Adagrad in float64: gradients of all readers are added before they are squared."""
    examples, catalogue = shared_data()
    net, tables = build(SHARING, SHARED, means={"rating": 3.0}, seed=1)
    before = {name: np.asarray(table, np.float64) for name, table in tables.items()}
    head = net.heads["rating"].mlp.last
    assert head is not None and head.bias is not None
    w, b = np.asarray(head.weight, np.float64)[:, 0], float(head.bias[0])
    course = Training(epochs=1, batch_size=ROWS, optimizer=Adagrad(0.1), tables=choice)
    *_, ended = train(net, tables, examples, catalogue, course, task_weights={"rating": 1.0})
    assert isinstance(ended, EpochEnd)

    slopes = {name: np.zeros_like(table) for name, table in before.items()}
    things, items = before["query/things"], before["candidate/item_id.id"]
    for row in range(ROWS):
        last, best = (int(examples.query[key][row]) for key in ("last.category", "best.id"))
        bag = [int(t) for t in examples.query["likes.tags"][row] if t >= 0]
        item = int(examples.candidates[row]) + 1
        mean = np.mean([things[t] for t in bag], axis=0) if bag else np.zeros(4)
        # biases are zero before the first step
        score = np.concatenate([things[last], mean, things[best], items[item]]) @ w + b
        slope = 2 * (score - examples.labels["rating"][row]) / ROWS
        slopes["query/things"][last] += slope * w[:4]
        for thing in bag:
            slopes["query/things"][thing] += slope * w[4:8] / len(bag)
            slopes["query/things#rating"][thing] += slope / len(bag)
        slopes["query/things"][best] += slope * w[8:12]
        slopes["candidate/item_id.id"][item] += slope * w[12:]
        for thing in (last, best):
            slopes["query/things#rating"][thing] += slope
        slopes["candidate/item_id.id#rating"][item] += slope
    for name, slope in slopes.items():
        expected = before[name] - 0.1 * slope / np.sqrt(0.1 + slope**2 + 1e-7)
        np.testing.assert_allclose(ended.live[1][name], expected, atol=2e-6, err_msg=name)
        assert np.abs(slope).max() > 1e-3


@pytest.mark.parametrize("spec", [Adagrad(0.1), Adam(0.1)])
def test_from_so_many_rows_an_id_touched_rows_alone_are_updated(spec: OptimizerSpec) -> None:
    least = SPARSE_FROM[type(spec)] * 100
    readers = (("query", "user_id.id"),)
    group, fewer = (Group(("query/user_id.id",), readers, rows, 100) for rows in (least, least - 1))
    auto, dense, sparse = (Training(optimizer=spec, tables=t) for t in ("auto", "dense", "sparse"))
    assert group.sparse(auto) and not group.sparse(dense)
    assert not fewer.sparse(auto) and fewer.sparse(sparse)


owners = jax.jit(distinct_rows, static_argnums=1)  # values are drawn, not shapes: three programs


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-1, 9), min_size=12, max_size=12), st.integers(0, 3))
@example([0], 0)
@example([-1], 1)
def test_every_distinct_id_has_one_owner(ids: list[int], dirt: int) -> None:
    given_ids = jax.device_put(np.asarray(ids, np.int32))
    scratch = jnp.full(10, dirt, jnp.int32)  # whatever an earlier step left there
    owner, place, _ = (np.asarray(x) for x in owners(given_ids, 10, scratch))
    assert sorted(owner[owner < 10]) == sorted({i for i in ids if i >= 0})
    assert len(set(owner.tolist())) == len(owner)  # what scatters claim
    for position, i in enumerate(ids):
        assert (place[position] == -1) if i < 0 else (owner[place[position]] == i)


@pytest.mark.parametrize("spec", [Adagrad(0.1), Adam(0.1, beta1=0.7, beta2=0.9)])
def test_touched_rows_move_as_in_the_dense_form_and_others_rest(spec: OptimizerSpec) -> None:
    rule, rng = rule_of(spec), np.random.default_rng(3)
    start = jax.device_put(np.asarray(rng.normal(size=(7, 3)), np.float32))
    gradient = jax.device_put(np.asarray(rng.normal(size=(4, 3)), np.float32))
    rows = jax.device_put(np.asarray([5, 7 + 1, 0, 3], np.int32))  # the second stands for nothing
    state = tuple(jax.device_put(np.asarray(rng.uniform(0.1, 1, (7, 3)), np.float32)) for _ in rule.start)
    whole = jnp.zeros((7, 3)).at[rows].add(gradient, mode="drop")

    @jax.jit
    def both(start: Any, state: Any) -> Any:
        change, sparse = rule.touched(rows, gradient, state, jnp.float32(0.1), jnp.int32(5))
        dense_change, dense = rule.change(whole, state, jnp.float32(0.1), jnp.int32(5))
        return added(start, rows, change), sparse, start + dense_change, dense

    table, sparse, dense_table, dense = both(start, state)
    real = np.array([5, 0, 3])
    np.testing.assert_array_equal(np.asarray(table)[real], np.asarray(dense_table)[real])
    for mine, other, before in zip(sparse, dense, state, strict=True):
        np.testing.assert_array_equal(np.asarray(mine)[real], np.asarray(other)[real])
        rest = np.setdiff1d(np.arange(7), real)
        np.testing.assert_array_equal(np.asarray(mine)[rest], np.asarray(before)[rest])
    if isinstance(spec, Adagrad):
        np.testing.assert_array_equal(table, dense_table)
    np.testing.assert_array_equal(taken(start, rows)[1], np.zeros(3))


def test_lazy_adam_is_the_slow_obvious_one() -> None:
    """Each row keeps moments of its own, which move only when it is touched; the bias goes by the step."""
    spec = Adam(0.1, beta1=0.6, beta2=0.8)
    rule, rng = rule_of(spec), np.random.default_rng(0)
    table = np.zeros((5, 2))
    m, v = np.zeros_like(table), np.zeros_like(table)
    found, state = jnp.zeros((5, 2)), tuple(jnp.full((5, 2), x) for x in rule.start)
    for step in range(1, 6):
        rows, gradient = rng.permutation(5)[:2], rng.normal(size=(2, 2))
        for r, g in zip(rows, gradient, strict=True):
            m[r], v[r] = 0.6 * m[r] + 0.4 * g, 0.8 * v[r] + 0.2 * g * g
            table[r] -= 0.1 * (m[r] / (1 - 0.6**step)) / (np.sqrt(v[r] / (1 - 0.8**step)) + spec.epsilon)
        at, slope = jax.device_put(rows), jax.device_put(np.asarray(gradient, np.float32))
        change, state = rule.touched(at, slope, state, jnp.float32(0.1), jnp.int32(step))
        found = added(found, at, change)
    np.testing.assert_allclose(found, table, atol=1e-5)


def test_a_column_without_an_item_touches_no_row() -> None:
    """A batch holds fewer distinct items than rows: what fills its columns is no item, also for lazy Adam."""
    examples, catalogue = data()
    examples = Examples(
        examples.query, np.full(ROWS, 7, np.int32), examples.labels, examples.weights, examples.users
    )
    course = Training(epochs=1, batch_size=16, optimizer=Adam(0.1), tables="sparse")
    net, tables = build(model(), SIZES, means={"rating": 3.0}, seed=1)
    start = np.array(tables["candidate/item_id.id"])
    weights = {"retrieval": 1.0, "rating": 1.0}
    *_, end = train(net, tables, examples, catalogue, course, task_weights=weights)
    assert isinstance(end, EpochEnd)
    moved = np.flatnonzero((np.asarray(end.live[1]["candidate/item_id.id"]) != start).any(axis=1))
    assert moved.tolist() == [0, 8]  # the unknown row, for dropped ids, and the item's own
