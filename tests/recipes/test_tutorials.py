"""The tutorials' experiments: declared as they are printed, run, and (slow) landing where they should."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest

import shortlist as sl
from shortlist.data.dataset import Dataset, deduplicate_titles
from shortlist.recipes import tutorials
from shortlist.recipes.run import find_recipe
from shortlist.recipes.tutorials import Experiment, experiments, reproduce

NAMES = (
    "ranking",
    "context-without-time",
    "context-with-time",
    "multitask-rating",
    "multitask-retrieval",
    "multitask-joint",
)
BY_NAME = {experiment.name: experiment for experiment in experiments()}
TIMED = {"context-with-time"}


def printed_tasks(name: str) -> Any:
    return BY_NAME[name].tutorial[0].all_tasks


def test_all_six_in_the_order_of_the_tutorials() -> None:
    assert tuple(BY_NAME) == NAMES
    assert {name: BY_NAME[name].printed for name in NAMES} == {
        "ranking": {"rmse": 1.10},
        "context-without-time": {"top100_raw": 0.21, "top100_raw_train": 0.30},
        "context-with-time": {"top100_raw": 0.25, "top100_raw_train": 0.37},
        "multitask-rating": {"top100_raw": 0.060, "rmse": 1.113},
        "multitask-retrieval": {"top100_raw": 0.233, "rmse": 3.688},
        "multitask-joint": {"top100_raw": 0.235, "rmse": 1.110},
    }


@pytest.mark.parametrize("name", NAMES)
def test_printed_training(name: str) -> None:
    training = BY_NAME[name].tutorial[1]
    assert training == sl.Training(
        epochs=3,
        batch_size=2048 if name.startswith("context") else 8192,
        optimizer=sl.Adagrad(0.1, initial_accumulator=0.1, epsilon=1e-7),
    )
    assert (training.optimizer.schedule, training.optimizer.warmup, training.patience) == ("constant", 0, 0)


@pytest.mark.parametrize("name", NAMES)
def test_printed_towers(name: str) -> None:
    model = BY_NAME[name].tutorial[0]
    user, item = sl.Id("user_id", 32), sl.Id("item_id", 32)
    time = (sl.Bucket("timestamp", 1000, 32), sl.Normalize("timestamp"))
    title = sl.Text("title", 10_000, 32)
    expected = sl.Tower([user]), sl.Tower([item])
    if name.startswith("context"):
        features = [user, *(time if name in TIMED else ())]
        expected = sl.Tower(features, out=32), sl.Tower([item, title], out=32)
    assert (model.query, model.candidate) == expected


def test_printed_tasks() -> None:
    def rating(*hidden: int, weight: float = 1.0) -> sl.Rating:
        return sl.Rating(hidden=hidden, biases=False, weight=weight)

    def retrieval(weight: float = 1.0) -> sl.Retrieval:
        return sl.Retrieval(weight=weight, log_q=False, accidental_hits=False, reduction="sum")

    assert printed_tasks("ranking") == (rating(256, 64),)
    for name in ("context-without-time", "context-with-time"):
        assert printed_tasks(name) == (retrieval(),)
    weights = {"multitask-rating": (1, 0), "multitask-retrieval": (0, 1), "multitask-joint": (1, 1)}
    for name, (on_rating, on_retrieval) in weights.items():
        assert printed_tasks(name) == (retrieval(on_retrieval), rating(256, 128, weight=on_rating))
    for name in NAMES:
        for task in printed_tasks(name):
            if isinstance(task, sl.Rating):
                assert (task.activation, task.interaction, task.dropout, task.l2) == ("relu", "concat", 0, 0)
            else:
                assert (task.loss, task.temperature, task.extra_negatives) == ("in_batch", 1, 0)
                assert (task.known_positives, task.normalize, task.item_bias) == (False, False, False)


@pytest.mark.parametrize("name", NAMES)
def test_shortlist_sees_the_inputs_of_the_tutorials_only(name: str) -> None:
    model = BY_NAME[name].shortlist[0]
    columns = {feature.column for feature in (*model.query.features, *model.candidate.features)}
    assert columns <= {"user_id", "item_id", "title", "timestamp"}
    if name == "context-without-time":
        assert "timestamp" not in columns
    assert {feature.dim for feature in model.query.features if isinstance(feature, sl.Id)} == {32}


def test_the_shipped_recipe_of_ids_is_the_joint_experiment() -> None:
    recipe = find_recipe("ml100k-ids")
    model, training = BY_NAME["multitask-joint"].shortlist
    assert recipe.model == model
    assert recipe.training == training
    assert (recipe.split.rule, recipe.split.seed) == ("random=80%", 42)


def test_titles_make_1664_candidates(ml100k: Dataset) -> None:
    by_title = deduplicate_titles(ml100k)
    assert (ml100k.items.height, by_title.items.height) == (1682, 1664)
    assert by_title.interactions.height == 100_000
    ours, theirs = (sl.splits.random(data, seed=42) for data in (ml100k, by_title))
    for part in ("train", "test"):
        assert getattr(ours, part)["user_id"].equals(getattr(theirs, part)["user_id"])
        assert getattr(ours, part)["timestamp"].equals(getattr(theirs, part)["timestamp"])


def check_form(found: list[dict[str, Any]], names: tuple[str, ...]) -> None:
    assert [row["experiment"] for row in found] == list(names)
    for row in found:
        printed, ours = set(row["printed"]), set(row["printed"]) | {"top100_filtered", "ndcg10_filtered"}
        assert row["printed"] == BY_NAME[row["experiment"]].printed
        assert printed <= set(row["tutorial_recipe"])
        assert set(row["shortlist_recipe"]) == (printed if row["experiment"] == "ranking" else ours)
        assert row["seconds"] > 0 and row["fit_seconds"] > 0
        for part in ("tutorial_recipe", "shortlist_recipe"):
            assert all(math.isfinite(value) and value > 0 for value in row[part].values())


def quick(name: str) -> Experiment:
    """The experiment with one epoch of either recipe."""
    known = BY_NAME[name]
    pairs = [
        (model, msgspec.structs.replace(training, epochs=1))
        for model, training in (known.tutorial, known.shortlist)
    ]
    return Experiment(known.name, known.printed, *pairs, known.predicts)


@pytest.mark.slow
def test_one_experiment_runs_both_ways(small_data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tutorials, "movielens", lambda size: small_data)
    monkeypatch.setattr(tutorials, "experiments", lambda: (quick("multitask-joint"), BY_NAME["ranking"]))
    told: list[tuple[str, int, int]] = []
    found = reproduce(names=("multitask-joint",), tell=lambda *x: told.append(x))
    check_form(found, ("multitask-joint",))
    assert told == [("compiling", 0, 1), ("multitask-joint", 1, 1)]
    (row,) = found
    assert row["shortlist_recipe"]["top100_raw"] < row["shortlist_recipe"]["top100_filtered"]
    assert "spread" not in row
    for part in ("tutorial_recipe", "shortlist_recipe"):
        shown = row["predictions"][part]
        assert shown["user_id"] == "42"
        assert list(shown["ratings"]) == ["Dances with Wolves (1990)"]
        assert shown["largest_difference"] <= 1e-5


def test_spreads_over_seeds_are_of_the_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Means and deviations of what the seeds gave, without fitting anything."""

    class Fitted:
        def __init__(self, seed: int) -> None:
            self.seed, self.seconds = seed, {"fit": float(seed)}

    monkeypatch.setattr(tutorials._Fits, "__call__", lambda self, which, model, training, seed: Fitted(seed))
    monkeypatch.setattr(
        tutorials, "_figures", lambda fitted, experiment: {"rmse": 1.0 + (fitted.seed - 42) / 10}
    )
    monkeypatch.setattr(tutorials, "_predictions", lambda *given: {})
    (row,) = reproduce(3, names=("ranking",))
    assert row["tutorial_recipe"] == row["shortlist_recipe"] == {"rmse": 1.1}
    assert row["spread"]["shortlist_recipe"]["rmse"] == pytest.approx(np.std([1.0, 1.1, 1.2]), abs=1e-4)
    assert row["fit_seconds"] == 43


@pytest.mark.slow
def test_the_six_experiments_land_where_they_should(capsys: pytest.CaptureFixture[str]) -> None:
    found = reproduce()
    check_form(found, NAMES)
    by_name = {row["experiment"]: row for row in found}
    with capsys.disabled():
        for row in found:
            print(f"\n{row['experiment']:<22}", row["tutorial_recipe"], row["shortlist_recipe"], end=" ")
            print(f"{row['seconds']:.1f} s, fit {row['fit_seconds']:.1f} s", end="")

    printed = {name: row["tutorial_recipe"] for name, row in by_name.items()}
    assert 1.08 <= printed["ranking"]["rmse"] <= 1.14
    without, timed = printed["context-without-time"], printed["context-with-time"]
    assert 0.20 <= without["top100_raw"] <= 0.26
    assert timed["top100_raw"] >= without["top100_raw"] + 0.02
    assert without["top100_raw_train"] == pytest.approx(0.30, abs=0.03)
    assert timed["top100_raw_train"] == pytest.approx(0.37, abs=0.03)
    assert printed["multitask-rating"]["top100_raw"] < 0.08
    assert 1.08 <= printed["multitask-rating"]["rmse"] <= 1.15
    assert 0.21 <= printed["multitask-retrieval"]["top100_raw"] <= 0.26
    assert 3.3 <= printed["multitask-retrieval"]["rmse"] <= 3.9
    assert 0.21 <= printed["multitask-joint"]["top100_raw"] <= 0.26
    assert 1.03 <= printed["multitask-joint"]["rmse"] <= 1.18

    ours = {name: row["shortlist_recipe"] for name, row in by_name.items()}
    joint = ours["multitask-joint"]
    assert joint["top100_filtered"] >= 0.61
    assert joint["top100_raw"] >= 0.40
    assert joint["rmse"] <= 0.910
    assert ours["ranking"]["rmse"] <= 0.910
    for name in ("context-without-time", "context-with-time", "multitask-retrieval"):
        assert ours[name]["top100_filtered"] >= 0.61, name
        assert ours[name]["top100_raw"] >= 0.40, name

    for name in ("ranking", "multitask-joint"):
        for part in ("tutorial_recipe", "shortlist_recipe"):
            shown = by_name[name]["predictions"][part]
            assert shown["user_id"] == "42"
            assert shown["largest_difference"] <= 1e-5
            assert "Dances with Wolves (1990)" in shown["ratings"]
    assert len(by_name["ranking"]["predictions"]["tutorial_recipe"]["ratings"]) == 3
