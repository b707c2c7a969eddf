from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shortlist.specs.recipe import read_recipe

Cli = Callable[..., Any]
RATE = "training.optimizer.learning_rate"
TUNE = f"""
[tune]
trials = 3
"{RATE}" = {{ low = 1e-3, high = 1e-1, log = true }}
"training.epochs" = [1, 2]
"""


def figure(training: Any) -> float:
    return 1 - abs(float(training.optimizer.learning_rate) - 0.02)


def quick(model: Any, split: Any, *, training: Any, listen: Any) -> Any:
    """In place of `fit`: a figure that is best at a rate of 0.02."""
    return SimpleNamespace(history={"validation ndcg@10": [figure(training)]}, best_epoch=1)


@pytest.fixture
def recipe(tables: Path, tmp_path: Path) -> Path:
    """The tiny recipe with validation rows and ranges."""
    text = (tables / "tiny.toml").read_text().replace("validation = 0.0", "validation = 0.2")
    (tmp_path / "tiny.toml").write_text(text + TUNE)
    return tmp_path / "tiny.toml"


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from shortlist.recipes import tuning
    from shortlist.recipes.studies import Study

    monkeypatch.setattr(tuning, "fit", quick)
    monkeypatch.setattr(Study, "importances", lambda self: {})
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("fitted")
def test_a_search_leaves_its_folder_and_says_what_is_next(cli: Cli, recipe: Path) -> None:
    said = cli("tune", recipe, "-o", "best.toml")
    assert said.code == 0, said.err
    assert "0 as it was" in said.out and "3 trials" in said.out
    folder = Path("runs") / "tiny-study"
    assert said.err == f"wrote {folder}; next: shortlist train best.toml\n"
    names = {"best.toml", "tuning.txt", "tuning.json", "tuning.html", "study.json", "study.journal"}
    assert names <= {path.name for path in folder.iterdir()}
    assert (folder / "tuning.txt").read_text() == said.out
    best = read_recipe("best.toml")
    told = json.loads((folder / "tuning.json").read_text())
    assert best == read_recipe(folder / "best.toml") and best.tune is None
    assert told["best"]["value"] == figure(best.training)


@pytest.mark.usefixtures("fitted")
def test_a_search_goes_on_where_it_is_told_to(cli: Cli, refused: Callable[..., None], recipe: Path) -> None:
    words = ("tune", recipe, "--study", "s", "--quiet")
    assert len(cli(*words, "--trials", 2, "--json").json["trials"]) == 2
    refused(cli(*words), "holds a study already", "--resume")
    said = cli(*words, "--resume", "--json")
    assert (said.code, said.err, len(said.json["trials"])) == (0, "", 3)
    assert said.json["stopped"] == "trials" and said.json["folder"] == "s"


@pytest.mark.usefixtures("fitted")
def test_a_file_is_replaced_only_when_told(cli: Cli, refused: Callable[..., None], recipe: Path) -> None:
    Path("mine.toml").write_text("mine")
    refused(cli("tune", recipe, "-o", "mine.toml"), "mine.toml exists already", "--force")
    assert not Path("runs").exists() and Path("mine.toml").read_text() == "mine"
    assert cli("tune", recipe, "-o", "mine.toml", "--force").code == 0
    assert read_recipe("mine.toml").name == "tiny"


@pytest.mark.usefixtures("fitted")
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("validation = 0.2", "validation = 0.0", ["needs validation rows", "split.validation"]),
        ("[tune]", "[tuen]", ["`tuen`", "'tune'"]),
        (TUNE, "", ["declares no ranges", "[tune]"]),
        ("training.epochs", "training.epoch", ["training.epoch", "$.training"]),
        ("low = 1e-3", "low = 1", ["must be below"]),
    ],
)
def test_bad_recipes_are_refused_and_nothing_written(
    cli: Cli, refused: Callable[..., None], recipe: Path, old: str, new: str, said: list[str]
) -> None:
    recipe.write_text(recipe.read_text().replace(old, new))
    refused(cli("tune", recipe), *said)
    assert not Path("runs").exists()


@pytest.mark.usefixtures("fitted")
def test_ctrl_c_writes_the_best_and_ends_as_interrupted(
    cli: Cli, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shortlist.recipes import tuning

    calls = []

    def interrupted(*given: Any, **options: Any) -> Any:
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return quick(*given, **options)

    monkeypatch.setattr(tuning, "fit", interrupted)
    said = cli("tune", recipe, "--study", "s")
    assert said.code == 130 and "1 stopped" in said.out and "--resume" in said.err
    assert read_recipe("s/best.toml").training.optimizer.learning_rate == 0.01


@pytest.mark.slow
def test_what_a_search_finds_can_be_trained(cli: Cli, recipe: Path, tmp_path: Path) -> None:
    said = cli("tune", recipe, "--study", tmp_path / "s", "--json", debug=True)
    assert said.code == 0, said.err
    run = tmp_path / "run"
    assert cli("train", tmp_path / "s" / "best.toml", "-o", run).code == 0
    kept = read_recipe(run / "recipe.toml")
    assert kept.training.optimizer.learning_rate == said.json["best"]["settings"][RATE]
    assert cli("recommend", run, "--user", 3, "-k", 2).code == 0


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_signal_ends_a_real_search_cleanly(recipe: Path, tmp_path: Path, jobs: int) -> None:
    text = recipe.read_text().replace("trials = 3", "trials = 5000").replace("[1, 2]", "[20, 40]")
    recipe.write_text(text)
    code = "from shortlist.cli import main; main()"
    command = [sys.executable, "-c", code, "tune", str(recipe), "--study", str(tmp_path / "s")]
    command += ["--jobs", str(jobs)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    journal = tmp_path / "s" / "study.journal"
    while process.poll() is None and (not journal.exists() or journal.read_text().count('"state":1') < 2):
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "ended by: interrupted" in out and "Traceback" not in err
    assert read_recipe(tmp_path / "s" / "best.toml").name == "tiny"
