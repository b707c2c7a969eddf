from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]
NDCG, RMSE, HIT = "filtered ndcg@10 (user)", "rmse", "filtered hit_rate@100 (row)"


def report(
    folder: Path,
    ndcg: float,
    *,
    seed: int = 42,
    age: int = 0,
    rmse: float | None = None,
    hit: float | None = None,
    staged: float | None = None,
) -> None:
    figures = {NDCG: {"value": ndcg, "low": ndcg - 0.01, "high": ndcg + 0.01}}
    for name, value in {RMSE: rmse, HIT: hit}.items():
        if value is not None:
            figures[name] = {"value": value, "low": None, "high": None}
    models = [{"name": "Shortlist", "role": "model", "figures": figures}]
    if staged is not None:
        of_stages = {NDCG: {"value": staged, "low": None, "high": None}}
        models.append({"name": "two stages", "role": "model", "figures": of_stages})
    baseline = {"name": "EASE", "role": "baseline", "figures": {}}
    found = {
        "protocol": {"split": "random=80%", "seed": seed},
        "headline": [NDCG, RMSE],
        "entries": [baseline, *models],
    }
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps(found))
    os.utime(folder / "report.json", (1_700_000_000 - age,) * 2)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    report(tmp_path / "runs" / "old", 0.30, age=100, rmse=0.91)
    report(tmp_path / "runs" / "new", 0.35)
    return tmp_path


def test_list_shows_the_newest_first(cli: Cli, home: Path) -> None:
    lines = cli("runs", "list").out.splitlines()
    assert [line.split()[0] for line in lines] == ["run", "new", "old"]
    assert "0.9100" in lines[2] and lines[1].endswith("-")
    rows = cli("runs", "list", "--json").json
    assert [(row["run"], row["figures"].get(RMSE)) for row in rows] == [("new", None), ("old", 0.91)]
    assert rows[0]["written"] == "2023-11-14 22:13"


@pytest.mark.parametrize(
    ("figure", "order"),
    [
        (NDCG, ["best", "new", "old", "worst"]),
        ("ndcg@10", ["best", "new", "old", "worst"]),
        ("rmse", ["worst", "old", "best", "new"]),  # the lower the better; without one: last
        ("hit_rate", ["best", "worst", "new", "old"]),  # no headline: a column of its own
    ],
)
def test_list_can_be_sorted_by_a_figure(cli: Cli, home: Path, figure: str, order: list[str]) -> None:
    report(home / "runs" / "worst", 0.1, rmse=0.8, hit=0.2)
    report(home / "runs" / "best", 0.9, rmse=1.2, hit=0.7)
    said = cli("runs", "list", "--sort", figure)
    assert [line.split()[0] for line in said.out.splitlines()[1:]] == order
    assert [row["run"] for row in cli("runs", "list", "--sort", figure, "--json").json] == order
    if figure == "hit_rate":
        assert "filtered hit_rate@100 (row)" in said.out and "0.7000" in said.out


def test_a_figure_nobody_has_is_refused(cli: Cli, refused: Callable[..., None], home: Path) -> None:
    refused(cli("runs", "list", "--sort", "rsme"), "'rsme'", "did you mean 'rmse'")


def test_runs_that_did_not_end_are_told_and_spoil_nothing(cli: Cli, home: Path) -> None:
    runs = home / "runs"
    (runs / "killed").mkdir()
    (runs / "killed" / "recipe.toml").write_text("")
    for name, text in {"cut": '{"entries": [', "other": "[]", "idle": '{"entries": []}', "bytes": ""}.items():
        (runs / name).mkdir()
        (runs / name / "report.json").write_text(text)
    (runs / "bytes" / "report.json").write_bytes(b"\xff\xfe")
    (runs / "my-study").mkdir()  # what is no run is nobody's business
    (runs / ".wide.tmp").mkdir()
    (runs / ".wide.tmp" / "report.json").write_text("{")
    said = cli("runs", "list")
    assert said.code == 0
    assert {line.split()[0] for line in said.out.splitlines()[1:]} == {"new", "old"}
    for words in ("killed holds no report.json", "cut", "no entries", "judges no model", "bytes"):
        assert words in said.err
    assert "study" not in said.err and ".wide" not in said.err
    rows = cli("runs", "list", "--json", "--sort", "rmse").json
    assert rows[0]["run"] == "old"
    assert {row["run"] for row in rows if row["problem"]} == {"killed", "cut", "other", "idle", "bytes"}


def test_compare_shows_figures_intervals_and_the_difference(cli: Cli, home: Path) -> None:
    said = cli("runs", "compare", "old", home / "runs" / "new")
    assert "0.3000 [0.290, 0.310]  0.3500 [0.340, 0.360]  +0.0500" in said.out
    found = cli("runs", "compare", "old", "new", "--json").json
    assert found["comparable"] is True
    assert [row["figure"] for row in found["figures"]] == [NDCG, RMSE]
    assert [value["value"] for value in found["figures"][0]["values"]] == [0.30, 0.35]
    assert found["figures"][0]["difference"] == pytest.approx(0.05)
    assert found["figures"][1]["difference"] is None and found["figures"][1]["values"][1] is None


def test_compare_shows_where_the_recipes_differ(cli: Cli, home: Path) -> None:
    recipe = 'name = "{0}"\n[training]\nepochs = 4\nrate = {1}\n[[model.tasks]]\nhidden = [{2}]\n'
    runs = home / "runs"
    (runs / "old" / "recipe.toml").write_text(recipe.format("old", 0.1, "64, 32"))
    (runs / "new" / "recipe.toml").write_text(recipe.format("new", 0.2, "64") + "weight = 0.5\n")
    said = cli("runs", "compare", "old", "new")
    assert said.err == "" and "epochs" not in said.out
    lines = [line.split() for line in said.out.split("setting ")[1].splitlines()[1:]]
    assert lines == [
        ["name", "old", "new"],
        ["training.rate", "0.1", "0.2"],
        ["model.tasks.0.hidden", "[64,", "32]", "[64]"],
        ["model.tasks.0.weight", "-", "0.5"],
    ]
    rows = cli("runs", "compare", "old", "new", "--json").json["settings"]
    assert rows[-1] == {"key": "model.tasks.0.weight", "values": [None, 0.5]}
    (runs / "new" / "recipe.toml").write_text("[training")
    assert "cannot read" in cli("runs", "compare", "old", "new").err
    (runs / "new" / "recipe.toml").write_text((runs / "old" / "recipe.toml").read_text())
    assert cli("runs", "compare", "old", "new").err == "the recipes do not differ\n"


def test_more_than_two_runs_stand_side_by_side(cli: Cli, home: Path) -> None:
    report(home / "runs" / "third", 0.4, staged=0.45)
    said = cli("runs", "compare", "old", "new", "third")
    assert said.out.splitlines()[0].split() == ["model", "figure", "old", "new", "third"]
    found = cli("runs", "compare", "old", "new", "third", "--json").json
    assert [[name for name in names] for names in found["models"]] == [
        ["Shortlist"], ["Shortlist"], ["Shortlist", "two stages"]
    ]  # fmt: skip
    (staged,) = [row for row in found["figures"] if row["model"] == "two stages"]
    assert [value and value["value"] for value in staged["values"]] == [None, None, 0.45]


def test_runs_on_other_rows_are_marked(cli: Cli, home: Path) -> None:
    report(home / "runs" / "other", 0.4, seed=7)
    assert "not the same seed: 42 and 7" in cli("runs", "compare", "old", "other").err
    assert cli("runs", "compare", "old", "other", "--json").json["apart"] == {"seed": [42, 7]}
    assert cli("runs", "compare", "old", "new", "other", "--json").json["apart"] == {"seed": [42, 42, 7]}


def test_what_is_no_run_is_refused(cli: Cli, refused: Callable[..., None], home: Path) -> None:
    refused(cli("runs", "compare", "old", "nwe"), "nwe is no run", "'new'")
    refused(cli("runs", "compare", "old"), "at least two runs")
    refused(cli("runs", "list", "nowhere"), "no such folder")
    (home / "runs" / "new" / "report.json").write_text("{")
    refused(cli("runs", "compare", "old", "new"), "cannot read", "report.json")


@pytest.mark.slow
def test_a_real_run_is_listed_and_compared_with_itself(cli: Cli, run: Path) -> None:
    (row,) = cli("runs", "list", run.parent, "--json").json
    assert row["run"] == "tiny" and row["data"] == "events" and row["problem"] == ""
    assert set(row["headline"]) <= set(row["figures"])
    said = cli("runs", "compare", run, run, "--json").json
    assert said["settings"] == [] and said["comparable"]
    assert {row["difference"] for row in said["figures"]} == {0.0}


def test_an_empty_folder_lists_nothing(cli: Cli, tmp_path: Path) -> None:
    said = cli("runs", "list", tmp_path)
    assert (said.code, said.out) == (0, "")
    assert "no runs" in said.err
    assert cli("runs", "list", tmp_path, "--json").json == []


def warm(folder: Path, ndcg: float | None = None) -> None:
    """What `train --from` leaves, with rows held out where there is a figure."""
    folder.mkdir(parents=True)
    (folder / "recipe.toml").write_text('name = "demo"\n')
    (folder / "news.txt").write_text("3 new events after 9 known ones\n")
    if ndcg is not None:
        sides = {"a": {"value": 0.1}, "b": {"value": ndcg, "low": ndcg - 0.01, "high": ndcg + 0.01}}
        found = {"figures": [{"figure": NDCG, **sides}], "protocol": {"test rows": "3"}, "headline": [NDCG]}
        (folder / "comparison.json").write_text(json.dumps(found))


def test_runs_that_went_on_from_another_are_runs(cli: Cli, home: Path, refused: Callable[..., None]) -> None:
    warm(home / "runs" / "today")
    warm(home / "runs" / "held", 0.42)
    said = cli("runs", "list")
    assert "warning" not in said.err and "0.4200" in said.out
    rows = {row["run"]: row for row in cli("runs", "list", "--json").json}
    assert rows["today"]["model"] == "warm start" and rows["today"]["figures"] == {}
    assert rows["held"]["figures"] == {NDCG: 0.42}
    found = cli("runs", "compare", "old", "held", "--json").json
    assert found["figures"][0]["difference"] == pytest.approx(0.12) and not found["comparable"]
    assert cli("runs", "compare", "today", "held").code == 0
    assert cli("runs", "compare", "today", "today").code == 0
    (home / "runs" / "held" / "comparison.json").write_text("[]")
    refused(cli("runs", "compare", "old", "held"), "comparison.json")
