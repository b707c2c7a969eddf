"""The study behind a search: an Optuna study in memory, or in a folder from which it can be resumed.

A folder holds study.json (what is searched), study.journal (Optuna's log of every trial) and study.lock. What
is drawn for a trial depends on the seed and on the trials that ended before it alone, so that a search that
was killed and resumed finds what it would have found.
"""

from __future__ import annotations

import fcntl
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shortlist.data.download import write_atomic
from shortlist.errors import MissingExtra, RecipeError
from shortlist.recipes.tuned import Trial
from shortlist.specs.tuning import Choices, Declared, Range

if TYPE_CHECKING:
    import optuna

FACTS, JOURNAL, LOCK = "study.json", "study.journal", "study.lock"
_SPREAD = 1_000_003
"""Between the seeds of neighbouring searches: more than a search has trials."""
_STARTUP = 5
"""Trials that end before any is given up."""


def optuna_itself() -> Any:
    """The package, quiet. Raises MissingExtra without it."""
    try:
        import optuna
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "optuna":
            raise
        raise MissingExtra("optuna", "tune", "shortlist tune") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


@dataclass(frozen=True)
class Asked:
    """A trial that is to be run: Optuna's own, and the recipe's keys with their values."""

    trial: optuna.Trial
    settings: dict[str, Any]
    number: int


@dataclass(frozen=True)
class Study:
    """Trials, asked for one by one and told of. own: the recipe's present values, tried first, if the ranges
    hold them all."""

    study: optuna.Study
    declared: Declared
    own: Mapping[str, Any] | None

    def ask(self) -> Asked:
        """The next trial."""
        before = self.study.get_trials(deepcopy=False)
        optuna = optuna_itself()
        begun = [t for t in before if t.state != optuna.trial.TrialState.FAIL]
        if not begun and self.own is not None:
            self.study.enqueue_trial(self._drawn(self.own), user_attrs={"own": True})
        seed = (self.declared.tuning.seed * _SPREAD + len(begun)) % 2**32
        self.study.sampler = optuna.samplers.TPESampler(seed=seed)
        trial = self.study.ask()
        settings = {key: _suggested(trial, key, kept) for key, kept in self.declared.ranges.items()}
        return Asked(trial, settings, trial.number)

    def tell(self, asked: Asked, state: str, value: float | None = None, **facts: Any) -> None:
        """How a trial ended: "done" with a value, "pruned", "failed" or "stopped"; facts are kept too."""
        for name, fact in {**facts, "state": state}.items():
            asked.trial.set_user_attr(name, fact)
        states = optuna_itself().trial.TrialState
        # a failed trial is one of the worst for the sampler; one that was stopped never was
        known = {"done": states.COMPLETE, "stopped": states.FAIL}.get(state, states.PRUNED)
        self.study.tell(asked.trial, value if state == "done" else None, known)

    @property
    def ended(self) -> int:
        """How many trials came to an end."""
        states = optuna_itself().trial.TrialState
        return len(self.study.get_trials(deepcopy=False, states=(states.COMPLETE, states.PRUNED)))

    def trials(self) -> tuple[Trial, ...]:
        """All of them, in the order they were begun."""
        return tuple(self._trial(found) for found in self.study.get_trials(deepcopy=False))

    def importances(self) -> dict[str, float]:
        """How much each key mattered, the largest first; nothing of fewer than four trials that ended."""
        optuna = optuna_itself()
        done = self.study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
        if len(done) < 4 or len({trial.value for trial in done}) < 2:
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

            found = get_param_importances(self.study, evaluator=PedAnovaImportanceEvaluator())
        return {key: round(float(share), 4) for key, share in found.items()}

    def forget_running(self) -> None:
        """What ran when its process was killed was stopped."""
        states = optuna_itself().trial.TrialState
        for trial in self.study.get_trials(deepcopy=False, states=(states.RUNNING,)):
            self.study.tell(trial.number, state=states.FAIL)

    def _drawn(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Settings as Optuna's parameters."""
        ranges = self.declared.ranges
        return {
            key: _label(value) if isinstance(ranges[key], Choices) else value
            for key, value in settings.items()
        }

    def _trial(self, found: Any) -> Trial:
        steps, facts = found.intermediate_values, found.user_attrs
        ranges = self.declared.ranges
        return Trial(
            number=found.number,
            state=facts.get("state", "stopped"),
            value=found.value if found.value is not None else steps[max(steps)] if steps else None,
            settings={key: _setting(ranges[key], value) for key, value in found.params.items()},
            epochs=facts.get("epochs", max(steps, default=0)),
            seconds=facts.get("seconds", 0.0),
            own=facts.get("own", False),
            said=facts.get("said", ""),
        )


@contextmanager
def opened(
    folder: Path | None,
    declared: Declared,
    own: Mapping[str, Any] | None,
    *,
    higher_is_better: bool,
    facts: Mapping[str, Any],
    resume: bool = False,
) -> Iterator[Study]:
    """The study in a folder (None: in memory). facts: what must be the same when it is resumed.

    Raises RecipeError where the folder is taken, holds the study of something else, or another process is
    at work in it.
    """
    if folder is None:
        yield _study(None, declared, own, higher_is_better)
        return
    check_folder(folder, resume=resume)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        if (folder / FACTS).exists():
            _check_same(folder, facts)
        else:
            write_atomic(folder / FACTS, (json.dumps(facts, indent=2) + "\n").encode())
        _mend(folder / JOURNAL)
        study = _study(folder / JOURNAL, declared, own, higher_is_better)
        study.forget_running()
        yield study


def check_folder(folder: Path, *, resume: bool) -> None:
    """RecipeError where a study cannot be in this folder."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / FACTS).is_file():
        raise RecipeError(f"{folder} exists and holds no study", hint="give another folder with --study")
    if not resume:
        raise RecipeError(
            f"{folder} holds a study already", hint="--resume continues it; --study names another folder"
        )


def _study(
    journal: Path | None, declared: Declared, own: Mapping[str, Any] | None, higher_is_better: bool
) -> Study:
    optuna = optuna_itself()
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    pruners = optuna.pruners
    median = pruners.MedianPruner(n_startup_trials=_STARTUP)
    study = optuna.create_study(
        storage=None if journal is None else JournalStorage(JournalFileBackend(str(journal))),
        study_name="shortlist",
        direction="maximize" if higher_is_better else "minimize",
        pruner=median if declared.tuning.pruner == "median" else pruners.NopPruner(),
        load_if_exists=True,
    )
    return Study(study, declared, own)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Alone in the folder, until the block or the process ends."""
    with (folder / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RecipeError(
                f"another process is at work on the study {folder}", hint="wait for it, or end it"
            ) from None
        yield


def _check_same(folder: Path, facts: Mapping[str, Any]) -> None:
    try:
        before = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecipeError(f"cannot read {folder / FACTS}: {error}", hint="begin another study") from error
    now = json.loads(json.dumps(facts))
    differ = [name for name in now if not isinstance(before, dict) or before.get(name) != now[name]]
    if differ:
        raise RecipeError(
            f"the study {folder} is of another search: not the same {', '.join(differ)}",
            hint="resume with the recipe and the data it began with, or give another folder with --study",
        )


def _mend(journal: Path) -> None:
    """Take away what a killed process left behind: half a line, and the lock of a write."""
    if not journal.exists():
        return
    written = journal.read_bytes()
    whole = written.rfind(b"\n") + 1
    if whole < len(written):
        os.truncate(journal, whole)
    journal.with_name(f"{journal.name}.lock").unlink(missing_ok=True)


def _suggested(trial: optuna.Trial, key: str, kept: Range) -> Any:
    if isinstance(kept, Choices):
        return _setting(kept, trial.suggest_categorical(key, [_label(value) for value in kept.values]))
    low, high, step = kept.low, kept.high, kept.step
    if step is not None:
        high = low + int((high - low) / step + 1e-9) * step
    if kept.whole:
        return trial.suggest_int(key, int(low), int(high), step=int(step or 1), log=kept.log)
    return _setting(kept, trial.suggest_float(key, low, high, step=step, log=kept.log))


def _setting(kept: Range, drawn: Any) -> Any:
    """Optuna's parameter as a value of the recipe."""
    if isinstance(kept, Choices):
        return next(value for value in kept.values if _label(value) == drawn)
    return kept.tidy(drawn)


def _label(value: Any) -> str:
    """A choice as text: Optuna knows no lists or tables."""
    return json.dumps(value, sort_keys=True)
