"""Our side of `growth`: `growth.py FILE`, one log of interactions in Parquet, one JSON line.

In the order of a run: read, encode (`prepare`), fit, evaluate, each with its wall seconds and the most
resident memory up to its end. Fit takes at most FIT_ROWS rows an epoch, evaluate at most QUERIES test rows;
tables, catalogue and seen sets are whole.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl
from clock import emit

import shortlist as sl
from shortlist.api.preparing import Prepared, positions_of, prepare, query_columns, user_indices
from shortlist.data.dataset import Dataset
from shortlist.features.batches import Examples
from shortlist.models.build import build
from shortlist.models.scorer import JaxScorer
from shortlist.specs.training import Adagrad, Training
from shortlist.tasks.retrieval import takes_whole
from shortlist.training.loop import EpochEnd, train
from shortlist.training.ranks import count_ranks

DIM, BATCH, EPOCHS, FIT_ROWS, QUERIES, REPEATS = 32, 4096, 3, 1_000_000, 2_000, 5
T = TypeVar("T")


def main() -> None:
    """Measure one log."""
    clock = Clock()
    data = clock("read", lambda: read(Path(sys.argv[1])))
    split = clock("split", lambda: sl.splits.random(data, test=0.2))
    model = model_of()
    prepared = clock("prepare", lambda: prepare(model, split))
    examples = some(prepared.examples, FIT_ROWS)
    scorer, epochs = clock("fit", lambda: fitted(model, prepared, examples))
    evaluated = clock("evaluate", lambda: evaluate(model, scorer, prepared, split))
    seconds = min(epochs)
    num_items = data.items.height
    columns = num_items if takes_whole(num_items, BATCH) else BATCH  # scores an example is given
    emit(
        Path(sys.argv[1]).stem,
        seconds / len(examples),
        rows=data.interactions.height,
        users=data.users.height,
        items=num_items,
        train_rows=len(prepared.examples),
        fit_rows=len(examples),
        epoch_seconds=epochs,
        prepare_us=1e6 * clock.seconds["prepare"] / len(prepared.examples),
        fit_us=1e6 * seconds / len(examples),
        fit_columns=columns,
        fit_score_ns=1e9 * seconds / len(examples) / columns,
        examples_bytes=prepared.examples.nbytes / len(prepared.examples),
        seconds=clock.seconds,
        peak_mib=clock.peaks,
        **evaluated,
    )


class Clock:
    """Wall seconds of each stage, and the peak of resident memory (MiB) at its end."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.peaks: dict[str, float] = {"start": peak_mib()}

    def __call__(self, name: str, work: Callable[[], T]) -> T:
        start = time.perf_counter()
        found = work()
        self.seconds[name] = time.perf_counter() - start
        self.peaks[name] = peak_mib()
        return found


def peak_mib() -> float:
    """The most resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 2**20)


def read(path: Path) -> Dataset:
    """The log as a data set: users and items are those that occur."""
    rows = pl.read_parquet(path)
    users, items = (rows.select(pl.col(name).unique().sort()) for name in ("user_id", "item_id"))
    return Dataset(rows, users, items, path.stem)


def model_of() -> Any:
    """Retrieval and rating over two towers of ids."""
    return sl.MultiTask(
        query=sl.Tower([sl.Id("user_id", DIM)]),
        candidate=sl.Tower([sl.Id("item_id", DIM)]),
        tasks=[sl.Retrieval(known_positives=True), sl.Rating(hidden=[64, 32])],
    )


def some(examples: Examples, most: int) -> Examples:
    """A random part of the rows, in their order."""
    if len(examples) <= most:
        return examples
    rows = np.sort(np.random.default_rng(0).choice(len(examples), most, replace=False))
    return examples.each(lambda column: column[rows])


def fitted(model: Any, prepared: Prepared, examples: Examples) -> tuple[JaxScorer, list[float]]:
    """The trained model and the seconds of each epoch; compilation is not among them."""
    mean = float(examples.labels["rating"].mean())
    net, tables = build(model, prepared.encoder.sizes, means={"rating": mean}, seed=0)
    course = Training(epochs=EPOCHS, batch_size=BATCH, optimizer=Adagrad(0.1))
    weights = {task.name: task.weight for task in model.all_tasks}
    seconds, live = [], None
    for event in train(net, tables, examples, prepared.catalogue, course, task_weights=weights):
        if isinstance(event, EpochEnd):
            seconds.append(event.seconds)
            live = event.live
    assert live is not None
    return JaxScorer(*live, prepared.encoder), seconds


def evaluate(model: Any, scorer: JaxScorer, prepared: Prepared, split: Any) -> dict[str, float]:
    """Ranks over the whole catalogue, raw and filtered, of a sample of test rows: seconds of a query and of a
    score, median of REPEATS; everything a query needs is counted, the items' vectors are made once."""
    rows = split.test.head(QUERIES)
    start = time.perf_counter()
    items = scorer.represent("candidate", prepared.catalogue.items)[1]
    item_seconds = time.perf_counter() - start
    columns = query_columns(model, rows, split.users)
    targets, users = positions_of(rows, split.items), user_indices(rows, prepared.users)

    def once() -> float:
        start = time.perf_counter()
        vectors = scorer.represent("query", prepared.encoder.query.encode(columns))[1]
        count_ranks(vectors, items, targets, prepared.seen, users)
        return time.perf_counter() - start

    once()
    seconds = float(np.median([once() for _ in range(REPEATS)]))
    return {
        "queries": rows.height,
        "evaluate_us": 1e6 * seconds / rows.height,
        "score_ns": 1e9 * seconds / rows.height / len(items),
        "item_vectors_us": 1e6 * item_seconds / len(items),
    }


if __name__ == "__main__":
    main()
