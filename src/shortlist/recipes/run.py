"""One run, top to bottom: read, split, choose on validation, fit, evaluate, write the bundle."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from shortlist.api.evaluating import ALL_ROWS, choose_weight, evaluate
from shortlist.api.fitting import Fitted, Progress, fit
from shortlist.api.indexing import about_index, indexed
from shortlist.api.preparing import prepare
from shortlist.api.sources import beside, read_data, require_columns, split_data
from shortlist.bundle.journals import require_no_operations
from shortlist.data.dataset import Dataset, describe
from shortlist.data.fingerprint import fingerprint
from shortlist.data.splits import Split
from shortlist.errors import RecipeError, did_you_mean
from shortlist.evaluation.report import Report
from shortlist.index.ivf import faiss
from shortlist.pipeline.recommender import Recommender
from shortlist.recipes.infer import approximate, for_index, infer
from shortlist.recipes.memory import memory_of
from shortlist.specs.features import Id
from shortlist.specs.models import Tower, TwoTower
from shortlist.specs.recipe import Outline, Recipe, SplitRule, read_outline, read_recipe
from shortlist.specs.training import Training

Tell = Callable[[str, int, int], None]
"""Told of progress: what is being done, how many parts of it are done, of how many."""


@dataclass(frozen=True)
class RunResult:
    """What a run left behind. seconds: wall time by stage. notes: what is to be said of its index."""

    output: Path
    report: Report
    bundle: Path
    seconds: dict[str, float]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Resolved:
    """A recipe without gaps, the data and the split it runs on, and why what was inferred is as it is."""

    recipe: Recipe
    data: Dataset
    split: Split
    reasons: tuple[str, ...] = ()


def resolve(recipe: Recipe | Outline) -> Resolved:
    """Read and divide the data, and infer what the recipe leaves open from the training rows.

    Raises RecipeError where the recipe names no data, and what reading, splitting and `infer` raise.
    """
    if isinstance(recipe, Recipe):
        data = read_data(recipe)
        require_columns(recipe, data)
        return Resolved(recipe, data, split_data(recipe, data))
    data = read_data(_open(recipe, SplitRule()))
    rule = recipe.rule(timed="timestamp" in data.interactions.columns)
    split = split_data(_open(recipe, rule), data)
    found = infer(split, recipe.model)
    model, reasons = for_index(found.model, recipe.serving, split.items.height)
    return Resolved(recipe.filled(model, found.training, rule), data, split, (*found.reasons, *reasons))


def _open(outline: Outline, rule: SplitRule) -> Recipe:
    """As much of a recipe as reading and dividing look at."""
    anything = TwoTower(Tower((Id("user_id"),)), Tower((Id("item_id"),)))
    return outline.filled(anything, Training(), rule)


def run(
    recipe: Recipe | Outline, output: str | Path, *, force: bool = False, tell: Tell | None = None
) -> RunResult:
    """Carry out a recipe; leaves recipe.toml, metrics.jsonl, report.{txt,json,html} and bundle/ in `output`.

    Where the recipe infers its model, recipe.toml and the bundle hold the recipe that was inferred, and
    inferred.txt and the bundle the reasons.

    Settings (the weight of the rating in the final order, the best epoch where there is patience) are chosen
    by a model fitted without the validation rows; the model that is judged is fitted on train and validation
    together; test rows are looked at once, at the end. That model is kept, or with `serving.all_rows` one
    that was then fitted on all rows, of which the report says nothing. The directory appears when everything
    in it is complete. Raises RecipeError where `output` exists and `force` is not set, BundleError where the
    journal of a bundle in it holds operations (see `shortlist.open_live`), NotEnoughMemory,
    with the arithmetic, before anything is fitted where the run cannot fit, MissingExtra there where an
    approximate index has no faiss, and whatever reading, fitting and exporting raise.
    """
    output = Path(output)
    _check_output(output, force)
    tell = tell or _silent
    clock = _Clock()
    tell("reading data", 0, 1)
    resolved = resolve(recipe)
    recipe, data, split = resolved.recipe, resolved.data, resolved.split
    _require_judge(recipe, split)
    if approximate(recipe.model, recipe.serving, split.items.height):
        faiss()  # a run of hours would else end without its index
    memory_of(recipe, split, prepare(recipe.model, split)).require()
    clock.lap("data")

    epochs, weight = recipe.training.epochs, recipe.serving.rating_weight
    curves: list[tuple[str, Progress]] = []
    history: dict[str, list[float]] = {}
    if split.validation.height:
        tell("choosing: compiling", 0, recipe.training.epochs)
        chosen = fit(recipe.model, split, training=recipe.training, listen=_follow(tell, "choosing", curves))
        history = chosen.history
        epochs = chosen.best_epoch if recipe.training.patience else epochs
        if weight is None and recipe.model.retrieval is not None and recipe.model.heads:
            weight = choose_weight(chosen, split.validation, recipe.serving.weights, min(recipe.evaluation.k))
        del chosen  # its tables would stay beside those of the last fit
        clock.lap("choose")
    course = msgspec.structs.replace(recipe.training, epochs=epochs, patience=0)
    tell("training: compiling", 0, epochs)
    fitted = fit(recipe.model, split.refit(), training=course, listen=_follow(tell, "training", curves))
    clock.lap("fit")

    recommender = _serving(recipe, fitted, weight or 0.0, _provenance(resolved, fitted))
    if recommender.index is not None:
        clock.lap("index")
    report = evaluate(
        recommender,
        split=split,
        baselines=recipe.evaluation.baselines,
        k=recipe.evaluation.k,
        resamples=recipe.evaluation.resamples,
        protocol={"data": data.name},
        history={**fitted.history, **{k: v for k, v in history.items() if k.startswith("validation")}},
        tell=tell,
    )
    clock.lap("evaluate")
    if recipe.serving.all_rows:
        weight, described = recommender.utility.rating_weight, recommender.provenance
        del recommender  # two models at a time are one too many
        tell("training on all rows: compiling", 0, epochs)
        fitted = fit(
            recipe.model, split.whole(), training=course, listen=_follow(tell, "training on all rows", curves)
        )
        recommender = _serving(recipe, fitted, weight, described | {"trained_on": ALL_ROWS})
        clock.lap("fit on all rows")
    tell("writing the bundle", 0, 1)
    with _appearing(output) as folder:
        replace(recommender, provenance=recommender.provenance | _judged(report)).save(folder / "bundle")
        (folder / "recipe.toml").write_text(recipe.to_toml(), encoding="utf-8")
        _write_reasons(folder, resolved.reasons)
        clock.lap("export")
        _write_metrics(folder / "metrics.jsonl", curves, fitted, clock.seconds)
        _write_report(folder, report, recipe.name or output.name)
    tell("done", 1, 1)
    return RunResult(output, report, output / "bundle", clock.seconds, tuple(about_index(recommender)))


def _require_judge(recipe: Recipe, split: Split) -> None:
    if recipe.training.patience and not split.validation.height:
        raise RecipeError(
            "training.patience needs validation rows to judge by, and the split has none",
            hint="split.validation = 0.1, or training.patience = 0",
        )


def _serving(recipe: Recipe, fitted: Fitted, weight: float, provenance: dict[str, Any]) -> Recommender:
    serving = recipe.serving
    made = fitted.recommender(rating_weight=weight, num_retrieved=serving.retrieve, provenance=provenance)
    return indexed(made, serving.index, recall=serving.recall, latency_ms=serving.latency_ms)


def shipped_recipes() -> list[str]:
    """Names of the recipes that come with the package."""
    folder = resources.files("shortlist.recipes")
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml"))


def find_recipe(name_or_path: str | Path) -> Recipe:
    """A shipped recipe by name, or a TOML file; files it names that lie beside it are those that are meant.
    RecipeError for neither, or where it infers its model."""
    path = _path_of(name_or_path)
    return beside(read_recipe(path), path.parent)


def find_outline(name_or_path: str | Path) -> Recipe | Outline:
    """The same, of recipes that infer their model too."""
    path = _path_of(name_or_path)
    return beside(read_outline(path), path.parent)


def _path_of(name_or_path: str | Path) -> Path:
    path = Path(name_or_path)
    if path.suffix == ".toml" or path.exists():
        return path
    if str(name_or_path) in shipped_recipes():
        return Path(str(resources.files("shortlist.recipes") / f"{name_or_path}.toml"))
    raise RecipeError(
        f"no recipe {str(name_or_path)!r}: neither a shipped one nor a file",
        hint=did_you_mean(str(name_or_path), shipped_recipes()),
    )


def _follow(tell: Tell, stage: str, curves: list[tuple[str, Progress]]) -> Callable[[Progress], None]:
    def listen(progress: Progress) -> None:
        figures = ", ".join(f"{name} {value:.3f}" for name, value in progress.figures.items())
        rate = f", {progress.examples_per_second:,.0f} rows/s" if progress.epoch else ""
        tell(
            f"{stage}: {figures}{rate}" if figures else f"{stage}: compiled",
            progress.epoch,
            progress.num_epochs,
        )
        curves.append((stage, progress))

    return listen


def _provenance(resolved: Resolved, fitted: Fitted) -> dict[str, Any]:
    """What the bundle says of where it came from."""
    recipe, data = resolved.recipe, resolved.data
    inferred = {"inferred": list(resolved.reasons)} if resolved.reasons else {}
    return {
        "recipe": recipe.to_dict(),
        **inferred,
        "data": {
            "name": data.name,
            "licence": data.licence,
            "fingerprint": fingerprint(data),
            "described": describe(data),
        },
        "split": resolved.split.describe(),
        "seed": recipe.training.seed,
        **({"licence": recipe.licence} if recipe.licence else {}),
        "seconds": fitted.seconds,
    }


def _write_metrics(
    path: Path, curves: list[tuple[str, Progress]], fitted: Fitted, seconds: dict[str, float]
) -> None:
    lines: list[dict[str, Any]] = [
        {"stage": stage, "epoch": p.epoch, **p.figures, "examples_per_second": p.examples_per_second}
        if p.epoch
        else {"stage": stage, "tables": p.notes}
        for stage, p in curves
    ]
    lines.append({"seconds": {**seconds, **{f"fit_{name}": value for name, value in fitted.seconds.items()}}})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def _metrics(report: Report) -> list[dict[str, Any]]:
    """Every entrant's figures, for the manifest."""
    return [
        {"name": entry["name"], "role": entry["role"], "figures": entry["figures"]}
        for entry in report.to_dict()["entries"]
    ]


def _judged(report: Report) -> dict[str, Any]:
    """The figures, and how they came about."""
    return {"metrics": _metrics(report), "evaluation": _judgement(report)}


def _judgement(report: Report) -> dict[str, Any]:
    """What is said of the figures, and those of the model on parts of the test rows, for the model card."""
    plain = report.to_dict()
    ours = [entry["name"] for entry in plain["entries"] if entry["role"] == "model"]
    return {
        "protocol": plain["protocol"],
        "headline": plain["headline"],
        "verdicts": [verdict["sentence"] for verdict in plain["verdicts"]],
        "slices": [
            {"name": part["name"], "rows": part["num_rows"], "figures": part["figures"].get(ours[0], {})}
            for part in plain["slices"]
            if ours
        ],
        "warnings": list(report.warnings),
        "report": _rest(plain),
    }


def _rest(plain: dict[str, Any]) -> dict[str, Any]:
    """What else the report says, for whoever shows it from the bundle alone."""
    beside = ("name", "settings", "seconds", "curve")
    named = ("verdicts", "slices", "stages", "collapse", "history")
    return {
        "entries": [{name: entry[name] for name in beside} for entry in plain["entries"]],
        **{name: plain[name] for name in named},
    }


def _write_reasons(folder: Path, reasons: tuple[str, ...]) -> None:
    if reasons:
        said = "".join(f"{reason}\n" for reason in reasons)
        (folder / "inferred.txt").write_text(said, encoding="utf-8")


def _write_report(folder: Path, report: Report, title: str) -> None:
    (folder / "report.txt").write_text(str(report) + "\n", encoding="utf-8")
    (folder / "report.json").write_text(report.to_json() + "\n", encoding="utf-8")
    (folder / "report.html").write_text(report.to_html(title), encoding="utf-8")


def _check_output(output: Path, force: bool) -> None:
    if output.exists() and not force:
        raise RecipeError(
            f"{output} exists already", hint="give another output folder, or --force to replace it"
        )
    is_run = output.is_dir() and ((output / "recipe.toml").exists() or not any(output.iterdir()))
    if output.exists() and not is_run:
        raise RecipeError(
            f"{output} is not a run directory, so it is not replaced", hint="give another output folder"
        )
    require_no_operations(output)


@contextmanager
def _appearing(output: Path) -> Iterator[Path]:
    """A folder beside `output` that takes its place when the block ends well, else is removed."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as beside:
        folder = Path(beside) / "new"
        folder.mkdir()
        yield folder
        require_no_operations(output)  # also none of those that came meanwhile
        old = Path(beside) / "old"
        if output.exists():
            os.replace(output, old)
        try:
            os.replace(folder, output)
        except OSError:
            if old.exists():
                os.replace(old, output)
            raise


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = round(now - self._last, 3)
        self._last = now


def _silent(stage: str, done: int, total: int) -> None:
    """Nobody listens."""
