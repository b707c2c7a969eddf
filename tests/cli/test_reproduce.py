from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shortlist.recipes import tutorials

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


@pytest.mark.parametrize("words", [["tutorial"], ["tutorials", "--seeds", "0"], []])
def test_what_cannot_be_reproduced_is_a_usage_error(cli: Cli, asked: list[int], words: list[str]) -> None:
    assert cli("reproduce", *words).code == 2
    assert asked == []
