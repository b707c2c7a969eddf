"""`warm_start`: a model goes on from where an earlier run ended, with the events that came since."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from shortlist._typing import Longs
from shortlist.api.fitting import (
    Fitted,
    Judge,
    Progress,
    faded,
    follow,
    popularity_biases,
    use_compilation_cache,
)
from shortlist.api.keeping import Start
from shortlist.api.news import News, news_of
from shortlist.api.preparing import Prepared, prepare
from shortlist.data.dataset import Dataset
from shortlist.data.reading import Source
from shortlist.data.splits import Split
from shortlist.errors import DataError, SpecError, TrainingError
from shortlist.features.batches import log_sampling_probability
from shortlist.models.build import Tables
from shortlist.models.ensemble import unstacked
from shortlist.models.layers import parameter
from shortlist.models.scorer import JaxScorer
from shortlist.specs.models import Model
from shortlist.specs.training import Training
from shortlist.training.carried import Carried, grown, smaller
from shortlist.training.loop import train

EPOCHS = 4
"""Passes over the new events and the replayed ones."""
REPLAY = 4.0
"""Earlier rows that are learned from again, for each new one."""
RATE = 0.5
"""Peak of the learning rate, as a share of the earlier run's."""
FADE = 2.0
"""How much smaller vectors become before they are learned from again, for each earlier run's worth of steps:
those of a run that ended fit its rows too well to give way to others (Ash and Adams, NeurIPS 2020)."""
SMALLEST = 0.4
"""What of vectors stays at least."""
DRAWN = 0x776172
"""Of the stream of random numbers that draws the replayed rows."""


@dataclass(frozen=True)
class Course:
    """How a warm start is trained. replay: earlier rows for each new one; rate: its learning rate's peak over
    the earlier run's."""

    epochs: int = EPOCHS
    replay: float = REPLAY
    rate: float = RATE

    def __post_init__(self) -> None:
        if self.epochs < 0 or not 0 <= self.replay < math.inf or not 0 < self.rate < math.inf:
            raise TrainingError(
                f"a warm start needs epochs >= 0, replay >= 0 and rate > 0, got {self.epochs},"
                f" {self.replay} and {self.rate}"
            )


def warm_start(
    start: Fitted | str | Path,
    events: Source | Dataset | Split,
    *,
    items: Source | None = None,
    users: Source | None = None,
    model: Model | None = None,
    epochs: int = EPOCHS,
    replay: float = REPLAY,
    rate: float = RATE,
    seed: int | None = None,
    part: str = "",
    listen: Callable[[Progress], None] | None = None,
) -> Fitted:
    """Go on from a fitted model, or from a bundle, with new events.

    Args:
        start: a Fitted, or the path of a bundle (or of a run's folder) that keeps its training.
        events: new events: a table, its columns named as in a Dataset; a Dataset; or a Split, whose training
            rows these are and whose validation rows give a figure an epoch. Rows that were known already are
            left out.
        items, users: tables of new ones (or of old ones whose columns changed), where events are a table.
        model: the model with other weights, penalties or dropout; its tables and layers must be the old.
        epochs, rate: passes, and the peak of the learning rate over that of the earlier run's.
        replay: so many earlier rows for each new one, drawn by the seed, are learned from again, lest what
            they taught is forgotten.
        seed: of shuffling and dropout (the earlier run's).
        part: of a bundle whose two stages were trained apart, the one to go on with.

    Vocabularies grow and tables with them; a new row starts as what the model said of unknown values. Before
    the first step vectors are made smaller, by how much is to be learned anew (FADE). Bucket edges,
    normalisers and words of texts stay. Seen sets, pasts and popularity are those of all events, old and new.
    No new events and epochs=0 give the same recommender (after `add_items`, but for popularity). The same
    inputs give the same bits.

    Raises BundleError where the bundle keeps nothing to start from, DataError for events that lack a column
    training had, SpecError for another model, NonFiniteLoss.
    """
    use_compilation_cache()
    clock = time.process_time()
    course, begun = Course(epochs, replay, rate), Start.of(start, part)
    model = begun.model if model is None else like(begun.model, model)
    news = news_of(begun, events, items, users)
    training = _training(begun.training, course, seed)
    prepared = prepare(model, news.split, new_users=training.new_users, seed=training.seed, kept=begun.kept)
    carried = grown(begun.carried, prepared.encoder.sizes, training)
    carried = carried._replace(tables=_with_popularity(model, begun, carried, prepared, news))
    prepare_cpu = round(time.process_time() - clock, 4)
    if not epochs:
        seconds = {"compile": 0.0, "fit": 0.0, "fit_cpu": 0.0, "prepare_cpu": prepare_cpu}
        return _fitted(model, begun, news, training, prepared, carried, {}, seconds, 0)
    rows = rows_learned(news, replay, training.seed)
    worth = epochs * len(rows) / (begun.training.epochs * news.num_old)  # of the earlier run
    carried = smaller(carried, max(SMALLEST, 1 - FADE * worth))
    weighed = faded(prepared, news.split, training.half_life) if training.half_life else prepared
    lesson = chosen(weighed, rows)
    judge = Judge(model, news.split, prepared) if news.split.validation.height else None
    weights = {t.name: t.weight for t in model.all_tasks if t.weight}
    run = train(
        carried.net,
        carried.tables,
        lesson.examples,
        lesson.catalogue,
        training,
        task_weights=weights,
        begun=carried.state,
    )
    params, state, history, best, seconds = follow(run, training, judge, listen)
    seconds["prepare_cpu"] = prepare_cpu
    ended = Carried(*params, state)
    return _fitted(model, begun, news, training, prepared, ended, history, seconds, best)


def _fitted(
    model: Model,
    begun: Start,
    news: News,
    training: Training,
    prepared: Prepared,
    carried: Carried,
    history: dict[str, list[float]],
    seconds: dict[str, float],
    best: int,
) -> Fitted:
    net, tables = unstacked(carried.net, carried.tables, training.members)
    scorer = JaxScorer(net, tables, prepared.encoder)
    return Fitted(
        model,
        training,
        news.split,
        scorer,
        prepared,
        history,
        best,
        seconds,
        carried.state,
        begun.training,
        news.notes,
    )


def _training(declared: Training, course: Course, seed: int | None) -> Training:
    """The declared training as a warm start runs it."""
    peak = declared.optimizer.learning_rate * course.rate
    return msgspec.structs.replace(
        declared,
        epochs=max(1, course.epochs),
        patience=0,
        optimizer=msgspec.structs.replace(declared.optimizer, learning_rate=peak),
        seed=declared.seed if seed is None else seed,
    )


def rows_learned(news: News, replay: float, seed: int) -> Longs:
    """The rows that are learned from: some of the old, in order, and all of the new."""
    count = min(news.num_old, round(replay * news.num_new))
    drawn = np.random.default_rng([seed, DRAWN]).permutation(news.num_old)[:count]
    return np.concatenate([np.sort(drawn), np.arange(news.num_old, news.split.train.height)])


def chosen(prepared: Prepared, rows: Longs) -> Prepared:
    """The same with some of its examples, and the sampling probabilities that go with these. DataError where
    all have weight 0."""
    examples = prepared.examples.each(lambda column: column[rows])
    if len(rows) == 0:
        raise TrainingError(
            "there are no new events to learn from",
            hint="--epochs 0 (in Python epochs=0) takes over what there is",
        )
    if not examples.weights.any():
        raise DataError(
            f"all {len(rows):,} rows to learn from have weight 0", hint="give some a weight, or replay > 0"
        )
    log_q = log_sampling_probability(examples.candidates, prepared.catalogue.num_items, examples.weights)
    return replace(prepared, examples=examples, catalogue=replace(prepared.catalogue, log_q=log_q))


def _with_popularity(model: Model, begun: Start, carried: Carried, prepared: Prepared, news: News) -> Tables:
    """Tables in which retrieval's item bias has moved as far as the log of each item's share of the rows."""
    tables = dict(carried.tables)
    now = popularity_biases(model, prepared)
    before = popularity_biases(model, _earlier(prepared, begun, news)) if now else {}
    for name, biases in now.items():
        known = begun.carried.tables[name].shape[-2]
        moved = np.array(tables[name])
        moved[..., :known, :] += np.asarray(biases)[:known] - np.asarray(before[name])[:known]
        moved[..., known:, :] = np.asarray(biases)[known:]
        tables[name] = parameter(moved)
    return tables


def _earlier(prepared: Prepared, begun: Start, news: News) -> Prepared:
    """The old rows and the old catalogue."""
    old, known = chosen(prepared, np.arange(news.num_old)), begun.items.height
    items = {key: column[:known] for key, column in old.catalogue.items.items()}
    return replace(old, catalogue=replace(old.catalogue, items=items, log_q=old.catalogue.log_q[:known]))


FREE = ("weight", "dropout", "l2")
"""Endings of keys of a model that change neither tables nor layers nor what they mean."""


def like(old: Model, new: Model) -> Model:
    """The new model, which may differ from the old in what is not learned. Raises SpecError naming the first
    key that differs otherwise."""
    for key, was, now in _differences(old.to_dict(), new.to_dict()):
        if not key.endswith(FREE):
            raise SpecError(
                f"the model differs from the one to start from: {key} is {now!r}, it was {was!r}",
                hint="leave it as it was, or train from scratch",
            )
    return new


def _differences(old: Any, new: Any, key: str = "model") -> list[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        names = dict.fromkeys([*old, *new])
        return [d for n in names for d in _differences(old.get(n), new.get(n), f"{key}.{n}")]
    if isinstance(old, list | tuple) and isinstance(new, list | tuple) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return [d for k, (a, b) in pairs for d in _differences(a, b, f"{key}.{k}")]
    return [] if old == new else [(key, old, new)]
