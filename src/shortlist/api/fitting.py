"""`fit`: from a model's spec and a split to a fitted model."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import msgspec
import numpy as np
import polars as pl

from shortlist._typing import Array, Floats, Ints
from shortlist.api.pasts import numbers_read, standing
from shortlist.api.preparing import (
    Prepared,
    label,
    may_lack,
    positions_of,
    prepare,
    query_columns,
    user_indices,
)
from shortlist.api.stored import Stored
from shortlist.data.coded import blocks
from shortlist.data.download import cache_folder
from shortlist.data.splits import Split
from shortlist.errors import DataError, TrainingError
from shortlist.evaluation.metrics import gain, squared_error
from shortlist.features.batches import KNOWN
from shortlist.features.encoder import Encoded
from shortlist.features.fitted import Lookup
from shortlist.features.history import Total
from shortlist.features.log import Standing
from shortlist.models.build import Net, Tables, build
from shortlist.models.ensemble import Trained, stacked, unstacked
from shortlist.models.layers import parameter
from shortlist.models.scorer import JaxScorer
from shortlist.specs.features import AsOf, Id
from shortlist.specs.models import Model, TwoTower
from shortlist.specs.training import OptimizerSpec, Training
from shortlist.training.loop import Compiled, Event, train
from shortlist.training.ranks import count_ranks
from shortlist.training.steps import OptimizerState, copied

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shortlist.pipeline.recommender import Recommender

VALIDATION_K = 10


@dataclass(frozen=True)
class Progress:
    """What `fit` tells its listener: the epoch that ended (0: compiled), of how many, and its figures.

    notes: when compiled, how each table is updated and why.
    """

    epoch: int
    num_epochs: int
    figures: dict[str, float]
    examples_per_second: float = 0.0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fitted:
    """A trained model with what it was trained on.

    history: curves by name, one value an epoch: each task's training loss and, with validation rows,
    "validation ndcg@10" or "validation rmse". best_epoch: the epoch (from 1) whose parameters these are.
    seconds: "compile" (wall), "fit" (wall), "fit_cpu", without compilation; "prepare_cpu", of features.
    state: the optimiser's, from which `warm_start` goes on. base: the training that was declared, where this
    one went on from another. notes: sentences about what it went on with.
    """

    model: Model = field(repr=False)
    training: Training = field(repr=False)
    split: Split = field(repr=False)
    scorer: JaxScorer = field(repr=False)
    prepared: Prepared = field(repr=False)
    history: dict[str, list[float]] = field(repr=False)
    best_epoch: int
    seconds: dict[str, float]
    state: OptimizerState | None = field(default=None, repr=False)
    base: Training | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()

    def recommender(
        self,
        *,
        rating_weight: float = 0.0,
        num_retrieved: int = 100,
        provenance: dict[str, Any] | None = None,
    ) -> Recommender:
        """The model as a recommender; two stages where it retrieves and has heads. See `combine`."""
        from shortlist.api.recommending import combine

        return combine(
            self if self.model.retrieval is not None else None,
            self if self.model.heads else None,
            rating_weight=rating_weight,
            num_retrieved=num_retrieved,
            provenance=provenance,
        )

    @cached_property
    def candidates(self) -> tuple[Array, Array | None]:
        """Representations [N, r] and vectors [N, d] of the whole catalogue."""
        return self.scorer.represent("candidate", self.prepared.catalogue.items)

    def predict(self, rows: pl.DataFrame) -> dict[str, Array]:
        """One output [n] a head for interactions (user_id, item_id and the context the model reads)."""
        asked = Asked.of(self.model, self.prepared, rows, self.split)
        query, _ = self.scorer.represent("query", asked.query)
        candidate = asked.represented(self.scorer, self.candidates[0])
        return self.scorer.predict(query, candidate, asked.aggregates)


def fit(
    model: Model,
    split: Split | Stored,
    *,
    epochs: int | None = None,
    batch_size: int | None = None,
    optimizer: OptimizerSpec | None = None,
    seed: int | None = None,
    patience: int | None = None,
    training: Training | None = None,
    listen: Callable[[Progress], None] | None = None,
) -> Fitted:
    """Train a model on the training rows of a split, or on rows that `encode` stored.

    Args:
        model: TwoTower, Ranker or MultiTask.
        split: only its `train` is learned from; `validation`, where it has rows, gives a figure an epoch.
            Stored rows are read from disk as they are needed, and may be larger than memory.
        epochs, batch_size, optimizer, seed, patience: replace those of `training`, whose own defaults are
            8 epochs of 1,000 rows, Adam at 1e-2 falling along a cosine, seed 42, no early stopping.
        listen: told of every epoch.

    The same inputs give the same bits. With `patience`, training stops after so many epochs without a better
    validation figure (NDCG@10 of rows if the model retrieves, else RMSE) and the best epoch is kept.
    Raises DataError for tables that do not fit the model, TrainingError without rows, NonFiniteLoss.
    """
    stored = split if isinstance(split, Stored) else None
    split = stored.split if stored else split
    if not isinstance(split, Split):
        raise DataError(
            f"fit needs a Split, got {type(split).__name__}", hint="shortlist.splits.random(data, test=0.2)"
        )
    use_compilation_cache()
    course = _course(training, epochs, batch_size, optimizer, seed, patience)
    if course.patience and split.validation.height == 0:
        raise TrainingError(
            "patience needs validation rows to judge by",
            hint="split with validation=0.1, or leave patience at 0",
        )
    start = time.process_time()
    if stored and course.new_users:
        raise TrainingError("new_users needs rows in memory", hint="fit a Split, or leave new_users at 0")
    prepared = (
        stored.prepared_for(model)
        if stored
        else prepare(model, split, new_users=course.new_users, seed=course.seed)
    )
    prepare_cpu = round(time.process_time() - start, 4)
    if course.half_life:
        prepared = faded(prepared, split, course.half_life)
    judge = Judge(model, split, prepared) if split.validation.height else None
    events = _events(model, prepared, course)
    params, state, history, best, seconds = follow(events, course, judge, listen)
    seconds["prepare_cpu"] = prepare_cpu
    scorer = JaxScorer(*unstacked(*params, course.members), prepared.encoder)
    return Fitted(model, course, split, scorer, prepared, history, best, seconds, state)


@dataclass(frozen=True)
class Asked:
    """Interactions as a model sees them: encoded query, catalogue positions, users (-1 unknown), and each
    head's aggregates. A row that is an event of the training log does not see itself."""

    query: Encoded
    items: Ints
    users: Ints
    aggregates: dict[str, Floats]
    candidate: Encoded | None = None

    @classmethod
    def of(cls, model: Model, prepared: Prepared, rows: pl.DataFrame, split: Split) -> Asked:
        columns = query_columns(model, rows, split.users)
        items, users = positions_of(rows, split.items), user_indices(rows, prepared.users)
        aggregates: dict[str, Floats] = {}
        if prepared.events is not None:
            at = standing(prepared.events, rows, users, items)
            names = prepared.encoder.query.lengths | dict.fromkeys(numbers_read(model), 0)
            columns |= prepared.events.columns(names, at)
            aggregates = {name: ready.values(at, items) for name, ready in prepared.ready.items()}
        encoded = prepared.encoder.query.encode(columns)
        if prepared.raters is None or prepared.events is None:
            return cls(encoded, items, users, aggregates)
        mirrored = Standing.of(items, at.times, prepared.events.places_by_item(at.places))
        lists = prepared.raters.columns(prepared.encoder.candidate.lengths, mirrored)
        candidate = {key: values[items] for key, values in prepared.catalogue.items.items()}
        candidate |= prepared.encoder.candidate.only(Total).encode(lists)
        return cls(encoded, items, users, aggregates, candidate)

    def represented(self, scorer: JaxScorer, catalogue: Floats) -> Floats:
        """Representations of the rows' items: of the catalogue's, unless they depend on the row."""
        if self.candidate is None:
            return catalogue[self.items]
        return scorer.represent("candidate", self.candidate)[0]


def _events(model: Model, prepared: Prepared, course: Training) -> Iterator[Event]:
    means = {head.name: _mean(prepared, head.label) for head in model.heads}
    widths = prepared.aggregate_widths
    spec = program_of(model)

    def made(seed: int) -> tuple[Net, Tables]:
        net, tables = build(spec, prepared.encoder.sizes, means=means, seed=seed, aggregates=widths)
        tables |= popularity_biases(spec, prepared)
        if net.seen is not None and spec.retrieval is not None and spec.retrieval.seen:
            start = parameter(np.array(repeat_bonus(prepared, spec.retrieval.seen)))
            net = eqx.tree_at(lambda n: n.seen, net, start)
        return net, tables

    net, tables = stacked(made, course.seeds)
    weights = {t.name: t.weight for t in model.all_tasks if t.weight}
    return train(net, tables, prepared.examples, prepared.catalogue, course, task_weights=weights)


def popularity_biases(model: Model, prepared: Prepared) -> Tables:
    """The start of retrieval's item bias: the log of each item's share of the training rows, about 0."""
    out: Tables = {}
    for feature in prepared.encoder.candidate.features:
        name = f"candidate/{feature.spec.table_name}#retrieval"
        if not (isinstance(feature, Lookup) and isinstance(feature.spec, Id)):
            continue
        if "retrieval" not in model.biases("candidate", feature.spec) or feature.spec.column != "item_id":
            continue
        counts = prepared.counts + 1.0
        logs = np.log(counts / counts.sum())
        rows = np.zeros((feature.vocabulary.size, 1), np.float32)
        rows[prepared.catalogue.items[feature.spec.key], 0] = logs - logs.mean()
        rows[0] = logs.min() - logs.mean()
        out[name] = parameter(rows)
    return out


def faded(prepared: Prepared, split: Split, half_life: float) -> Prepared:
    """The same with weights that halve every `half_life` days before the last row, their mean unchanged."""
    if "timestamp" not in split.train.columns or split.train.height != len(prepared.examples):
        raise TrainingError(
            "half_life weighs rows by their age, but the training rows have no timestamp column",
            hint="leave half_life at 0",
        )
    times = split.train["timestamp"].to_numpy().astype(np.float64)
    weights = prepared.examples.weights * np.exp2((times - times.max()) / (half_life * 86_400))
    weights *= prepared.examples.weights.sum() / weights.sum()
    return replace(prepared, examples=replace(prepared.examples, weights=weights.astype(np.float32)))


LARGEST_BONUS = 8.0


def repeat_bonus(prepared: Prepared, as_of: AsOf) -> float:
    """The start of what retrieval adds to items a user had before: the log of how often rows come back to
    one, over how often they would if users forgot; within 8 of 0."""
    pasts, past, rows = prepared.catalogue.pasts, prepared.examples.past, prepared.examples
    assert pasts is not None and past is not None
    shares = (prepared.counts / max(1, len(rows)))[pasts.items]
    running = np.concatenate([[0.0], np.cumsum(shares)])
    begin = pasts.indptr[rows.users]
    end = begin + past[:, 0 if as_of == "row" else 1]
    expected = float((running[end] - running[begin]).sum())
    again = (past[:, 2] < past[:, 0]) if as_of == "row" else np.zeros(len(rows), bool)
    found = np.log((float(again.sum()) + 0.5) / (expected + 0.5))
    return float(np.clip(found, -LARGEST_BONUS, LARGEST_BONUS))


def program_of(model: Model) -> Model:
    """The model with its task weights set to 1 (or left at 0): what a compiled program depends on. Weights
    themselves are handed in at run time, so that changing one compiles nothing anew."""
    tasks = tuple(msgspec.structs.replace(t, weight=1.0 if t.weight else 0.0) for t in model.all_tasks)
    if isinstance(model, TwoTower):
        return msgspec.structs.replace(model, task=tasks[0])
    return msgspec.structs.replace(model, tasks=tasks)


def use_compilation_cache() -> None:
    """Keep compiled programs between runs, under the cache folder ($SHORTLIST_CACHE)."""
    config: Any = jax.config  # its options have no static types
    if config.jax_compilation_cache_dir is None and "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = Path(cache_folder()) / "programs"
        config.update("jax_compilation_cache_dir", str(folder))
        config.update("jax_persistent_cache_min_compile_time_secs", 0.02)


class Judge:
    """Validation figures of live parameters; higher is better."""

    def __init__(self, model: Model, split: Split, prepared: Prepared) -> None:
        rows = split.validation
        self.model, self.prepared = model, prepared
        self.asked = Asked.of(model, prepared, rows, split)
        self.labels = {
            head.name: label(rows, head.label, missing=may_lack(model, head.label)) for head in model.heads
        }

    def __call__(self, params: tuple[Trained, Tables]) -> tuple[float, dict[str, float]]:
        scorer = JaxScorer(*params, self.prepared.encoder)
        query, vectors = scorer.represent("query", self.asked.query)
        candidate, items = scorer.represent("candidate", self.prepared.catalogue.items)
        figures: dict[str, float] = {}
        if vectors is not None and items is not None:
            filtered = count_ranks(vectors, items, self.asked.items, self.prepared.seen, self.asked.users)[1]
            figures[f"validation ndcg@{VALIDATION_K}"] = float(gain(filtered, VALIDATION_K).mean())
        predicted = scorer.predict(query, self.asked.represented(scorer, candidate), self.asked.aggregates)
        for name, labels in self.labels.items():
            known = np.isfinite(labels)
            if not known.any():
                continue
            errors = squared_error(
                predicted[name][known].astype(np.float64), labels[known].astype(np.float64)
            )
            figures[f"validation rmse of {name}"] = float(np.sqrt(errors.mean()))
        task = self.model.retrieval
        if task is not None and task.weight:
            return figures[f"validation ndcg@{VALIDATION_K}"], figures
        trained = next(head.name for head in self.model.heads if head.weight)
        return -figures[f"validation rmse of {trained}"], figures


def follow(
    events: Iterator[Event],
    course: Training,
    judge: Judge | None,
    listen: Callable[[Progress], None] | None,
) -> tuple[tuple[Net, Tables], OptimizerState, dict[str, list[float]], int, dict[str, float]]:
    """Follow a run: the parameters and the optimiser's state to keep, curves, the best epoch, seconds. Stops
    early where there is patience."""
    history: dict[str, list[float]] = {}
    seconds = {"compile": 0.0, "fit": 0.0, "fit_cpu": 0.0}
    kept: tuple[tuple[Net, Tables], OptimizerState] | None = None
    best, best_epoch = -np.inf, 0
    for event in events:
        if isinstance(event, Compiled):
            seconds["compile"] = event.seconds
            _tell(listen, Progress(0, course.epochs, {}, notes=event.choices))
            continue
        seconds["fit"] += event.seconds
        seconds["fit_cpu"] += event.cpu_seconds
        figures = {f"loss of {name}": value for name, value in event.losses.items()}
        score = float(event.epoch)  # without validation the last epoch is the best
        if judge is not None:
            judged, validation = judge(unstacked(*event.live, course.members))
            figures |= validation
            score = judged if course.patience else score
        for name, value in figures.items():
            history.setdefault(name, []).append(value)
        _tell(listen, Progress(event.epoch + 1, course.epochs, figures, event.examples_per_second))
        if kept is None or score > best:
            # what an event lends is gone when the run goes on: copied where a later epoch may be worse
            best, best_epoch = score, event.epoch + 1
            kept = event.live, event.state
            kept = copied(kept) if course.patience else kept
        if course.patience and event.epoch + 1 - best_epoch >= course.patience:
            break
    assert kept is not None
    return *kept, history, best_epoch, {name: round(value, 4) for name, value in seconds.items()}


def _tell(listen: Callable[[Progress], None] | None, progress: Progress) -> None:
    if listen is not None:
        listen(progress)


def _course(training: Training | None, *given: Any) -> Training:
    names = ("epochs", "batch_size", "optimizer", "seed", "patience")
    changes = {name: value for name, value in zip(names, given, strict=True) if value is not None}
    return msgspec.structs.replace(training or Training(), **changes)


def _mean(prepared: Prepared, name: str) -> float:
    """A label's weighted mean, block by block: the rows may be on disk."""
    total, count = 0.0, 0.0
    for block in blocks(len(prepared.examples)):
        weights = prepared.examples.weights[block].astype(np.float64)
        if (known := prepared.examples.labels.get(name + KNOWN)) is not None:
            weights *= known[block]
        total += float((prepared.examples.labels[name][block].astype(np.float64) * weights).sum())
        count += float(weights.sum())
    if not count:
        raise DataError(f"all rows that have the label {name!r} have weight 0", hint="give some a weight")
    return total / count
