from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shortlist.cli.train import toml_value
from shortlist.errors import RecipeError
from shortlist.recipes.estimating import Estimate, Seconds
from shortlist.recipes.memory import Memory, StageMemory
from shortlist.specs.keys import changed
from shortlist.specs.recipe import read_recipe
from shortlist.training.cost import Cost

Cli = Callable[..., Any]


def test_a_run_leaves_its_whole_folder(trained: tuple[Path, Any], run: Path, tables: Path) -> None:
    names = {"recipe.toml", "metrics.jsonl", "report.json", "report.html", "report.txt", "bundle"}
    assert {p.name for p in run.iterdir()} == names
    assert [p.name for p in run.parent.iterdir()] == ["tiny"]
    said = trained[1]
    assert said.out.strip() == (run / "report.txt").read_text().strip()
    assert said.err == f"wrote {run}; next: shortlist recommend {run} --user ID\n"
    assert read_recipe(run / "recipe.toml") == read_recipe(tables / "tiny.toml")


def test_options_change_the_recipe_that_is_run(cli: Cli, tables: Path, tmp_path: Path) -> None:
    words = ["--epochs", 2, "--seed", 7, "--set", "evaluation.k=[3]", "--quiet", "--json"]
    said = cli("train", tables / "tiny.toml", "-o", tmp_path / "run", *words)
    assert (said.code, said.err) == (0, "")
    recipe = read_recipe(tmp_path / "run" / "recipe.toml")
    assert (recipe.training.epochs, recipe.training.seed, recipe.split.seed) == (2, 7, 42)
    assert said.json["headline"][0] == "filtered ndcg@3 (user)"
    assert said.json["entries"] == json.loads((tmp_path / "run" / "report.json").read_text())["entries"]
    assert said.json["output"] == str(tmp_path / "run")
    assert len(said.json["history"]["loss of rating"]) == 2


def test_what_is_to_be_said_of_an_index_is_a_note(cli: Cli, tables: Path, tmp_path: Path) -> None:
    words = ["train", tables / "tiny.toml", "-o", tmp_path / "run", "--set", "serving.index=ann"]
    said = cli(*words, "--set", "licence=CC0", "--set", "data.licence=ODbL")
    assert said.code == 0, said.err
    assert "approximate index: finds" in said.err
    assert "warning: the item vectors differ in length" in said.err
    manifest = cli("inspect", tmp_path / "run", "--json").json
    assert manifest["index"]["kind"] == "ann"
    assert manifest["licence"] == {"bundle": "CC0", "data": "ODbL"}


def test_a_run_is_replaced_only_when_told(
    cli: Cli, refused: Callable[..., None], tables: Path, run: Path
) -> None:
    before = (run / "bundle" / "manifest.json").read_bytes()
    refused(cli("train", tables / "tiny.toml", "-o", run), "exists already", "--force")
    refused(cli("train", tables / "tiny.toml", "-o", tables, "--force"), "is not replaced")
    assert (run / "bundle" / "manifest.json").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ml100k-jiont"], ["'ml100k-jiont'", "did you mean 'ml100k-joint'"]),
        (["missing.toml"], ["cannot read", "missing.toml"]),
        (["{tiny}", "--set", "training.epoch=3"], ["`epoch`", "$.training", "epochs"]),
        (["{tiny}", "--set", "trainin.epochs=3"], ["'trainin'", "did you mean 'training'"]),
        (["{tiny}", "--set", "training.epochs"], ["KEY=VALUE"]),
        (["{tiny}", "--set", "model.tasks.5.weight=2"], ["'5'", "2 entries"]),
        (["{tiny}", "--epochs", "0"], ["epochs", "above 0"]),
        (["{tiny}", "--set", "data.rating=stars"], ["'stars'", "no column"]),
        (["{tiny}", "--set", "data.interactions=gone.csv"], ["no such file", "gone.csv"]),
        (["{tiny}", "--set", "model.query.features.0.column=usr_id"], ["'usr_id'", "did you mean 'user_id'"]),
        (["{tiny}", "--set", "split.rule=rand=80%"], ["'rand=80%'"]),
        (["{tiny}", "--hold-out", "0.2"], ["--hold-out is of --from"]),
        (["{tiny}", "--replay", "0"], ["--replay is of --from"]),
        (["{tiny}", "--rate", "0.5"], ["--rate is of --from"]),
    ],
)
def test_bad_input_is_refused_and_nothing_written(
    cli: Cli, refused: Callable[..., None], tables: Path, tmp_path: Path, words: list[str], said: list[str]
) -> None:
    full = [word.format(tiny=tables / "tiny.toml") for word in words]
    refused(cli("train", *full, "-o", tmp_path / "run"), *said)
    assert list(tmp_path.iterdir()) == []


def test_what_is_missing_is_named_for_what_it_is(cli: Cli) -> None:
    assert cli("train").code == cli("train", "--from", "runs/x").code == 2
    assert "the table of new events" in cli("train", "--from", "runs/x").err
    assert "needs a RECIPE" in cli("train").err


def test_the_folder_is_named_after_the_recipe(
    cli: Cli, refused: Callable[..., None], tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "tiny").mkdir(parents=True)
    (tmp_path / "runs" / "tiny" / "mine.txt").write_text("")
    refused(cli("train", tables / "tiny.toml"), str(Path("runs") / "tiny"))


@pytest.mark.parametrize(
    ("text", "value"),
    [("4", 4), ("0.5", 0.5), ("true", True), ("[1, 2]", [1, 2]), ('"4"', "4"), ("time=80%", "time=80%")],
)
def test_values_are_read_as_toml_or_are_words(text: str, value: object) -> None:
    assert toml_value(text) == value


def test_dotted_keys_reach_into_lists(tables: Path) -> None:
    recipe = read_recipe(tables / "tiny.toml")
    found = changed(recipe, {"model.tasks.1.weight": 0.25, "model.query.features.0.dim": 8})
    assert found.model.tasks[1].weight == 0.25  # type: ignore[union-attr]
    assert found.model.query.features[0].dim == 8  # type: ignore[union-attr]
    assert changed(recipe, {}) == recipe
    with pytest.raises(RecipeError, match=r"\$\.model\.query\.features\[0\]"):
        changed(recipe, {"model.query.features.0.dimm": 8})


def test_an_estimate_is_printed_and_nothing_written(cli: Cli, tables: Path, tmp_path: Path) -> None:
    said = cli("train", tables / "tiny.toml", "-o", tmp_path / "run", "--estimate", "--json")
    assert (said.code, said.err) == (0, "")
    assert said.json["fits"] and said.json["memory_bytes"] > 0 and said.json["seconds"] > 0
    assert {"what", "bytes", "how"} == set(said.json["memory"][0])
    assert list(tmp_path.iterdir()) == []


def test_long_times_are_told_as_people_tell_them(
    cli: Cli, tables: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Estimate(
        Memory((StageMemory("training", (Cost("rows", 10, "ten"),)),), 0, 10**9, "the machine's memory"),
        (Seconds("evaluation: model", 10_800.0, "timed"), Seconds("export", 0.44, "measured")),
    )
    monkeypatch.setattr("shortlist.recipes.estimating.estimate", lambda *_, **__: found)
    told = cli("train", tables / "tiny.toml", "--estimate").out
    assert "evaluation: model  3 h 0 min  timed" in told and "export             0.4 s" in told
    assert cli("train", tables / "tiny.toml", "--estimate", "--json").json["seconds"] == 10_800.44


def test_an_estimate_that_does_not_fit_is_printed_and_refused(
    cli: Cli, tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shortlist.recipes.memory.available_memory", lambda: (2**20, "RLIMIT_DATA"))
    said = cli("train", tables / "tiny.toml", "-o", tmp_path / "run", "--estimate")
    assert said.code == 1
    assert "compiled programs" in said.out and "in all" in said.out and "Time" not in said.out
    assert "RLIMIT_DATA" in said.err and "hint:" in said.err
    refused = cli("train", tables / "tiny.toml", "-o", tmp_path / "run")
    assert (refused.code, refused.out) == (1, "") and "needs" in refused.err
    assert list(tmp_path.iterdir()) == []
