"""A run that goes on from an earlier one's bundle: new tables in, a run folder out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from shortlist import bundle
from shortlist.api.comparing import compare
from shortlist.api.fitting import Fitted, Progress
from shortlist.api.news import rated_as_needed
from shortlist.api.warming import EPOCHS, RATE, REPLAY, warm_start
from shortlist.data.dataset import Dataset
from shortlist.data.fingerprint import fingerprint
from shortlist.data.splits import temporal
from shortlist.errors import DataError, RecipeError
from shortlist.evaluation.sides import SideBySide
from shortlist.pipeline.recommender import Recommender
from shortlist.specs.keys import changed
from shortlist.specs.recipe import Recipe

FILES = ("interactions", "items", "users", "dataset", "path")
"""Keys of [data] that say which tables, not how they are read."""
Tell = Callable[[str, int, int], None]


@dataclass(frozen=True)
class WarmRun:
    """What a warm start came to. comparison: with the bundle it went on from, on rows that were held out."""

    recipe: Recipe
    fitted: Fitted
    recommender: Recommender = field(repr=False)
    progress: tuple[Progress, ...] = field(repr=False)
    comparison: SideBySide | None = None

    def write(self, folder: Path) -> None:
        """The run's files, into a folder that is there: recipe.toml, metrics.jsonl, news.txt, bundle/ and,
        where rows were held out, comparison.{txt,json,html}."""
        self.recommender.save(folder / "bundle")
        (folder / "recipe.toml").write_text(self.recipe.to_toml(), encoding="utf-8")
        (folder / "news.txt").write_text("".join(f"{note}\n" for note in self.fitted.notes), encoding="utf-8")
        lines: list[dict[str, Any]] = [
            {"stage": "training", "epoch": p.epoch, **p.figures, "examples_per_second": p.examples_per_second}
            for p in self.progress
            if p.epoch
        ]
        lines.append({"seconds": {f"fit_{name}": value for name, value in self.fitted.seconds.items()}})
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / "metrics.jsonl").write_text(text, encoding="utf-8")
        if self.comparison is not None:
            (folder / "comparison.txt").write_text(f"{self.comparison}\n", encoding="utf-8")
            (folder / "comparison.json").write_text(self.comparison.to_json() + "\n", encoding="utf-8")
            (folder / "comparison.html").write_text(self.comparison.to_html(), encoding="utf-8")


def warm_run(
    start: str | Path,
    events: Path,
    *,
    items: Path | None = None,
    users: Path | None = None,
    epochs: int = EPOCHS,
    replay: float = REPLAY,
    rate: float = RATE,
    seed: int | None = None,
    hold_out: float = 0.0,
    settings: Mapping[str, Any] | None = None,
    tell: Tell | None = None,
) -> WarmRun:
    """Go on from a bundle with new tables, read as the recipe inside the bundle reads its own.

    hold_out: the share of the new events, the latest, that is not learned from; on these the result is
    compared with the bundle it went on from. settings: values of keys of the recipe's [data], such as the
    weight of a type of events that is new, which later runs go on with.

    Raises RecipeError where the bundle holds no recipe and for other settings, DataError where rows are to be
    held out and have no times, and as `warm_start` does.
    """
    tell = tell or _silent
    tell("reading", 0, 1)
    before = bundle.load(start)
    plain = before.provenance.get("recipe")
    if plain is None:
        raise RecipeError(
            f"the bundle {start} holds no recipe to read new tables by",
            hint="in Python: shortlist.warm_start(path, events)",
        )
    recipe = changed(Recipe.from_dict(plain), _of_data(settings or {}))
    data, left_out = rated_as_needed(recipe.model, recipe.data, events, items, users)
    held = None
    if hold_out:
        data, held = _held_out(data, hold_out)
    told: list[Progress] = []

    def listen(progress: Progress) -> None:
        told.append(progress)
        tell(f"training: {'compiled' if not progress.epoch else ''}", progress.epoch, progress.num_epochs)

    tell("training: compiling", 0, epochs)
    fitted = warm_start(
        start, data, items=None, epochs=epochs, replay=replay, rate=rate, seed=seed, listen=listen
    )
    made = fitted.recommender(
        rating_weight=before.utility.rating_weight,
        num_retrieved=before.num_retrieved,
        provenance=_provenance(before, recipe, fitted, data, bundle.inspect(start)["digest"]),
    )
    fitted = replace(fitted, notes=(*left_out, *fitted.notes))
    comparison = None
    if held is not None:
        tell("comparing", 0, 1)
        comparison = compare(before, made, held, names=("before", "after"), k=recipe.evaluation.k)
        latest = "event was" if held.height == 1 else f"{held.height:,} events were"
        unlearned = f"the latest {latest} held out: this bundle has not learned from"
        unlearned += " it" if held.height == 1 else " them"
        fitted = replace(fitted, notes=(*fitted.notes, f"{unlearned} (again without --hold-out, it does)"))
    return WarmRun(recipe, fitted, made, tuple(told), comparison)


def _of_data(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings; RecipeError for one of another section, or that names a file."""
    for key in settings:
        section, _, rest = key.partition(".")
        if section != "data" or not rest or rest in FILES:
            raise RecipeError(
                f"--set {key} cannot be given with --from: model and training are those of the bundle",
                hint="only how tables are read can change, for instance data.event_weights.refund=0",
            )
    return settings


def _held_out(data: Dataset, share: float) -> tuple[Dataset, pl.DataFrame]:
    if "timestamp" not in data.interactions.columns:
        raise DataError(
            "the latest events are to be held out, but the new events have no times", hint="leave --hold-out"
        )
    times = data.interactions["timestamp"]
    try:
        split = temporal(data, test=share)
    except DataError as error:
        span = f"all have the time {times[0]}" if times.n_unique() == 1 else f"only {times.n_unique()} times"
        raise DataError(
            f"of {times.len():,} new events the latest {share:.0%} cannot be held out: {span}, and events of"
            " one second stay together",
            hint="give events of a longer time or a smaller share, or leave --hold-out",
        ) from error
    return replace(data, interactions=split.train), split.test


def _provenance(
    before: Recommender, recipe: Recipe, fitted: Fitted, data: Dataset, digest: str
) -> dict[str, Any]:
    """That of the bundle it went on from, and from which it went on, how."""
    kept: dict[str, Any] = {
        name: before.provenance[name] for name in ("data", "seed", "licence") if name in before.provenance
    }
    training = fitted.training
    step = {
        "from": digest,
        "fingerprint": fingerprint(data),
        "notes": list(fitted.notes),
        "epochs": training.epochs,
        "learning_rate": training.optimizer.learning_rate,
        "seed": training.seed,
    }
    kept["recipe"] = recipe.to_dict()
    return {**kept, "warm_starts": [*before.provenance.get("warm_starts", []), step]}


def _silent(stage: str, done: int, total: int) -> None:
    """Nobody listens."""
