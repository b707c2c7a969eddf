"""The search is tested on a made-up `fit` whose best settings are known; what it sees, on the real one."""

from __future__ import annotations

import fcntl
import json
import math
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from shortlist.api.fitting import Progress
from shortlist.errors import MissingExtra, NonFiniteLoss, RecipeError, SpecError, TrainingError
from shortlist.recipes import tuning
from shortlist.recipes.run import Resolved, resolve
from shortlist.recipes.studies import Study
from shortlist.recipes.tuned import Trial, Tuned
from shortlist.recipes.tuning import tune
from shortlist.specs.recipe import Recipe, read_recipe

Make = Callable[..., Recipe]
RATE = "training.optimizer.learning_rate"
RANGES = {
    RATE: {"low": 1e-3, "high": 1e-1, "log": True},
    "training.epochs": {"low": 1, "high": 5},
    "model.tasks.1.hidden": [[4], [], [8, 4]],
}
BEST_RATE = 0.02


def quality(recipe_rate: float, epoch: int) -> float:
    return 1 - abs(math.log(recipe_rate / BEST_RATE)) / 10 + epoch / 100


class Fitting:
    """A `fit` that only tells figures: better the nearer the rate is to the best one, and epoch by epoch."""

    def __init__(self) -> None:
        self.calls = 0
        self.at: dict[int, Callable[[], Any]] = {}  # what happens in the call of this number
        self.lock = threading.Lock()

    def __call__(self, model: Any, split: Any, *, training: Any, listen: Any) -> Any:
        assert not split.test.height, "a search is given no test rows"
        with self.lock:
            self.calls += 1
            number = self.calls
        listen(Progress(0, training.epochs, {}))
        if number in self.at:
            self.at[number]()
        history: dict[str, list[float]] = {}
        for epoch in range(1, training.epochs + 1):
            value = quality(training.optimizer.learning_rate, epoch)
            figures = {"validation ndcg@10": value, "validation rmse of rating": value}
            for name, figure in figures.items():
                history.setdefault(name, []).append(figure)
            listen(Progress(epoch, training.epochs, figures))
        return SimpleNamespace(history=history, best_epoch=training.epochs)


@pytest.fixture(scope="module")
def read(make: Make) -> Resolved:
    return resolve(make())


@pytest.fixture
def fitting(monkeypatch: pytest.MonkeyPatch, read: Resolved) -> Iterator[Fitting]:
    found = Fitting()
    monkeypatch.setattr(tuning, "fit", found)
    monkeypatch.setattr(tuning, "resolve", lambda recipe: replace(read, recipe=recipe))
    monkeypatch.setattr(Study, "importances", lambda self: {RATE: 1.0})  # loads much: a test of its own
    yield found


@pytest.fixture
def wanted(make: Make) -> Callable[..., Recipe]:
    def made(**settings: Any) -> Recipe:
        return make(tune={**RANGES, "pruner": "none", **settings})

    return made


def tried(found: Tuned) -> list[tuple[Any, float | None]]:
    return [(dict(t.settings), t.value) for t in found.trials if t.state == "done"]


def test_the_best_trial_is_the_best_and_becomes_a_recipe(
    fitting: Fitting, wanted: Make, tmp_path: Path
) -> None:
    found = tune(wanted(trials=8), study=tmp_path / "study", output=tmp_path / "mine.toml")
    assert fitting.calls == len(found.trials) == 8 and found.stopped == "trials"
    values = [trial.value or 0.0 for trial in found.trials]
    assert found.best.value == max(values) == quality(found.best.settings[RATE], found.best.epochs)
    assert found.recipe.tune is None
    assert found.recipe.training.optimizer.learning_rate == found.best.settings[RATE]
    assert found.recipe.training.epochs == found.best.settings["training.epochs"]
    assert {"best.toml", "tuning.txt", "tuning.json", "tuning.html"} < {
        path.name for path in (tmp_path / "study").iterdir()
    }
    assert (
        read_recipe(tmp_path / "study" / "best.toml") == read_recipe(tmp_path / "mine.toml") == found.recipe
    )
    assert f"validation ndcg@10 {found.best.value:.5f}" in (tmp_path / "mine.toml").read_text()


def test_the_recipe_as_it_was_is_tried_first(fitting: Fitting, wanted: Make, make: Make) -> None:
    found = tune(wanted(trials=2))
    first, second = found.trials
    assert first == found.own and first.own and not second.own
    assert first.settings == {RATE: 0.01, "training.epochs": 2, "model.tasks.1.hidden": [4]}
    outside = tune(make(tune={RATE: {"low": 0.2, "high": 0.3}, "trials": 1}))
    assert outside.own is None and 0.2 <= outside.best.settings[RATE] <= 0.3


def test_an_error_is_searched_downwards(fitting: Fitting, wanted: Make) -> None:
    found = tune(wanted(trials=6, objective="validation rmse of rating"))
    assert found.best.value == min(trial.value or 9.0 for trial in found.trials)
    assert not found.higher_is_better


@pytest.mark.parametrize("objective", ["validation ndcg@10", "validation rmse of rating"])
def test_the_best_so_far_is_told(fitting: Fitting, wanted: Make, objective: str) -> None:
    said: list[str] = []
    found = tune(wanted(trials=6, objective=objective), tell=lambda stage, *_: said.append(stage))
    assert len({trial.value for trial in found.trials}) > 1
    assert said[-1].endswith(f"; best {found.best.value:.5f}")


def test_a_resumed_search_is_the_same_search(fitting: Fitting, wanted: Make, tmp_path: Path) -> None:
    whole = tune(wanted(trials=4))
    half = tune(wanted(trials=2), study=tmp_path / "study")
    rest = tune(wanted(), trials=4, study=tmp_path / "study", resume=True)
    assert len(half.trials) == 2 and fitting.calls == 4 + 4
    assert tried(rest) == tried(whole) and rest.best == replace(whole.best, seconds=rest.best.seconds)
    again = tune(wanted(), trials=4, study=tmp_path / "study", resume=True)
    assert fitting.calls == 8 and again.trials == rest.trials
    assert tried(tune(wanted(trials=4, seed=1)))[1:] != tried(whole)[1:]


def test_a_search_that_was_killed_goes_on(fitting: Fitting, wanted: Make, tmp_path: Path) -> None:
    whole = tune(wanted(trials=4))

    class Killed(BaseException):
        pass

    def kill() -> None:
        raise Killed

    fitting.at = {4 + 3: kill}
    with pytest.raises(Killed):
        tune(wanted(trials=4), study=tmp_path / "study")
    # as a kill leaves it: the trial still runs, half a line is written and the log is locked
    journal = tmp_path / "study" / "study.journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    told = next(at for at, line in enumerate(lines) if b'"state":3' in line and b'"trial_id":2' in line)
    journal.write_bytes(b"".join(lines[:told]) + lines[told][:20])
    (tmp_path / "study" / "study.journal.lock").symlink_to(journal)
    rest = tune(wanted(trials=4), study=tmp_path / "study", resume=True)
    assert tried(rest) == tried(whole)
    assert [trial.state for trial in rest.trials] == ["done", "done", "stopped", "done", "done"]


def test_bad_trials_are_given_up(fitting: Fitting, wanted: Make) -> None:
    settings: dict[str, Any] = {"training.epochs": {"low": 4, "high": 5}, "trials": 20}
    found = tune(wanted(**settings, pruner="median"))
    pruned = [trial for trial in found.trials if trial.state == "pruned"]
    assert pruned and all(trial.number >= 5 for trial in pruned)
    for trial in pruned:
        whole = trial.settings["training.epochs"]
        assert whole / 3 <= trial.epochs < whole, "spared for a third of its epochs"
        assert trial.value == quality(trial.settings[RATE], trial.epochs)
        assert trial.value < (found.best.value or 0.0)
    assert all(trial.state == "done" for trial in tune(wanted(**settings), trials=9).trials)


def test_ctrl_c_ends_with_the_best_so_far(fitting: Fitting, wanted: Make, tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    fitting.at = {3: interrupt, 6: interrupt}
    found = tune(wanted(trials=9), study=tmp_path / "study")
    assert found.stopped == "interrupted"
    assert [trial.state for trial in found.trials] == ["done", "done", "stopped"]
    assert read_recipe(tmp_path / "study" / "best.toml") == found.recipe
    fitting.calls = 5
    with pytest.raises(KeyboardInterrupt):
        tune(wanted(trials=9))


def test_minutes_end_a_search(fitting: Fitting, wanted: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(
        tuning, "time", SimpleNamespace(monotonic=lambda: now[0], perf_counter=lambda: now[0])
    )

    def pass_by() -> None:
        now[0] += 90.0

    fitting.at = {2: pass_by, 3: pass_by, 4: pass_by}
    found = tune(wanted(trials=50), minutes=4)
    assert found.stopped == "minutes"
    assert [trial.state for trial in found.trials] == ["done", "done", "done", "stopped"]
    fitting.at = {fitting.calls + 1: pass_by}
    with pytest.raises(TrainingError, match="no trial came to an end"):
        tune(wanted(trials=50), minutes=1)


def test_trials_run_side_by_side(fitting: Fitting, wanted: Make, tmp_path: Path) -> None:
    meet = threading.Barrier(2, timeout=20)
    fitting.at = {1: meet.wait, 2: meet.wait}  # passed only where both are under way at once
    found = tune(wanted(trials=5), jobs=2, study=tmp_path / "study")
    assert [trial.state for trial in found.trials] == ["done"] * 5
    assert sorted(trial.number for trial in found.trials) == list(range(5))


def test_an_error_beside_a_trial_ends_the_search(fitting: Fitting, wanted: Make) -> None:
    def break_down() -> None:
        raise ZeroDivisionError

    fitting.at = {1: lambda: time.sleep(0.1), 2: break_down}
    with pytest.raises(ZeroDivisionError):
        tune(wanted(trials=500), jobs=2)
    assert fitting.calls < 50


def test_a_trial_without_a_result_is_one_of_the_bad_ones(fitting: Fitting, wanted: Make) -> None:
    def overflow() -> None:
        raise NonFiniteLoss("the loss is not a number")

    fitting.at = {2: overflow}
    found = tune(wanted(trials=4))
    assert [trial.state for trial in found.trials] == ["done", "failed", "done", "done"]
    assert found.trials[1].said == "the loss is not a number" and "is not a number" in found.table()
    fitting.at = {fitting.calls + at: overflow for at in range(1, 4)}
    with pytest.raises(TrainingError, match="the loss is not a number"):
        tune(wanted(trials=3))


@pytest.mark.parametrize(
    ("tune_table", "said"),
    [
        ({}, ["declares no ranges", "learning_rate"]),
        ({"training.epoch": {"low": 1, "high": 2}}, ["[tune] training.epoch", "`epoch`", "epochs"]),
        ({"training.epochs": {"low": 1.0, "high": 2.5}}, ["[tune] training.epochs", "got `float`"]),
        ({"training.epochs": {"low": 0, "high": 2}}, ["[tune] training.epochs = 0", "above 0"]),
        ({"model.tasks.7.weight": [0.5, 1.0]}, ["'7'", "2 entries"]),
        ({"model.tasks.0.loss": ["full", "fool"]}, ["[tune] model.tasks.0.loss", "'fool'"]),
        ({"training.epochs": [1, 2], "objective": "ndgc@10"}, ["'ndgc@10'", "did you mean 'ndcg@10'"]),
    ],
)
def test_what_does_not_fit_the_recipe_is_refused(
    fitting: Fitting, make: Make, tune_table: dict[str, Any], said: list[str]
) -> None:
    with pytest.raises((RecipeError, SpecError)) as caught:
        tune(make(tune=tune_table))
    for words in said:
        assert words in f"{caught.value} | {caught.value.hint}"
    assert fitting.calls == 0


def test_a_split_without_validation_rows_is_refused(make: Make) -> None:
    with pytest.raises(RecipeError, match="needs validation rows") as caught:
        tune(make(split={"validation": 0.0}, tune=RANGES))
    assert caught.value.hint == "split.validation = 0.1"


def test_a_folder_is_of_one_search(fitting: Fitting, wanted: Make, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RecipeError, match="holds no study"):
        tune(wanted(), study=tmp_path, resume=True)
    place = tmp_path / "study"
    tune(wanted(trials=1), study=place)
    with pytest.raises(RecipeError, match="holds a study already"):
        tune(wanted(trials=2), study=place)
    with pytest.raises(RecipeError, match="not the same ranges, seed"):
        tune(wanted(trials=2, seed=3, **{RATE: [0.1, 0.2]}), study=place, resume=True)
    with (place / "study.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(RecipeError, match="another process"):
            tune(wanted(trials=2), study=place, resume=True)
    assert fitting.calls == 1


def test_without_optuna_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, wanted: Make) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtra, match="'optuna'") as caught:
        tune(wanted())
    assert "'tune'" in caught.value.hint


def test_reports_escape_and_hold_every_trial(make: Make) -> None:
    trials = (
        Trial(0, "done", 0.5, {"a.b": "<i>"}, 3, 1.0, own=True),
        Trial(1, "pruned", 0.1, {"a.b": "x"}, 1, 0.5),
        Trial(2, "failed", None, {"a.b": [1, 2]}, 0, 0.1, said="<b>bad</b>"),
    )
    found = Tuned(make(), "validation ndcg@10", True, 100, trials, {"a.b": 1.0})
    page = found.to_html("<title>")
    assert "<i>" not in page and "<b>bad" not in page and "&lt;title&gt;" in page
    assert "http" not in page.replace("http://www.w3.org", "") and "<script" not in page
    plain = json.loads(found.to_json())
    assert [trial["state"] for trial in plain["trials"]] == ["done", "pruned", "failed"]
    assert plain["best"]["number"] == 0 and plain["trials"][2]["value"] is None
    assert "0 as it was" in found.table() and "1 done, 1 pruned, 1 failed" in found.table()


def test_a_search_looks_at_validation_rows_and_never_at_test_rows(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make(
        model={"kind": "ranker", **{side: make().model.to_dict()[side] for side in ("query", "candidate")}}
        | {"tasks": [{"kind": "rating", "hidden": [4]}]},
        training={"epochs": 1},
        tune={RATE: {"low": 0.02, "high": 0.03}, "trials": 2},
    )
    read = resolve(recipe)

    def shuffled(rows: pl.DataFrame) -> pl.DataFrame:
        order = np.random.default_rng(0).permutation(rows.height)
        return rows.with_columns(rows[name][order] for name in ("item_id", "rating"))

    def values(**parts: pl.DataFrame) -> list[Any]:
        given = replace(read, split=replace(read.split, **parts))
        monkeypatch.setattr(tuning, "resolve", lambda outline: given)
        return tried(tune(recipe))

    as_it_is = values()
    assert len(as_it_is) == 2
    assert values(test=shuffled(read.split.test)) == as_it_is
    assert values(validation=shuffled(read.split.validation)) != as_it_is


@pytest.mark.slow
def test_importances_name_what_mattered(
    monkeypatch: pytest.MonkeyPatch, read: Resolved, wanted: Make
) -> None:
    monkeypatch.setattr(tuning, "fit", Fitting())
    monkeypatch.setattr(tuning, "resolve", lambda recipe: replace(read, recipe=recipe))
    found = tune(wanted(trials=40)).importances
    assert next(iter(found)) == RATE and found[RATE] > 0.5
    assert sum(found.values()) == pytest.approx(1, abs=0.01)


KILLED = """
import sys
from shortlist.recipes.tuning import tune
told = []
def tell(stage, done, total):
    if done >= 2 and "epoch 1" in stage:
        print("third trial is under way", flush=True)
tune(sys.argv[1], study=sys.argv[2], resume=True, tell=tell)
"""


@pytest.mark.slow
def test_a_process_that_is_killed_and_begun_again_ends_as_if_it_never_was(make: Make, tmp_path: Path) -> None:
    recipe = make(training={"epochs": 30}, tune={RATE: {"low": 1e-3, "high": 1e-1}, "trials": 4})
    (tmp_path / "recipe.toml").write_text(recipe.to_toml())
    command = [sys.executable, "-c", KILLED, str(tmp_path / "recipe.toml"), str(tmp_path / "study")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("third trial")
        process.kill()
    assert process.returncode < 0
    found = tune(recipe, study=tmp_path / "study", resume=True)
    assert tried(found) == tried(tune(recipe))
    assert [trial.state for trial in found.trials].count("stopped") == 1
