"""A run before it: the memory it will need and the time it will take, measured on small parts of itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np
import polars as pl

from shortlist.api.evaluating import carved_from, choose_weight, evaluate, interactions_of
from shortlist.api.fitting import Fitted, Judge, program_of
from shortlist.api.preparing import Prepared, positions_of, prepare, user_indices
from shortlist.api.sources import read_data, require_columns, split_data
from shortlist.data.coding import coded
from shortlist.data.spans import span
from shortlist.data.splits import Split
from shortlist.evaluation.compare import evaluate as judge
from shortlist.evaluation.costs import baseline_costs
from shortlist.evaluation.rows import Predictions, TestRows
from shortlist.features.batches import Examples
from shortlist.index.ranks import Ranks
from shortlist.models.build import build
from shortlist.models.ensemble import stacked, unstacked
from shortlist.models.scorer import JaxScorer
from shortlist.recipes.memory import Memory, memory_of
from shortlist.recipes.timing import timed, timed_on_all
from shortlist.specs.recipe import Recipe
from shortlist.training.loop import Compiled, EpochEnd, train

STEPS, EPOCHS = 16, 3
"""Steps that are really run, so many times over, and thrown away."""
ENOUGH = 3.0
"""Seconds after which steps that were measured are not measured once more to be surer."""

Tell = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Seconds:
    """A part of a run's wall time, and how that was found."""

    what: str
    seconds: float
    how: str


@dataclass(frozen=True)
class Estimate:
    """What a run will need; no times where its memory does not suffice to measure them."""

    memory: Memory
    times: tuple[Seconds, ...]

    @property
    def seconds(self) -> float | None:
        return sum(part.seconds for part in self.times) if self.times else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values: bytes and seconds, in all and line by line."""
        memory, highest = self.memory, self.memory.highest
        return {
            "fits": memory.fits,
            "memory_bytes": highest.nbytes,
            "available_bytes": memory.available,
            "limit": memory.limit,
            "highest": highest.name,
            "memory": [{"what": part.what, "bytes": part.nbytes, "how": part.how} for part in highest.parts],
            "stages": {stage.name: stage.nbytes for stage in memory.stages},
            "seconds": self.seconds,
            "time": [{"what": t.what, "seconds": round(t.seconds, 3), "how": t.how} for t in self.times],
        }


def estimate(recipe: Recipe, *, tell: Tell | None = None) -> Estimate:
    """Predict the peak memory and the wall time of `run`, within a factor of 1.5 as a rule.

    Tables are read, divided and encoded as in the run; some steps, an evaluation of some rows, fits of
    baselines on some users and an export are made and thrown away; of what takes long less is measured, and
    followed further. The run's programs are taken not to be in
    the compilation cache; one that stops early by `patience` is given all its epochs.
    """
    tell = tell or _silent
    started = time.process_time()
    tell("reading data", 0, 1)
    reading, data = timed(lambda: read_data(recipe))
    require_columns(recipe, data)
    dividing, split = timed(lambda: split_data(recipe, data))
    encoding, prepared = timed(lambda: prepare(recipe.model, split))
    memory = memory_of(recipe, split, prepared)
    if not memory.fits:
        return Estimate(memory, ())
    times = [
        Seconds("start", started, "measured: Python and imports"),
        Seconds("data", reading + dividing, "measured: read and divided"),
    ]
    tell("timing steps", 0, 1)
    trial = _trial(recipe, prepared)
    memory = _with_scratch(recipe, split, prepared, memory, trial.scratch)
    times += _fitting(recipe, split, prepared, trial, encoding)
    tell("timing evaluation", 0, 1)
    times += _evaluation(recipe, split, prepared, trial, tell)
    tell("done", 1, 1)
    return Estimate(memory, tuple(times))


def _with_scratch(recipe: Recipe, split: Split, prepared: Prepared, memory: Memory, scratch: int) -> Memory:
    """The same memory with the scratch the compiler has planned, of the process as it was."""
    told = memory_of(recipe, split, prepared, scratch=scratch)
    stages = []
    for before, after in zip(memory.stages, told.stages, strict=True):
        stages.append(replace(after, parts=(before.parts[0], *after.parts[1:])))
    return replace(memory, stages=tuple(stages))


@dataclass(frozen=True)
class _Trial:
    """Some steps, really run. compile, step: seconds; scratch: bytes of a step beside what it is given."""

    compile: float
    step: float
    scratch: int
    params: Any


def _trial(recipe: Recipe, prepared: Prepared) -> _Trial:
    model = recipe.model
    course = msgspec.structs.replace(recipe.training, epochs=EPOCHS, patience=0)
    examples = _some(prepared.examples, STEPS * course.batch_size)
    means = {head.name: 0.0 for head in model.heads}
    sizes = prepared.encoder.sizes
    widths, spec = prepared.aggregate_widths, program_of(model)
    building, (net, tables) = timed(
        lambda: stacked(
            lambda seed: build(spec, sizes, means=means, seed=seed, aggregates=widths), course.seeds
        )
    )
    weights = {t.name: t.weight for t in model.all_tasks if t.weight}
    compiling, num_steps, scratch, epochs, live = 0.0, 1, 0, [], None
    for event in train(net, tables, examples, prepared.catalogue, course, task_weights=weights):
        if isinstance(event, Compiled):
            compiling, num_steps, scratch = event.seconds, event.num_steps, event.scratch_bytes
        elif isinstance(event, EpochEnd):
            epochs.append(event.seconds)
            live = event.live
            if sum(epochs) > ENOUGH:
                break
    assert live is not None
    params = unstacked(*live, course.members)
    return _Trial(building + compiling, float(np.median(epochs)) / num_steps, scratch, params)


def _some(examples: Examples, most: int) -> Examples:
    """A random part of the rows; the last user stays, as what is compiled depends on how many there are."""
    if len(examples) <= most:
        return examples
    rows = np.random.default_rng(0).integers(0, len(examples), most)
    rows[0] = int(np.argmax(examples.users))
    rows.sort()
    return examples.each(lambda column: column[rows])


def _fitting(
    recipe: Recipe, split: Split, prepared: Prepared, trial: _Trial, encoding: float
) -> list[Seconds]:
    training = recipe.training
    n, held = split.train.height, split.validation.height
    grown = (n + held) / n
    fits = [("training", n + held, encoding * (grown if held else 1.0))]
    out = []
    if held:
        fits.insert(0, ("choosing", n, encoding))
    for name, rows, encode in fits:
        steps = -(-rows // training.batch_size)
        how = f"measured {span(encoding)}, of {rows:,} rows"
        out.append(Seconds(f"{name}: encoding", encode, how))
        out.append(Seconds(f"{name}: compiling", trial.compile, "measured, as if in no cache"))
        seconds = training.epochs * steps * trial.step
        how = f"{training.epochs} epochs x {steps:,} steps x {1e3 * trial.step:,.1f} ms, measured"
        out.append(Seconds(f"{name}: steps", seconds, how))
    if not held:
        return out
    first, again = timed_on_all(
        lambda rows: _judging(recipe, split, prepared, trial, rows), split.validation, split.items.height
    )
    how = f"{training.epochs} times {held:,} rows, timed on some"
    out.append(Seconds("choosing: validation", first + training.epochs * again, how))
    if recipe.serving.rating_weight is None and _chooses(recipe):
        fitted = _fitted(recipe, split, prepared, trial)

        def weights(rows: pl.DataFrame) -> Callable[[], Any]:
            return lambda: choose_weight(fitted, rows, recipe.serving.weights, min(recipe.evaluation.k))

        how = f"{len(recipe.serving.weights)} weights on {held:,} rows, timed on some"
        out.append(
            Seconds(
                "choosing: rating weight",
                sum(timed_on_all(weights, split.validation, split.items.height)),
                how,
            )
        )
    return out


def _chooses(recipe: Recipe) -> bool:
    """Whether there are two stages, to be weighed against each other."""
    return recipe.model.retrieval is not None and bool(recipe.model.heads)


def _judging(
    recipe: Recipe, split: Split, prepared: Prepared, trial: _Trial, rows: pl.DataFrame
) -> Callable[[], Any]:
    judge = Judge(recipe.model, replace(split, validation=rows), prepared)
    return lambda: judge(trial.params)


def _fitted(recipe: Recipe, split: Split, prepared: Prepared, trial: _Trial) -> Fitted:
    net, tables = trial.params
    scorer = JaxScorer(net, tables, prepared.encoder)
    return Fitted(recipe.model, recipe.training, split, scorer, prepared, {}, 1, {})


def _evaluation(recipe: Recipe, split: Split, prepared: Prepared, trial: _Trial, tell: Tell) -> list[Seconds]:
    settings = recipe.evaluation
    weight = recipe.serving.rating_weight
    if weight is None:  # `run` chooses none without two stages, or rows to judge them on
        weight = max(recipe.serving.weights) if _chooses(recipe) and split.validation.height else 0.0
    fitted = _fitted(recipe, split, prepared, trial)
    making, recommender = timed(
        lambda: fitted.recommender(rating_weight=weight, num_retrieved=recipe.serving.retrieve)
    )

    def judged(rows: pl.DataFrame) -> Callable[[], Any]:
        part = replace(split, test=rows)
        return lambda: evaluate(
            recommender, split=part, baselines=False, k=settings.k, resamples=settings.resamples
        )

    total, num_users = split.test.height, split.test["user_id"].n_unique()
    how = f"{total:,} rows of {num_users:,} users, timed on some"
    out = [
        Seconds("evaluation: model", making + sum(timed_on_all(judged, split.test, split.items.height)), how)
    ]
    if settings.baselines:
        fit_on, tune_on = (split.train, split.validation) if split.validation.height else carved_from(split)
        vocabulary = recommender.users.vocabulary
        train_on, tuned_on = (interactions_of(part, split.items, vocabulary) for part in (fit_on, tune_on))
        rows = _test_rows(split, prepared)
        costs = baseline_costs(train_on, tuned_on, rows, tell=lambda name: tell(f"timing {name}", 0, 1))
        out += [Seconds(f"baseline {cost.name}", cost.seconds, cost.how) for cost in costs]
        how = f"{len(costs)} entrants, {settings.resamples:,} resamples of {num_users:,} users"

        def figures(rows: pl.DataFrame) -> Callable[[], Any]:
            drawn = _test_rows(replace(split, test=rows), prepared)
            entrants = _drawn(drawn, len(costs))
            return lambda: judge(entrants, drawn, settings.k, resamples=settings.resamples)

        seconds = sum(timed_on_all(figures, split.test, split.items.height))
        out.append(Seconds("evaluation: intervals of baselines", seconds, how))
    with TemporaryDirectory(prefix="shortlist-estimate.") as folder:
        exporting, _ = timed(lambda: recommender.save(Path(folder) / "bundle"))
    out.append(Seconds("export", exporting, "measured"))
    return out


def _test_rows(split: Split, prepared: Prepared) -> TestRows:
    targets, users = positions_of(split.test, split.items), user_indices(split.test, prepared.users)
    ratings = split.test["rating"].to_numpy() if "rating" in split.test.columns else None
    keys = coded(split.test["user_id"]).codes
    known = prepared.seen.pairs()
    return TestRows.of(*known, users, targets, split.items.height, user_keys=keys, ratings=ratings)


def _drawn(rows: TestRows, count: int) -> list[Predictions]:
    """So many entrants whose ranks are drawn: what is made of them takes as long as of any others."""
    rng = np.random.default_rng(0)
    ranks = Ranks(*rng.integers(1, rows.num_items + 1, (2, len(rows))).astype(np.float64))
    top = rng.integers(0, rows.num_items, (rows.num_users, 10)).astype(np.int32)
    ratings = None if rows.ratings is None else np.nan_to_num(rows.ratings)
    return [Predictions(str(at), "baseline", ranks, ranks, ratings, top) for at in range(count)]


def _silent(stage: str, done: int, total: int) -> None:
    """Nobody listens."""
