"""A whole run: what it leaves, that it repeats, what it may look at; nothing is left where it fails."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest

import shortlist as sl
from shortlist.api import fitting
from shortlist.api.evaluating import evaluate_bundle
from shortlist.api.fitting import fit
from shortlist.api.sources import read_data, split_data
from shortlist.errors import DataError, MissingExtra, RecipeError, ShortlistError
from shortlist.recipes import run as running
from shortlist.recipes.run import RunResult, find_outline, find_recipe, resolve, run, shipped_recipes
from shortlist.specs.models import MultiTask, Ranker, TwoTower
from shortlist.specs.recipe import DataSource, Evaluation, Outline, Recipe, read_recipe

Make = Callable[..., Recipe]
Listed = Callable[[Path], dict[str, bytes]]
USER = {"features": [{"kind": "id", "column": "user_id", "dim": 4}]}
ITEM = {"features": [{"kind": "id", "column": "item_id", "dim": 4}]}
TWO_TOWER = {"kind": "two-tower", "query": USER, "candidate": ITEM}
RANKER = {
    "kind": "ranker",
    "query": USER,
    "candidate": ITEM,
    "tasks": [{"kind": "rating", "hidden": [4]}],
}


def figures(result: RunResult) -> dict[str, Any]:
    return {entry["name"]: entry["figures"] for entry in result.report.to_dict()["entries"]}


def files(result: RunResult) -> dict[str, Any]:
    """Size and checksum of every file of the bundle."""
    found: dict[str, Any] = json.loads((result.bundle / "manifest.json").read_text())["files"]
    return found


def weight(result: RunResult) -> float:
    return sl.load(result.bundle).utility.rating_weight


def test_a_run_leaves_its_whole_directory(first: RunResult, make: Make) -> None:
    names = {"recipe.toml", "metrics.jsonl", "report.txt", "report.json", "report.html", "bundle"}
    assert {p.name for p in first.output.iterdir()} == names
    assert [p.name for p in first.output.parent.iterdir()] == ["first"]
    assert first.bundle == first.output / "bundle"
    assert set(first.seconds) == {"data", "choose", "fit", "evaluate", "export"}
    assert read_recipe(first.output / "recipe.toml") == make(evaluation={"baselines": True})


def test_metrics_are_a_line_an_epoch_then_the_seconds(first: RunResult) -> None:
    lines = [json.loads(line) for line in (first.output / "metrics.jsonl").read_text().splitlines()]
    *epochs, last = lines
    tables = [line for line in epochs if "tables" in line]
    assert [line["stage"] for line in tables] == ["choosing", "training"]
    assert all("the whole table updated" in told for line in tables for told in line["tables"])
    epochs = [line for line in epochs if line not in tables]
    stages = [(line["stage"], line["epoch"]) for line in epochs]
    assert stages == [("choosing", 1), ("choosing", 2), ("training", 1), ("training", 2)]
    losses = {"loss of retrieval", "loss of rating"}
    judged = {"validation ndcg@10", "validation rmse of rating"}
    for line in epochs:
        expected = losses | (judged if line["stage"] == "choosing" else set())
        assert set(line) == {"stage", "epoch", "examples_per_second"} | expected
        assert line["examples_per_second"] > 0
    assert {"data", "fit", "fit_compile", "fit_fit_cpu"} <= set(last["seconds"])


def test_the_report_is_written_three_times_the_same(first: RunResult) -> None:
    report = first.report
    assert (first.output / "report.txt").read_text() == f"{report}\n"
    assert json.loads((first.output / "report.json").read_text()) == report.to_dict()
    page = (first.output / "report.html").read_text()
    assert page.startswith("<!") and "<svg" in page and "shop" in page
    names = [entry.name for entry in report.entries]
    assert {"popular", "item-kNN", "EASE", "iALS", "Shortlist"} <= set(names), names
    assert "retrieval only" in report.stages
    assert set(report.history) >= {"loss of retrieval", "loss of rating", "validation ndcg@10"}
    assert report.protocol["data"] == "events" and report.protocol["seed"] == 42


def test_the_bundle_loads_and_tells_where_it_came_from(first: RunResult, make: Make) -> None:
    recommender = sl.load(first.bundle)
    assert len(recommender.recommend({"user_id": "u4"}, k=5)) == 5
    told = recommender.provenance
    assert Recipe.from_dict(told["recipe"]) == make(evaluation={"baselines": True})
    assert told["split"]["rows"] == {"train": 259, "validation": 29, "test": 72}
    named = {entry["name"]: entry["figures"] for entry in told["metrics"]}
    assert named["Shortlist"] == figures(first)["Shortlist"]


def test_the_kept_model_learned_from_validation_rows_too(first: RunResult, make: Make) -> None:
    recipe = make()
    split = split_data(recipe, read_data(recipe))
    assert (split.train.height, split.validation.height) == (259, 29)
    users = sl.load(first.bundle).users
    seen = users.seen.mask(users.indices(split.validation["user_id"].to_list()), 40)
    positions = [split.items["item_id"].to_list().index(i) for i in split.validation["item_id"]]
    assert seen[np.arange(len(seen)), positions].all()


def test_same_seed_same_run(first: RunResult, make: Make, tmp_path: Path) -> None:
    again = run(make(evaluation={"baselines": True}), tmp_path / "again")
    assert figures(again) == figures(first)
    assert again.report.to_dict()["history"] == first.report.to_dict()["history"]
    vectors = [sl.load(result.bundle).item_vectors for result in (first, again)]
    assert vectors[0] is not None and vectors[0].tobytes() == np.asarray(vectors[1]).tobytes()
    assert files(again) == files(first)
    other = run(make(training={"seed": 43}), tmp_path / "other")
    assert figures(other)["Shortlist"] != figures(first)["Shortlist"]


def test_test_rows_choose_nothing(first: RunResult, make: Make, shop: Path, tmp_path: Path) -> None:
    """Other labels and items in the test rows: another report, the same weight, the same bytes of model."""
    events = pl.read_csv(shop / "events.csv")
    test = np.random.default_rng(42).permutation(events.height)[round(events.height * 0.8) :]
    shuffled = np.random.default_rng(1).permutation(test)
    changed = {}
    for name in ("item_id", "rating"):
        values = events[name].to_numpy().copy()
        values[test] = events[name].to_numpy()[shuffled]
        changed[name] = pl.Series(name, values.tolist())
    events.with_columns(**changed).write_csv(tmp_path / "events.csv")
    result = run(make(data={"interactions": str(tmp_path / "events.csv")}), tmp_path / "run")
    assert figures(result)["Shortlist"] != figures(first)["Shortlist"]
    assert weight(result) == weight(first)
    model = files(first) | {"MODEL_CARD.md": files(result)["MODEL_CARD.md"]}  # the card tells the figures
    assert files(result) == model


def test_validation_rows_choose_the_weight(make: Make, tmp_path: Path) -> None:
    """Where the retrieved order is ruined by a weight, the chosen one is not that."""
    given = run(make(serving={"rating_weight": 0.7}), tmp_path / "given")
    assert weight(given) == 0.7
    chosen = run(make(serving={"weights": [0.0, 1e6]}), tmp_path / "chosen")
    assert weight(chosen) in (0.0, 1e6)
    recipe = make()
    split = split_data(recipe, read_data(recipe))
    fitted = fit(recipe.model, split, training=recipe.training)
    order = {w: _liked_ndcg(fitted.recommender(rating_weight=w), split, 5) for w in (0.0, 1e6)}
    assert order[0.0] != order[1e6]
    assert weight(chosen) == max(order, key=lambda w: order[w])


def _liked_ndcg(recommender: sl.Recommender, split: sl.Split, k: int) -> float:
    """NDCG@k of liked validation rows, from nothing but the slates people would see."""
    threshold = float(pl.concat([split.train, split.validation])["rating"].mean())  # type: ignore[arg-type]
    liked = split.validation.filter(pl.col("rating") >= threshold)
    gains = []
    for (user,), rows in liked.group_by("user_id"):
        wanted = set(rows["item_id"])
        ids = recommender.recommend({"user_id": user}, k=10)["item_id"][:k].tolist()
        got = sum(1 / np.log2(2 + place) for place, item in enumerate(ids) if item in wanted)
        gains.append(got / sum(1 / np.log2(2 + place) for place in range(min(k, len(wanted)))))
    return float(np.mean(gains))


def test_patience_keeps_the_best_epoch_for_the_last_fit(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.5, 0.4, 0.9])
    monkeypatch.setattr(
        fitting.Judge, "__call__", lambda self, params: (score := next(scores), {"validation x": score})
    )
    result = run(make(training={"epochs": 3, "patience": 1}), tmp_path / "run")
    lines = [json.loads(line) for line in (result.output / "metrics.jsonl").read_text().splitlines()]
    assert [(x["stage"], x["epoch"]) for x in lines if "epoch" in x] == [
        ("choosing", 1),
        ("choosing", 2),
        ("training", 1),
    ]
    assert result.report.history["validation x"] == (0.5, 0.4)


def test_patience_without_validation_rows_is_refused(make: Make, tmp_path: Path) -> None:
    recipe = make(training={"patience": 2}, split={"validation": 0.0})
    with pytest.raises(ShortlistError, match="patience needs validation rows"):
        run(recipe, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


# What is in the way


def test_a_run_that_is_there_stays(first: RunResult, make: Make, listed: Listed) -> None:
    before = listed(first.output)
    with pytest.raises(RecipeError, match="exists already") as caught:
        run(make(), first.output)
    assert "--force" in caught.value.hint
    assert listed(first.output) == before


@pytest.mark.parametrize("force", [False, True])
def test_what_is_no_run_is_never_replaced(make: Make, tmp_path: Path, listed: Listed, force: bool) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.jpg").write_bytes(b"me")
    (tmp_path / "notes.txt").write_text("mine")
    for name in ("photos", "notes.txt"):
        with pytest.raises(RecipeError, match=r"exists already|not a run directory"):
            run(make(), tmp_path / name, force=force)
    assert listed(tmp_path) == {"photos/me.jpg": b"me", "notes.txt": b"mine"}


def test_force_replaces_a_run(first: RunResult, make: Make, tmp_path: Path) -> None:
    output = tmp_path / "deep" / "run"
    shutil.copytree(first.output, output)
    (output / "report.txt").write_text("old")
    again = run(make(), output, force=True)
    assert (output / "report.txt").read_text() == f"{again.report}\n"
    assert [p.name for p in output.parent.iterdir()] == ["run"]


@pytest.mark.parametrize("stage", ["read_data", "fit", "evaluate", "_write_metrics", "_write_report"])
def test_a_run_that_fails_leaves_nothing_new(
    make: Make, first: RunResult, tmp_path: Path, listed: Listed, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    def fails(*given: Any, **options: Any) -> Any:
        raise DataError("on purpose")

    before = listed(first.output)
    monkeypatch.setattr(running, stage, fails)
    with pytest.raises(DataError, match="on purpose"):
        run(make(), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError, match="on purpose"):
        run(make(), first.output, force=True)
    assert listed(first.output) == before
    assert [p.name for p in first.output.parent.iterdir()] == ["first"]


def test_an_old_run_comes_back_when_the_new_one_cannot_take_its_place(
    make: Make, first: RunResult, listed: Listed, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, replace = listed(first.output), os.replace

    def fails(source: Any, target: Any) -> None:
        if Path(source).name == "new":
            raise OSError("no room")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError, match="no room"):
        run(make(), first.output, force=True)
    monkeypatch.undo()
    assert listed(first.output) == before


# Other divisions, other tables, other models


@pytest.mark.parametrize(
    ("rule", "validation", "rows"),
    [
        ("random=80%", 0.1, (288, 72)),
        ("time=80%", 0.1, (288, 72)),
        ("hold_last=1", 0.1, (330, 30)),
        ("hold_last=1", 0.0, (330, 30)),
        ("hold_last=1,validation=no", 0.1, (330, 30)),
        ("random=80%,validation=no", 0.1, (288, 72)),
        ("random=80%,validation=20%", 0.1, (288, 72)),
    ],
)
def test_rules_of_the_recipe(make: Make, rule: str, validation: float, rows: tuple[int, int]) -> None:
    recipe = make(split={"rule": rule, "validation": validation})
    split = split_data(recipe, read_data(recipe))
    assert (split.refit().train.height, split.test.height) == rows
    held = {"hold_last=1": 30 if validation else 0, "random=80%,validation=20%": 58}
    wanted = 0 if "validation=no" in rule else held.get(rule, 29)
    assert split.validation.height == wanted


@pytest.mark.parametrize(("rule", "validation"), [("time=80%", 0.1), ("hold_last=1", 0.0)])
def test_runs_by_time(make: Make, tmp_path: Path, rule: str, validation: float) -> None:
    result = run(make(split={"rule": rule, "validation": validation}), tmp_path / "run")
    assert str(result.report.protocol["split"]).startswith(rule)
    assert "seed" not in result.report.protocol
    assert sl.load(result.bundle).provenance["split"]["rule"].startswith(rule)
    assert (result.output / "report.html").is_file()


def test_neither_ratings_nor_times_nor_users(make: Make, shop: Path, tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    pl.read_csv(shop / "events.csv").select("user_id", "item_id").write_csv(path)
    data = {"interactions": str(path), "users": "", "items": ""}
    recipe = make(data=data, model=TWO_TOWER, evaluation={"baselines": True}, split={"validation": 0.0})
    result = run(recipe, tmp_path / "run")
    names = {entry.name for entry in result.report.entries}
    assert {"popular", "EASE", "Shortlist"} <= names
    assert [(skip.name, "timestamps" in skip.reason) for skip in result.report.skipped] == [
        ("recent popular", True)
    ]
    assert not any("rmse" in entry.figures for entry in result.report.entries)
    recommender = sl.load(result.bundle)
    slate = recommender.recommend("u3", k=4)
    assert len(slate) == 4 and set(slate["source"]) == {"retrieval"} and "rating" not in slate.columns
    assert set(recommender.score({"user_id": "u3", "item_id": "i3"}).columns) == {
        "user_id",
        "item_id",
        "log_p",
    }
    with pytest.raises(DataError, match="timestamp"):
        run(make(data=data, model=TWO_TOWER, split={"rule": "time=80%"}), tmp_path / "timed")


def test_a_ranker_alone(make: Make, tmp_path: Path) -> None:
    result = run(make(model=RANKER, split={"validation": 0.0}), tmp_path / "run")
    (entry,) = result.report.entries
    assert set(entry.figures) == {"rmse", "mae"}
    assert result.report.headline == ("rmse",)
    assert not result.report.stages
    slate = sl.load(result.bundle).recommend("u3", k=4)
    assert len(slate) == 4
    np.testing.assert_allclose(slate["score"], slate["rating"], rtol=1e-6)


def test_features_of_users_and_items_come_from_their_tables(make: Make, tmp_path: Path) -> None:
    model = {
        "kind": "two-tower",
        "query": {"out": 4, "features": [*USER["features"], {"kind": "normalize", "column": "age"}]},
        "candidate": {
            "out": 4,
            "features": [*ITEM["features"], {"kind": "text", "column": "title", "dim": 4}],
        },
    }
    result = run(make(model=model, split={"validation": 0.0}), tmp_path / "run")
    recommender = sl.load(result.bundle)
    assert recommender.schema.query == {"user_id": "string", "age": "int"}
    stored = recommender.query_vectors({"user_id": "u3"})
    np.testing.assert_array_equal(stored, recommender.query_vectors({"user_id": "u3", "age": 23}))
    assert not np.array_equal(stored, recommender.query_vectors({"user_id": "u3", "age": 90}))


# Finding recipes


def test_recipes_are_found_by_name_or_path(first: RunResult) -> None:
    assert "ml100k-joint" in shipped_recipes()
    for name in shipped_recipes():
        assert find_outline(name).name == name
    assert isinstance(find_outline("ml100k-joint"), Recipe)
    assert find_recipe(first.output / "recipe.toml").name == "shop"
    with pytest.raises(RecipeError, match="no recipe 'ml100k-jont'") as caught:
        find_recipe("ml100k-jont")
    assert "did you mean 'ml100k-joint'" in caught.value.hint


# Recipes that infer their model


@pytest.mark.parametrize(
    ("goal", "kind", "rule"),
    [
        ("rating", Ranker, "random=80%"),
        ("retrieval", TwoTower, "hold_last=1"),
        ("two-stage", MultiTask, "hold_last=1"),
    ],
)
def test_a_recipe_by_goal_is_filled_from_the_tables(goal: str, kind: type, rule: str, shop: Path) -> None:
    outline = find_outline(goal)
    assert isinstance(outline, Outline) and outline.model.goal == goal
    with pytest.raises(RecipeError, match="names no data") as caught:
        resolve(outline)
    assert "--interactions" in caught.value.hint
    with pytest.raises(RecipeError, match="infers its model"):
        find_recipe(goal)
    resolved = resolve(filled(outline, shop, {"epochs": 2}))
    assert isinstance(resolved.recipe.model, kind)
    assert (resolved.recipe.split.rule, resolved.recipe.training.epochs) == (rule, 2)
    assert any(reason.startswith("items.title: Text") for reason in resolved.reasons)
    assert resolve(resolved.recipe).recipe == resolved.recipe


def filled(outline: Recipe | Outline, shop: Path, training: dict[str, Any]) -> Outline:
    assert isinstance(outline, Outline)
    data = DataSource(interactions=str(shop / "events.csv"), items=str(shop / "items.csv"))
    brief = Evaluation(k=(5,), baselines=False, resamples=20)
    return msgspec.structs.replace(outline, data=data, training=training, evaluation=brief)


def test_a_run_keeps_the_recipe_that_was_inferred(shop: Path, tmp_path: Path) -> None:
    outline = filled(find_outline("rating"), shop, {"epochs": 2, "patience": 0, "members": 1})
    result = run(outline, tmp_path / "run")
    resolved = resolve(outline)
    kept = read_recipe(result.output / "recipe.toml")
    assert kept == resolved.recipe and isinstance(kept.model, Ranker)
    assert (result.output / "inferred.txt").read_text().splitlines() == list(resolved.reasons)
    told = sl.load(result.bundle).provenance
    assert Recipe.from_dict(told["recipe"]) == kept
    assert told["inferred"] == list(resolved.reasons)


def test_what_serves_may_have_learned_from_all_rows(make: Make, tmp_path: Path) -> None:
    """The report is that of the model that did not see the test rows; the bundle says what it saw."""
    plain = run(make(), tmp_path / "plain")
    whole = run(make(serving={"all_rows": True}), tmp_path / "whole")
    assert figures(plain) == figures(whole)
    one, other = sl.load(plain.bundle), sl.load(whole.bundle)
    data = read_data(make())
    assert len(other.users.vocabulary) == data.interactions["user_id"].n_unique()
    pairs = data.interactions.select("user_id", "item_id").unique().height
    assert len(one.users.seen.indices) < len(other.users.seen.indices) == pairs
    judged = evaluate_bundle(whole.bundle, baselines=False)
    assert "the model was trained on all rows" in judged.protocol["leaks"]
    assert "trained on all rows" not in evaluate_bundle(plain.bundle, baselines=False).protocol["leaks"]


def test_a_listener_is_told_what_happens(make: Make, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    run(make(evaluation={"baselines": True}), tmp_path / "run", tell=lambda *x: told.append(x))
    stages = [stage.split(":")[0] for stage, _, _ in told]
    assert list(dict.fromkeys(stages))[:3] == ["reading data", "choosing", "training"]
    assert "EASE" in stages and stages[-2:] == ["writing the bundle", "done"]
    assert all(0 <= done <= total for _, done, total in told)


def test_an_approximate_index_is_asked_for_before_anything_is_fitted(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    told: list[str] = []
    with pytest.raises(MissingExtra, match="faiss-cpu"):
        run(make(serving={"index": "ann"}), tmp_path / "out", tell=lambda stage, *_: told.append(stage))
    assert told == ["reading data"]
