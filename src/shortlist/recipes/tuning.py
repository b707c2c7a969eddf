"""`tune`: a search over the ranges a recipe declares, judged on validation rows alone."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from shortlist.api.fitting import VALIDATION_K, Progress, fit
from shortlist.data.download import write_atomic
from shortlist.data.splits import Split
from shortlist.errors import NonFiniteLoss, RecipeError, SpecError, TrainingError, did_you_mean
from shortlist.recipes.run import Tell, find_outline, resolve
from shortlist.recipes.studies import Asked, Study, check_folder, opened, optuna_itself
from shortlist.recipes.tuned import Tuned, number, ranked
from shortlist.specs.keys import changed, value_at
from shortlist.specs.models import Model
from shortlist.specs.recipe import Outline, Recipe
from shortlist.specs.tuning import EXAMPLE, Declared, declared

BEST = "best.toml"
WATCH = 0.2
"""Seconds between two looks at jobs side by side."""
SPARED = 3
"""One part in so many of a trial's epochs runs before the trial may be given up."""
_PREFIX = "validation "


class _Cut(Exception):
    """The search ends before the trial does."""


class _Pruned(Exception):
    """The trial is given up."""


def tune(
    recipe: Recipe | Outline | str | Path,
    *,
    trials: int | None = None,
    minutes: float | None = None,
    jobs: int = 1,
    study: str | Path | None = None,
    resume: bool = False,
    output: str | Path | None = None,
    tell: Tell | None = None,
) -> Tuned:
    """Search the ranges that a recipe declares under `[tune]` for the best validation figure.

    Args:
        recipe: with `[tune]`; the name of a shipped one, or a file, too.
        trials, minutes: replace those of `[tune]`. The search ends at whichever comes first; a trial that
            runs when the minutes are over is stopped at the end of its epoch.
        jobs: so many trials run side by side, as threads.
        study: a folder that holds every trial, and in the end best.toml and tuning.{txt,json,html}; None
            keeps nothing. resume: go on with the study in the folder, if it has one.
        output: where the best recipe is written beside.

    The recipe's own values are tried first, where the ranges hold them. A trial is one `fit` without
    validation or test rows (the test part is emptied before the first). Ctrl-C ends the search with the best
    so far (`stopped` says "interrupted"). With one job the same seed tries the same settings, resumed or not.

    Raises RecipeError for a recipe without ranges or validation rows, a key that does not fit, or a folder
    that is taken; TrainingError where no trial came to an end; MissingExtra without Optuna.
    """
    optuna_itself()
    outline = recipe if isinstance(recipe, Recipe | Outline) else find_outline(recipe)
    wanted = _bounded(outline, trials, minutes)
    folder = None if study is None else Path(study)
    if folder is not None:
        check_folder(folder, resume=resume)
    if tell is not None:
        tell("reading data", 0, 1)
    resolved = resolve(outline)
    plan = plan_of(resolved.recipe, resolved.split, wanted)
    with opened(
        folder,
        wanted,
        plan.own,
        higher_is_better=plan.higher_is_better,
        facts=plan.facts,
        resume=resume,
    ) as found:
        stopped = Search(found, plan, tell or _silent).go(jobs)
        tuned = _result(found, plan, stopped, folder)
        if folder is not None:
            _write(tuned, folder)
    if output is not None:
        write_atomic(Path(output), tuned.toml().encode())
    return tuned


@dataclass(frozen=True)
class Plan:
    """What every trial shares. recipe: without [tune]; split: without test rows."""

    recipe: Recipe
    split: Split = field(repr=False)
    wanted: Declared
    objective: str
    own: dict[str, Any] | None

    @property
    def figure(self) -> str:
        """The objective as `fit` calls it."""
        return _PREFIX + self.objective

    @property
    def higher_is_better(self) -> bool:
        return not self.objective.startswith("rmse")

    @property
    def facts(self) -> dict[str, Any]:
        """What makes two searches the same."""
        plain = self.recipe.to_dict()
        ranges = {key: msgspec.to_builtins(kept) for key, kept in self.wanted.ranges.items()}
        tuning = self.wanted.tuning
        return {
            **{name: plain[name] for name in ("data", "split", "model", "training")},
            "ranges": ranges,
            "objective": self.objective,
            "seed": tuning.seed,
            "pruner": tuning.pruner,
            "rows": {"train": self.split.train.height, "validation": self.split.validation.height},
        }


def plan_of(recipe: Recipe, split: Split, wanted: Declared) -> Plan:
    """The search of a recipe on a split, checked: every range fits the recipe at its ends."""
    bare = msgspec.structs.replace(recipe, tune=None)
    if not split.validation.height:
        raise RecipeError(
            f"a search needs validation rows to judge by, and the split {split.rule} has none",
            hint="split.validation = 0.1",
        )
    for key, kept in wanted.ranges.items():
        for value in kept.ends:
            changed(bare, {key: value}, said=f"[tune] {key} = {value!r}")
    names = figures_of(recipe.model)
    objective = wanted.tuning.objective.removeprefix(_PREFIX) or usual_objective(recipe.model)
    if objective not in names:
        raise RecipeError(
            f"tune.objective {wanted.tuning.objective!r} is no validation figure of this model",
            hint=did_you_mean(objective, names),
        )
    values = {key: value_at(bare, key) for key in wanted.ranges}
    own = values if all(wanted.ranges[key].holds(value) for key, value in values.items()) else None
    return Plan(bare, replace(split, test=split.test.clear()), wanted, objective, own)


def figures_of(model: Model) -> list[str]:
    """The validation figures `fit` tells of a model, as objectives are named."""
    ndcg = [f"ndcg@{VALIDATION_K}"] if model.retrieval is not None else []
    return [*ndcg, *(f"rmse of {head.name}" for head in model.heads)]


def usual_objective(model: Model) -> str:
    """What `fit` itself judges epochs by."""
    if model.retrieval is not None and model.retrieval.weight:
        return f"ndcg@{VALIDATION_K}"
    return f"rmse of {next(head.name for head in model.heads if head.weight)}"


class Search:
    """Trials, one after another or side by side, until the bounds are met."""

    def __init__(self, study: Study, plan: Plan, tell: Tell) -> None:
        self.study, self.plan, self.tell = study, plan, tell
        self.limit = plan.wanted.tuning.trials
        self.deadline = time.monotonic() + 60 * plan.wanted.tuning.minutes
        self.running, self.halt, self.lock = 0, threading.Event(), threading.Lock()
        self.best: float | None = None

    def go(self, jobs: int) -> str:
        """Search; what ended it."""
        if jobs < 1:
            raise RecipeError(f"jobs must be at least 1, got {jobs}")
        interrupted = False
        try:
            if jobs == 1:
                self._work()
            else:
                self._side_by_side(jobs)
        except KeyboardInterrupt:
            interrupted = True
        if interrupted:
            return "interrupted"
        return "trials" if self.study.ended >= self.limit else "minutes"

    def _side_by_side(self, jobs: int) -> None:
        with ThreadPoolExecutor(jobs) as pool:
            working = [pool.submit(self._work) for _ in range(jobs)]
            try:
                # polars lets waits go on after a signal: Ctrl-C is seen between two short ones
                while not all(future.done() for future in working):
                    done = wait(working, timeout=WATCH, return_when=FIRST_EXCEPTION).done
                    if any(future.exception() is not None for future in done):
                        break
            finally:  # an error of one, or Ctrl-C: the others stop at the end of their epoch
                self.halt.set()
        for future in working:
            future.result()

    def _work(self) -> None:
        while (asked := self._next()) is not None:
            try:
                self._run(asked)
            finally:
                with self.lock:
                    self.running -= 1

    def _next(self) -> Asked | None:
        with self.lock:
            if self._over() or self.study.ended + self.running >= self.limit:
                return None
            self.running += 1
            return self.study.ask()

    def _over(self) -> bool:
        return self.halt.is_set() or time.monotonic() > self.deadline

    def _run(self, asked: Asked) -> None:
        """One trial. A loss that is not a number, or settings that contradict each other, are its result; any
        other error is the search's."""
        start = time.perf_counter()
        state, value = "stopped", None
        facts: dict[str, Any] = {}
        try:
            value, facts = self._fitted(asked)
            state = "done"
        except _Pruned:
            state = "pruned"
        except (NonFiniteLoss, RecipeError, SpecError) as error:
            state, facts = "failed", {"said": str(error)}
        except _Cut:
            pass
        finally:
            with self.lock:
                self.study.tell(asked, state, value, seconds=round(time.perf_counter() - start, 3), **facts)
        self._told(asked, state, value)

    def _fitted(self, asked: Asked) -> tuple[float, dict[str, Any]]:
        recipe = changed(self.plan.recipe, asked.settings, said="[tune]")
        fitted = fit(recipe.model, self.plan.split, training=recipe.training, listen=self._listener(asked))
        value = fitted.history[self.plan.figure][fitted.best_epoch - 1]
        if not math.isfinite(value):
            raise NonFiniteLoss(f"{self.plan.objective} is not a number")
        return value, {"epochs": fitted.best_epoch}

    def _listener(self, asked: Asked) -> Callable[[Progress], None]:
        def listen(progress: Progress) -> None:
            if self._over():
                raise _Cut
            if not progress.epoch:
                return
            value = progress.figures[self.plan.figure]
            if not math.isfinite(value):
                raise NonFiniteLoss(f"{self.plan.objective} is not a number")
            with self.lock:
                asked.trial.report(value, progress.epoch)
                judged = progress.num_epochs <= SPARED * progress.epoch < SPARED * progress.num_epochs
                worse = judged and asked.trial.should_prune()
            self._say(f"trial {asked.number}, epoch {progress.epoch}: {self.plan.objective} {value:.4f}")
            if worse:
                raise _Pruned

        return listen

    def _told(self, asked: Asked, state: str, value: float | None) -> None:
        if value is not None:
            sign = 1 if self.plan.higher_is_better else -1
            self.best = value if self.best is None else sign * max(sign * self.best, sign * value)
        self._say(f"trial {asked.number} {state}")

    def _say(self, text: str) -> None:
        best = "" if self.best is None else f"; best {number(self.best)}"
        self.tell(text + best, min(self.study.ended, self.limit), self.limit)


def _bounded(outline: Recipe | Outline, trials: int | None, minutes: float | None) -> Declared:
    """What the recipe declares, its bounds replaced by those that are given."""
    given = {"trials": trials, "minutes": minutes}
    changes = {name: value for name, value in given.items() if value is not None}
    wanted = declared({**(outline.tune or {}), **changes})
    if not wanted.ranges:
        raise RecipeError("the recipe declares no ranges to search", hint=f"for instance {EXAMPLE}")
    return wanted


def _result(study: Study, plan: Plan, stopped: str, folder: Path | None) -> Tuned:
    trials = study.trials()
    done = ranked(trials, higher_is_better=plan.higher_is_better)
    if not done:
        if stopped == "interrupted":
            raise KeyboardInterrupt
        said = next((trial.said for trial in trials if trial.said), "")
        raise TrainingError(
            f"no trial came to an end within the bounds of the search{': ' + said if said else ''}",
            hint="other ranges" if said else "more minutes, or fewer epochs",
        )
    best = changed(plan.recipe, done[0].settings, said="[tune]")
    return Tuned(
        recipe=best,
        objective=plan.figure,
        higher_is_better=plan.higher_is_better,
        rows=plan.split.validation.height,
        trials=trials,
        importances=study.importances(),
        stopped=stopped,
        folder=folder,
    )


def _write(tuned: Tuned, folder: Path) -> None:
    title = f"Search of {tuned.recipe.name or folder.name}"
    for name, text in {
        BEST: tuned.toml(),
        "tuning.txt": f"{tuned}\n",
        "tuning.json": tuned.to_json() + "\n",
        "tuning.html": tuned.to_html(title),
    }.items():
        write_atomic(folder / name, text.encode())


def _silent(stage: str, done: int, total: int) -> None:
    """Nobody listens."""
