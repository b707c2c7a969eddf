from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]
NDCG, RMSE = "filtered ndcg@10 (user)", "rmse"


def report(folder: Path, ndcg: float, *, seed: int = 42, age: int = 0, rmse: float | None = None) -> None:
    figures = {NDCG: {"value": ndcg, "low": ndcg - 0.01, "high": ndcg + 0.01}}
    if rmse is not None:
        figures[RMSE] = {"value": rmse, "low": None, "high": None}
    model = {"name": "Shortlist", "role": "model", "figures": figures}
    baseline = {"name": "EASE", "role": "baseline", "figures": {}}
    found = {
        "protocol": {"split": "random=80%", "seed": seed},
        "headline": [NDCG, RMSE],
        "entries": [baseline, model],
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


def test_compare_shows_figures_intervals_and_the_difference(cli: Cli, home: Path) -> None:
    said = cli("runs", "compare", "old", home / "runs" / "new")
    assert "0.3000 [0.290, 0.310]  0.3500 [0.340, 0.360]  0.0500" in said.out
    assert said.err == ""
    found = cli("runs", "compare", "old", "new", "--json").json
    assert found["comparable"] is True
    assert [row["figure"] for row in found["figures"]] == [NDCG, RMSE]
    assert found["figures"][0]["difference"] == pytest.approx(0.05)
    assert found["figures"][1]["difference"] is None


def test_runs_on_other_rows_are_marked(cli: Cli, home: Path) -> None:
    report(home / "runs" / "other", 0.4, seed=7)
    assert "not the same seed: 42 and 7" in cli("runs", "compare", "old", "other").err
    assert cli("runs", "compare", "old", "other", "--json").json["apart"] == {"seed": [42, 7]}


def test_what_is_no_run_is_refused(cli: Cli, refused: Callable[..., None], home: Path) -> None:
    refused(cli("runs", "compare", "old", "nwe"), "nwe is no run", "'new'")
    refused(cli("runs", "list", "nowhere"), "no such folder")
    (home / "runs" / "new" / "report.json").write_text("{")
    refused(cli("runs", "list"), "cannot read", "report.json")


def test_an_empty_folder_lists_nothing(cli: Cli, tmp_path: Path) -> None:
    said = cli("runs", "list", tmp_path)
    assert (said.code, said.out) == (0, "")
    assert "no runs" in said.err
    assert cli("runs", "list", tmp_path, "--json").json == []
