"""The rows of the table of accuracy: what they may see, what changes change, the form of what is told."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest

from shortlist.data.dataset import Dataset
from shortlist.data.splits import Split
from shortlist.errors import DataError
from shortlist.evaluation.metrics import user_ndcg
from shortlist.evaluation.rows import Predictions
from shortlist.models.build import build
from shortlist.recipes import accuracy
from shortlist.recipes.accuracy import (
    PEERS,
    ROWS,
    Row,
    Task,
    baseline_figures,
    in_order,
    random_split,
    reproduce_rows,
    shipped,
)
from shortlist.recipes.measures import baselines_on, users_measured
from shortlist.recipes.variants import (
    CLOCK,
    as_of,
    linear,
    training,
    without_aggregates,
    without_time,
    without_user_ids,
)
from shortlist.specs.aggregates import Aggregate, Context, Process
from shortlist.specs.features import OfPast
from shortlist.specs.models import Model
from shortlist.specs.recipe import Recipe

NAMES = [
    "rating-one",
    "rating-ensemble",
    "rating-timeless",
    "rating-causal",
    "retrieval-earlier",
    "retrieval-nearest",
    "retrieval-ids",
    "joint",
    "joint-causal",
    "leave-last",
    "temporal-rolling",
    "temporal-static",
    "temporal-rating",
    "split-seeds",
]
FUTURE = {"rating-one", "rating-ensemble", "rating-timeless", "retrieval-nearest", "joint", "temporal-rating"}
"""Rows whose inputs are leave-one-out; of split-seeds that is the first."""
BY_NAME = {row.name: row for row in ROWS}
TASKS = [pytest.param(row, task, id=f"{row.name}-{k}") for row in ROWS for k, task in enumerate(row.tasks)]
RECIPES = ("ml100k-rating", "ml100k-retrieval", "ml100k-joint", "ml100k-ids")


def model_of(recipe: Recipe) -> Model:
    assert isinstance(recipe.model, Model)
    return recipe.model


def features(model: Model) -> list[Any]:
    return [*model.features("query"), *model.features("candidate")]


def aggregates(model: Model) -> list[Any]:
    return [a for head in model.heads for a in head.aggregates]


# Rows


def test_the_rows_in_order() -> None:
    assert [row.name for row in ROWS] == NAMES
    for name, metrics in PEERS.items():
        assert metrics.keys() <= {told for task in BY_NAME[name].tasks for told in task.figures}


@pytest.mark.parametrize(("row", "task"), TASKS)
def test_every_changed_recipe_builds_and_is_a_recipe(row: Row, task: Task) -> None:
    recipe = task.recipe_as_changed
    assert Recipe.from_toml(recipe.to_toml()) == recipe
    model = model_of(recipe)
    widths = {head.name: len(head.aggregates) for head in model.heads if head.aggregates}
    net, tables = build(model, defaultdict(lambda: 3), means={}, seed=0, aggregates=widths)
    assert net.spec == model and tables
    assert task.figures, "it is measured by something"


@pytest.mark.parametrize(("row", "task"), TASKS)
def test_who_sees_the_future(row: Row, task: Task) -> None:
    expected = row.name in FUTURE or (row.name == "split-seeds" and task.recipe == "ml100k-rating")
    assert model_of(task.recipe_as_changed).sees_future is expected


def test_shipped_recipes_that_see_the_future() -> None:
    assert {name for name in RECIPES if model_of(shipped(name)).sees_future} == {"ml100k-rating"}


def test_retrieval_of_the_joint_row_sees_nothing_later() -> None:
    """Leave-one-out inputs of its rating leave those of its retrieval strictly earlier."""
    model = model_of(BY_NAME["joint"].tasks[0].recipe_as_changed)
    towers = [f.as_of for f in (*model.query.features, *model.candidate.features) if isinstance(f, OfPast)]
    assert towers and set(towers) == {"row"}
    assert model.retrieval is not None and model.retrieval.seen == "row"
    (head,) = model.heads
    assert {f.as_of for f in (*head.query, *head.candidate) if isinstance(f, OfPast)} == {"leave-one-out"}
    assert {a.as_of for a in head.aggregates} == {"leave-one-out"}


RANDOM, LAST, TIME = "random", "last", "time"
PINNED: dict[str, tuple[str, list[tuple[str, dict[str, Any]]]]] = {
    "rating-one": (RANDOM, [("ml100k-rating", {})]),
    "rating-ensemble": (RANDOM, [("ml100k-rating", {"members": 5})]),
    "rating-timeless": (RANDOM, [("ml100k-rating", {})]),
    "rating-causal": (RANDOM, [("ml100k-rating", {"epochs": 10}), ("ml100k-rating", {"epochs": 10})]),
    "retrieval-earlier": (RANDOM, [("ml100k-retrieval", {})]),
    "retrieval-nearest": (RANDOM, [("ml100k-retrieval", {})]),
    "retrieval-ids": (RANDOM, [("ml100k-ids", {})]),
    "joint": (RANDOM, [("ml100k-joint", {})]),
    "joint-causal": (RANDOM, [("ml100k-joint", {})]),
    "leave-last": (LAST, [("ml100k-retrieval", {"members": 3})]),
    "temporal-rolling": (TIME, [("ml100k-retrieval", {"members": 3})]),
    "temporal-static": (TIME, [("ml100k-retrieval", {"half_life": 20.0})]),
    "temporal-rating": (TIME, [("ml100k-rating", {"new_users": 0.3})]),
    "split-seeds": (RANDOM, [("ml100k-rating", {}), ("ml100k-retrieval", {})]),
}
"""How each row divides its data; of each of its models the recipe and what is changed of its training."""


@pytest.mark.parametrize("name", NAMES)
def test_what_each_row_changes_of_training(name: str) -> None:
    found = []
    for task in BY_NAME[name].tasks:
        before, after = (
            msgspec.to_builtins(r.training) for r in (shipped(task.recipe), task.recipe_as_changed)
        )
        found.append((task.recipe, {key: value for key, value in after.items() if value != before.get(key)}))
        assert before.keys() <= after.keys()
    assert found == PINNED[name][1]


@pytest.mark.parametrize("name", NAMES)
def test_how_each_row_divides_its_data(name: str, tiny: Dataset) -> None:
    row, rows = BY_NAME[name], tiny.interactions
    assert row.split_seeds == ((42, 43, 44) if name == "split-seeds" else (42,))
    split = row.split(tiny, row.split_seeds[-1])
    assert split.validation.height == 0 and split.train.height + split.test.height == rows.height
    if PINNED[name][0] == RANDOM:
        order = np.random.default_rng(row.split_seeds[-1]).permutation(rows.height)
        kept = round(0.8 * rows.height)
        assert split.train.equals(rows[order[:kept]]) and split.test.equals(rows[order[kept:]])
    elif PINNED[name][0] == LAST:
        assert split.test["user_id"].is_unique().all() and split.test.height == rows["user_id"].n_unique()
    else:
        times = sorted(rows["timestamp"].to_list())
        boundary = times[-round(0.2 * rows.height)]
        assert split.test["timestamp"].min() == boundary
        assert split.test.height == sum(time >= boundary for time in times)


# Changes


def texts(value: Any) -> Iterator[str]:
    """Every text in a plain value, keys aside."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for one in value:
            yield from texts(one)
    elif isinstance(value, str):
        yield value


@pytest.mark.parametrize("name", RECIPES)
def test_without_user_ids_nothing_is_kept_of_one_user(name: str) -> None:
    before, after = (model_of(r) for r in (shipped(name), without_user_ids()(shipped(name))))
    of_users = [f for f in features(before) if f.column == "user_id"]
    assert bool(of_users) == (name != "ml100k-retrieval")
    assert [f for f in features(after) if f.column == "user_id"] == [
        f for f in of_users if f in before.features("candidate")
    ], "only who else had an item is told by user"


@pytest.mark.parametrize("name", RECIPES)
def test_without_time_nothing_reads_a_clock(name: str) -> None:
    before, after = (model_of(r) for r in (shipped(name), without_time()(shipped(name))))
    assert not {f.column for f in features(after)} & {*CLOCK}
    told = aggregates(after)
    assert not [a for a in told if isinstance(a, Context) and a.what != "column"]
    assert not [a for a in told if isinstance(a, Aggregate) and (a.window or a.last)]
    assert not [a for a in told if isinstance(a, Process) and a.time]
    assert not {"timestamp", "past_gap", "gap", "hour_sine", "time"} & set(texts(after.to_dict()))
    counted = [len(features(m)) + len(aggregates(m)) for m in (before, after)]
    assert counted[0] > counted[1] > 0


def test_without_time_stops_the_clock_of_a_process() -> None:
    def with_process(recipe: Recipe) -> Recipe:
        (head,) = recipe.model.heads
        timed = msgspec.structs.replace(head, aggregates=(*head.aggregates, Process()))
        return msgspec.structs.replace(recipe, model=msgspec.structs.replace(recipe.model, tasks=(timed,)))

    changed = without_time()(with_process(shipped("ml100k-rating")))
    (left,) = [a for a in aggregates(model_of(changed)) if isinstance(a, Process)]
    assert Process().time and not left.time


def test_without_aggregates_only_features_are_left() -> None:
    before, after = (
        model_of(r) for r in (shipped("ml100k-rating"), without_aggregates()(shipped("ml100k-rating")))
    )
    assert aggregates(before) and not aggregates(after)
    assert features(before) == features(after)


def test_as_of_reaches_every_input_and_keeps_what_it_cannot_say() -> None:
    both = model_of(as_of("row")(shipped("ml100k-rating")))
    assert {f.as_of for f in features(both) if isinstance(f, OfPast)} == {"row"}
    assert {a.as_of for a in aggregates(both)} == {"row"}
    assert not [a for a in aggregates(both) if isinstance(a, Aggregate) and 0 < a.window < 1]
    joint = shipped("ml100k-joint")
    assert as_of("leave-one-out", retrieval=False, ratings=False)(joint) == joint


def test_linear_heads_and_other_training() -> None:
    recipe = linear()(training(epochs=3, members=2)(shipped("ml100k-joint")))
    assert [(head.hidden, head.dropout) for head in model_of(recipe).heads] == [((), 0.0)]
    assert (recipe.training.epochs, recipe.training.members) == (3, 2)


# Running


@pytest.fixture(scope="module")
def tiny(small_data: Dataset) -> Dataset:
    """Sixty users of MovieLens."""
    users = small_data.users[:60]
    kept = pl.col("user_id").is_in(users["user_id"].to_list())
    return Dataset(small_data.interactions.filter(kept), users, small_data.items, "tiny")


@pytest.fixture
def baselines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Baselines take a while: here they are answered at once; on which splits."""
    asked: list[str] = []

    def figures(split: Split) -> dict[str, Any]:
        asked.append(split.rule)
        return {
            "top100_raw": {"name": "raw's", "value": 0.5},
            "user ndcg10": {"name": "users'", "value": 0.1},
        }

    monkeypatch.setattr(accuracy, "baseline_figures", figures)
    return asked


def quick(name: str) -> Row:
    """A row with the recipe that trains fastest, and not for long."""
    row = BY_NAME[name]
    short = training(epochs=1)
    tasks = tuple(replace(t, recipe="ml100k-ids", changes=(*t.changes, short)) for t in row.tasks)
    return replace(row, tasks=tasks)


@pytest.mark.slow
def test_rows_tell_means_and_deviations_over_seeds(tiny: Dataset, baselines: list[str]) -> None:
    told: list[tuple[str, int, int]] = []
    found = reproduce_rows(
        map(quick, NAMES),
        names=["retrieval-ids", "temporal-static"],
        seeds=2,
        data=tiny,
        tell=lambda *words: told.append(words),
    )
    assert json.loads(json.dumps(found)) == found
    assert [row["row"] for row in found] == ["retrieval-ids", "temporal-static"]
    for row in found:
        assert {"row", "metrics", "fit_seconds", "seeds"} <= row.keys()
        assert row["seeds"] == [42, 43] and row["fit_seconds"] > 0
        assert set(row["metrics"]) == set(BY_NAME[row["row"]].tasks[0].figures)
        for name, figure in row["metrics"].items():
            assert set(figure) == {"mean", "std"}
            least = -1 if name.startswith("ndcg10_lead") else 0
            assert least < figure["mean"] < 1 and 0 <= figure["std"] < 0.1
    assert any(figure["std"] > 0 for row in found for figure in row["metrics"].values())
    assert found[0]["baselines"] == {"top100_raw": {"name": "raw's", "value": 0.5}}
    assert found[1]["baselines"] == {"ndcg10": {"name": "users'", "value": 0.1}}
    assert len(baselines) == 2
    assert found[1]["said"] == "rows count half as much as rows twenty days later"
    assert [words[1:] for words in told] == [(k, 4) for k in range(4)]


def test_a_row_of_several_splits_has_one_model_seed(
    tiny: Dataset, baselines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[tuple[int | None, int]] = []

    class Answer:
        seconds = {"fit_cpu": 1.5, "prepare_cpu": 0.25, "compile": 8.0}  # noqa: RUF012

    def fitted(self: Task, split: Any, seed: int) -> Any:
        runs.append((split.seed, seed))
        return Answer()

    monkeypatch.setattr(Task, "fitted", fitted)
    values = iter([1.0, 2.0, 6.0])
    row = replace(
        BY_NAME["split-seeds"],
        tasks=(Task("ml100k-ids", (), {"shown": "rmse"}),),
        measure=lambda fitted, split: {"rmse": next(values), "hidden": 0.0},
    )
    (found,) = reproduce_rows([row], seeds=5, data=tiny)
    assert runs == [(42, 42), (43, 42), (44, 42)]
    assert found["metrics"] == {"shown": {"mean": 3.0, "std": pytest.approx(np.sqrt(7.0))}}
    assert found["fit_seconds"] == 1.75 and len(baselines) == 3


def test_rows_that_see_the_future_say_so(tiny: Dataset) -> None:
    for row in ROWS:
        future = any(model_of(task.recipe_as_changed).sees_future for task in row.tasks)
        assert ("sees the future" in accuracy._said(row)) is future, row.name


def test_the_best_baseline_of_each_metric(tiny: Dataset) -> None:
    found = baseline_figures(random_split(tiny, 42))
    of_users = {f"user {name}" for name in ("recall10", "ndcg10", "ndcg10_warm")}
    assert set(found) == {"top100_raw", "top100_filtered", "hr10", "ndcg10", "rmse", "rmse_warm"} | of_users
    assert found["top100_filtered"]["value"] > 100 / tiny.items.height
    assert 0.5 < found["rmse"]["value"] < random_split(tiny, 42).test["rating"].std()
    assert found["user ndcg10"] == found["user ndcg10_warm"], "every user is known"


@pytest.mark.slow
def test_how_far_a_model_leads_is_paired(tiny: Dataset) -> None:
    split = BY_NAME["temporal-static"].split(tiny, 42)
    fitted = quick("temporal-static").tasks[0].fitted(split, 42)
    found = users_measured(fitted, split)
    (popular,), rows = baselines_on(split, only=("recent popular",))
    assert isinstance(popular, Predictions) and popular.ranks is not None
    theirs = np.nanmean(user_ndcg(popular.ranks.filtered, rows.user_keys, rows.num_users, 10))
    assert found["ndcg10_lead"] == pytest.approx(found["ndcg10"] - theirs)
    assert found["ndcg10_lead_low"] < found["ndcg10_lead"] < found["ndcg10_lead_high"]


def test_rows_of_one_second_follow_in_the_order_of_the_file(tiny: Dataset) -> None:
    before, after = tiny.interactions, in_order(tiny).interactions
    assert before.drop("timestamp").equals(after.drop("timestamp"))
    assert after.select("user_id", "timestamp").is_unique().all()
    assert not before.select("user_id", "timestamp").is_unique().all()
    for user in before["user_id"].unique().to_list()[:10]:
        last = -1
        kept = pl.col("user_id") == user
        old, new = before.filter(kept)["timestamp"].to_list(), after.filter(kept)["timestamp"].to_list()
        for row in sorted(range(len(old)), key=lambda row: (old[row], row)):
            last = max(old[row], last + 1)
            assert new[row] == last
    split = BY_NAME["leave-last"].split(tiny, 42)
    last = split.test.join(split.train.group_by("user_id").agg(pl.max("timestamp")), on="user_id")
    assert (last["timestamp"] > last["timestamp_right"]).all()
    assert split.test.height == before["user_id"].n_unique()


def test_a_row_that_is_not_there(tiny: Dataset) -> None:
    with pytest.raises(DataError, match="there is no row 'joint-casual'") as caught:
        reproduce_rows(ROWS, names=["joint-casual"], data=tiny)
    assert "did you mean 'joint-causal'" in caught.value.hint
