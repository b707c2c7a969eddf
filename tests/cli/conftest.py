from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from shortlist.cli import app

NUM_USERS, NUM_ITEMS, ROWS_EACH = 30, 40, 12

RECIPE = """
name = "tiny"
[data]
interactions = "{folder}/events.csv"
items = "{folder}/items.csv"
[split]
validation = 0.0
[model]
kind = "multi-task"
query = {{ features = [ {{ kind = "id", column = "user_id", dim = 4 }} ] }}
candidate = {{ features = [ {{ kind = "id", column = "item_id", dim = 4 }} ] }}
tasks = [ {{ kind = "retrieval" }}, {{ kind = "rating", hidden = [4] }} ]
[training]
epochs = 1
batch_size = 64
[evaluation]
k = [5]
baselines = false
resamples = 20
[serving]
retrieve = 10
rating_weight = 0.5
"""


@dataclass(frozen=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Cli = Callable[..., Said]


def say(*words: object, debug: bool = False) -> Said:
    environment = {"SHORTLIST_DEBUG": "1" if debug else "", "COLUMNS": "100"}
    result = CliRunner().invoke(app, [str(word) for word in words], env=environment, prog_name="shortlist")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Said(result.exit_code, result.stdout, result.stderr)


@pytest.fixture(scope="session")
def cli() -> Cli:
    return say


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with events.csv, items.csv and a recipe that trains on them in a moment."""
    folder = tmp_path_factory.mktemp("tables")
    draw = random.Random(0)
    lines, time = ["user_id,item_id,rating,timestamp"], 0
    for user in range(NUM_USERS):
        for item in draw.sample(range(NUM_ITEMS), ROWS_EACH):
            time += 60
            lines.append(f"{user},{item},{draw.randint(1, 5)},{time}")
    (folder / "events.csv").write_text("\n".join(lines) + "\n")
    items = ["item_id,title", *(f"{item},The Item {item}" for item in range(NUM_ITEMS))]
    (folder / "items.csv").write_text("\n".join(items) + "\n")
    (folder / "tiny.toml").write_text(RECIPE.format(folder=folder.as_posix()))
    return folder


@pytest.fixture(scope="session")
def trained(tables: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Said]:
    """A run's folder, and what the command that made it said."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    return folder, say("train", tables / "tiny.toml", "-o", folder, debug=True)


@pytest.fixture(scope="session")
def run(trained: tuple[Path, Said]) -> Path:
    folder, said = trained
    assert said.code == 0, said.err
    return folder


def assert_refused(said: Said, *words: str) -> None:
    """Exit code 1, nothing on stdout, one message with these words on stderr, no traceback."""
    assert said.code == 1, said
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert "Traceback" not in said.err
    for word in words:
        assert word in said.err, said.err


@pytest.fixture
def refused() -> Callable[..., None]:
    return assert_refused
