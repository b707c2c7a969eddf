"""What a search over a recipe found, as a value: printed, written as JSON or shown as a page."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from shortlist.data.spans import span
from shortlist.evaluation.html import document, styled
from shortlist.evaluation.html import table as html_table
from shortlist.evaluation.intervals import Estimate
from shortlist.evaluation.plots import bars, lines
from shortlist.evaluation.text import aligned
from shortlist.specs.recipe import Recipe

SHOWN = 10
TOO_GOOD = (
    "The best of many figures on the rows it was chosen by is too good.",
    "Test rows were not looked at: shortlist train judges the recipe on them.",
)


@dataclass(frozen=True)
class Trial:
    """One setting of the searched keys, and how it did.

    state: "done"; "pruned" (given up after `epochs` epochs); "failed" (`said` tells why); "stopped" (cut off
    by the end of the search). value: the objective; of a pruned trial, when it was given up.
    """

    number: int
    state: str
    value: float | None
    settings: Mapping[str, Any]
    epochs: int
    seconds: float
    own: bool = False
    said: str = ""


@dataclass(frozen=True)
class Tuned:
    """What a search found.

    recipe: the best, without [tune]. objective: the validation figure it was judged by. rows: how many
    validation rows that is. importances: how much each key mattered, shares of 1. stopped: what ended the
    search: "trials", "minutes" or "interrupted". folder: the study's, if it is kept.
    """

    recipe: Recipe
    objective: str
    higher_is_better: bool
    rows: int
    trials: tuple[Trial, ...]
    importances: Mapping[str, float] = field(default_factory=dict)
    stopped: str = "trials"
    folder: Path | None = None

    @property
    def ranked(self) -> tuple[Trial, ...]:
        """The trials that ended with a figure, best first."""
        return ranked(self.trials, higher_is_better=self.higher_is_better)

    @property
    def best(self) -> Trial:
        return self.ranked[0]

    @property
    def own(self) -> Trial | None:
        """The trial of the recipe as it was, where it ended and the ranges held it."""
        return next((trial for trial in self.ranked if trial.own), None)

    def toml(self) -> str:
        """The best recipe as a file; comments say what it rests on."""
        own = f"; the recipe as it was: {number(self.own.value)}" if self.own else ""
        note = f"# {self.objective} {number(self.best.value)} on {self.rows:,} validation rows{own}.\n"
        found = f"# Found by shortlist tune: trial {self.best.number} of {len(self.trials)}.\n"
        return found + note + "".join(f"# {line}\n" for line in TOO_GOOD) + self.recipe.to_toml()

    def table(self) -> str:
        """The best trials, and what mattered, as plain text."""
        header, rows = self._rows(self._shown)
        parts = [self.sentence, aligned(header, rows), *self.failures]
        if self.importances:
            body = [[key, f"{share:.2f}"] for key, share in self.importances.items()]
            parts.append("How much each key mattered (PED-ANOVA)\n" + aligned(["", "share"], body))
        return "\n\n".join([*parts, "\n".join(TOO_GOOD)])

    @property
    def sentence(self) -> str:
        """What was searched, in one sentence."""
        states = [trial.state for trial in self.trials]
        counts = ", ".join(f"{states.count(name)} {name}" for name in dict.fromkeys(states))
        which = "higher" if self.higher_is_better else "lower"
        seconds = sum(trial.seconds for trial in self.trials)
        return (
            f"{self.objective} ({which} is better) on {self.rows:,} validation rows;"
            f" {len(self.trials)} trials ({counts}) in {span(seconds)}; ended by: {self.stopped}"
        )

    @property
    def failures(self) -> list[str]:
        """What is said of trials that failed, each sentence once."""
        said = [trial.said for trial in self.trials if trial.said]
        return [f"{text} ({said.count(text)} trials)" for text in dict.fromkeys(said)][:3]

    def to_dict(self) -> dict[str, Any]:
        """Plain values only; what is not a finite number is None."""
        return {
            "objective": self.objective,
            "higher_is_better": self.higher_is_better,
            "validation_rows": self.rows,
            "stopped": self.stopped,
            "folder": None if self.folder is None else str(self.folder),
            "best": _plain(self.best),
            "own": None if self.own is None else _plain(self.own),
            "importances": dict(self.importances),
            "trials": [_plain(trial) for trial in self.trials],
            "recipe": self.recipe.to_dict(),
        }

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)

    def to_html(self, title: str = "Search") -> str:
        """A page that stands alone: no script, no request, plots as inline SVG."""
        return document(title, self._section(title))

    def _repr_html_(self) -> str:
        return self._section("Search")

    def __str__(self) -> str:
        return self.table()

    @property
    def _shown(self) -> list[Trial]:
        """The best, and the recipe as it was."""
        best = list(self.ranked[:SHOWN])
        return best if self.own is None or self.own in best else [*best, self.own]

    def _rows(self, trials: list[Trial]) -> tuple[list[str], list[list[str]]]:
        keys = list(dict.fromkeys(key for trial in self.trials for key in trial.settings))
        header = ["trial", self.objective, "epochs", "seconds", *keys]
        return header, [
            [
                _named(trial),
                number(trial.value),
                str(trial.epochs),
                f"{trial.seconds:.1f}",
                *(_shown(trial.settings.get(key)) for key in keys),
            ]
            for trial in trials
        ]

    def _section(self, title: str) -> str:
        best, every = self._rows(self._shown), self._rows(list(self.trials))
        marks = [trial == self.best for trial in self._shown]
        shares = {key: Estimate(share, math.nan, math.nan) for key, share in self.importances.items()}
        points = {"of this trial": self._course(), "best so far": self._best_so_far()}
        parts = [
            f"<h1>{escape(title)}</h1><p>{escape(self.sentence)}</p>",
            *(f'<p class="warning">{escape(said)}</p>' for said in self.failures),
            "<h2>Best trials</h2>" + html_table(*best, marks),
            lines(self.objective, points, "trial"),
            bars("How much each key mattered (PED-ANOVA)", shares),
            "<h2>All trials</h2>" + html_table(*every, [trial == self.best for trial in self.trials]),
            f"<p>{escape(' '.join(TOO_GOOD))}</p>",
        ]
        return styled(parts)

    def _course(self) -> list[tuple[float, float]]:
        done = [trial for trial in self.trials if trial.state == "done" and trial.value is not None]
        return [(float(trial.number), float(trial.value or 0.0)) for trial in done]

    def _best_so_far(self) -> list[tuple[float, float]]:
        best, out = math.inf, []
        sign = -1.0 if self.higher_is_better else 1.0
        for at, value in self._course():
            best = min(best, sign * value)
            out.append((at, sign * best))
        return out


def ranked(trials: tuple[Trial, ...], *, higher_is_better: bool) -> tuple[Trial, ...]:
    """Those that ended with a figure, best first, the earlier among equals."""
    done = [trial for trial in trials if trial.state == "done" and trial.value is not None]
    sign = -1.0 if higher_is_better else 1.0
    return tuple(sorted(done, key=lambda trial: (sign * (trial.value or 0.0), trial.number)))


def number(value: float | None) -> str:
    """Five digits after the point; a dash for what is missing."""
    return "-" if value is None else f"{value:.5f}"


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else "-" if value is None else json.dumps(value)


def _plain(trial: Trial) -> dict[str, Any]:
    return {**vars(trial), "settings": dict(trial.settings)}


def _named(trial: Trial) -> str:
    words = [
        str(trial.number),
        "as it was" if trial.own else "",
        "" if trial.state == "done" else trial.state,
    ]
    return " ".join(word for word in words if word)
