from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shortlist.recipes import accuracy, arrivals, tutorials, warm_start

Cli = Callable[..., Any]
ROWS = [
    {
        "experiment": "ranking",
        "printed": {"rmse": 1.1},
        "tutorial_recipe": {"rmse": 1.1049},
        "shortlist_recipe": {"rmse": 0.9},
        "seconds": 4.25,
        "predictions": {
            "shortlist_recipe": {
                "user_id": "42",
                "ratings": {"Speed (1994)": 3.9},
                "largest_difference": 2e-7,
            }
        },
    },
    {
        "experiment": "context-with-time",
        "printed": {"top100_raw": 0.25, "top100_raw_train": 0.37},
        "tutorial_recipe": {"top100_raw": 0.2481, "top100_raw_train": 0.3702},
        "shortlist_recipe": {"top100_raw": 0.42, "top100_filtered": 0.63},
        "seconds": 9.0,
    },
]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The experiments take a minute: here they are answered at once; how often, and with how many seeds."""
    seeds_asked: list[int] = []

    def reproduce(
        seeds: int = 1, *, tell: Callable[[str, int, int], None] | None = None
    ) -> list[dict[str, Any]]:
        seeds_asked.append(seeds)
        assert tell is not None
        tell("ranking", 0, 6)
        return ROWS

    monkeypatch.setattr(tutorials, "reproduce", reproduce)
    return seeds_asked


def test_one_row_an_experiment_then_the_predictions(cli: Cli, asked: list[int]) -> None:
    said = cli("reproduce", "tutorials", "--seeds", 3)
    assert (said.code, asked) == (0, [3])
    lines = said.out.splitlines()
    assert lines[0].split() == ["tutorial", "its", "recipe", "here", "Shortlist", "here"]
    names = ["raw", "train", "rmse"]
    assert lines[1].split() == ["experiment", *names, *names, "raw", "filtered", "rmse", "seconds"]
    assert lines[2].split() == ["ranking", "-", "-", "1.100", "-", "-", "1.105", "-", "-", "0.900", "4.2"]
    assert lines[3].split() == [
        "context-with-time", "0.250", "0.370", "-", "0.248", "0.370", "-", "0.420", "0.630", "-", "9.0",
    ]  # fmt: skip
    assert "Shortlist here, user 42: Speed (1994) 3.900 (after save and load within 2e-07)" in said.out


def test_the_rows_go_to_a_file_or_to_stdout(cli: Cli, asked: list[int], tmp_path: Path) -> None:
    said = cli("reproduce", "tutorials", "--json", tmp_path / "t.json")
    assert json.loads((tmp_path / "t.json").read_text()) == ROWS
    assert [p.name for p in tmp_path.iterdir()] == ["t.json"]
    assert "experiment" in said.out
    assert cli("reproduce", "tutorials", "--json", "-").json == ROWS


ACCURACY: list[dict[str, Any]] = [
    {
        "row": "retrieval-ids",
        "metrics": {
            "top100_raw": {"mean": 0.41234, "std": 0.0012},
            "top100_filtered": {"mean": 0.6, "std": 0},
        },
        "fit_seconds": 5.25,
        "seeds": [42, 43],
        "said": "two seeds",
        "baselines": {"top100_raw": {"name": "iALS", "value": 0.39}},
        "peers": {"top100_filtered": "0.639 iALS"},
    }
]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[str, ...], int]]:
    """Rows of the accuracy, answered at once; which were asked for, with how many seeds."""
    heard: list[tuple[tuple[str, ...], int]] = []

    def reproduce_rows(rows: Any, *, names: Any, seeds: int, tell: Any) -> list[dict[str, Any]]:
        assert rows is accuracy.ROWS
        heard.append((tuple(names), seeds))
        return ACCURACY

    monkeypatch.setattr(accuracy, "reproduce_rows", reproduce_rows)
    return heard


def test_one_line_a_metric_of_the_accuracy(cli: Cli, measured: Any, tmp_path: Path) -> None:
    said = cli("reproduce", "accuracy", "--json", tmp_path / "a.json")
    assert (said.code, measured) == (0, [((), 3)])
    lines = [" ".join(line.split()) for line in said.out.splitlines()]
    assert "retrieval-ids top100_raw 0.4123 +- 0.0012 0.3900 iALS - 5.2" in lines
    assert "retrieval-ids top100_filtered 0.6000 +- 0.0000 - 0.639 iALS 5.2" in lines
    assert lines[-1] == "retrieval-ids: two seeds"
    assert json.loads((tmp_path / "a.json").read_text()) == ACCURACY


def test_rows_are_chosen_by_name_and_only_of_the_accuracy(cli: Cli, measured: Any, asked: list[int]) -> None:
    words = ["--rows", "joint", "--rows", "leave-last", "--seeds", "1", "--json", "-"]
    assert cli("reproduce", "accuracy", *words).json == ACCURACY
    assert measured == [(("joint", "leave-last"), 1)]
    assert cli("reproduce", "tutorials", "--rows", "joint").code == 2
    assert asked == []


def test_a_row_that_is_not_there_is_named(cli: Cli, refused: Callable[..., None]) -> None:
    refused(cli("reproduce", "accuracy", "--rows", "joint-casual"), "'joint-casual'", "joint-causal")


@pytest.mark.parametrize("words", [["tutorial"], ["tutorials", "--seeds", "0"], []])
def test_what_cannot_be_reproduced_is_a_usage_error(cli: Cli, asked: list[int], words: list[str]) -> None:
    assert cli("reproduce", *words).code == 2
    assert asked == []


ARRIVALS: list[dict[str, Any]] = [
    {
        "row": "new-users",
        "figures": {
            "held out, a history told": {"value": 0.75, "low": 0.7, "high": 0.8},
            "held out / trained on": {"value": 0.98, "low": 0.95, "high": 1.01},
        },
    },
    {"row": "choice", "shares": [{"id_dropout": 0.1, "new": 0.25, "others": 0.7}]},
]


def test_one_line_a_figure_of_cold_start(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    heard = []

    def reproduce_arrivals(*, seeds: int, tell: Any) -> list[dict[str, Any]]:
        heard.append(seeds)
        return ARRIVALS

    monkeypatch.setattr(arrivals, "reproduce_arrivals", reproduce_arrivals)
    said = cli("reproduce", "arrivals", "--json", tmp_path / "a.json")
    assert (said.code, heard) == (0, [3])
    lines = [" ".join(line.split()) for line in said.out.splitlines()]
    assert "held out / trained on 0.9800 [0.9500, 1.0100]" in lines
    assert "0.1000 0.2500 0.7000" in lines
    assert json.loads((tmp_path / "a.json").read_text()) == ARRIVALS


def test_a_bad_place_is_told_before_anything_runs(
    cli: Cli, asked: list[int], refused: Callable[..., None], tmp_path: Path
) -> None:
    said = cli("reproduce", "tutorials", "--json", str(tmp_path / "nowhere" / "x.json"))
    refused(said, "there is no folder", "nowhere")
    assert not asked and not (tmp_path / "nowhere").exists()


WARM: list[dict[str, Any]] = [
    {
        "recipe": "ml100k-ids",
        "figures": [
            {
                "figure": "rmse",
                "scratch": 1.1,
                "warm": 1.0,
                "state alone": 1.2,
                "warm - scratch": {"value": -0.1, "low": -0.2, "high": -0.05, "verdict": "wins"},
            }
        ],
        "cpu_seconds": {"scratch": 4.0, "warm": 1.0, "state alone": 0.1},
        "cheaper": 4.0,
    }
]


def test_a_warm_start_stands_beside_one_from_scratch(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(warm_start, "reproduce_warm_start", lambda *, seeds, tell: WARM * (seeds == 2))
    said = cli("reproduce", "warm-start", "--seeds", 2, "--json", tmp_path / "w.json")
    assert said.code == 0, said.err
    lines = [" ".join(line.split()) for line in said.out.splitlines()]
    assert "ml100k-ids rmse 1.1000 1.0000 1.2000 -0.1000 [-0.2000, -0.0500]" in lines
    assert "ml100k-ids CPU seconds 4.00 1.00 0.10 4.0 times cheaper" in lines
    assert json.loads((tmp_path / "w.json").read_text()) == WARM
