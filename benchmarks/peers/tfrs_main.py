"""TensorFlow Recommenders' side of the small benchmarks: `tfrs_main.py MEASUREMENT ...`, a JSON line each."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import softmax_case
import tensorflow as tf
import tensorflow_recommenders as tfrs
from clock import emit, emit_seconds, folder, run_named

Keras = tf.keras
BATCH, EPOCHS, WARM = 8192, 8, 2
KS = (1, 5, 10, 50, 100)


class Ranker(tfrs.models.Model):
    """Two tables of 32 numbers an id, then 256, 64 and 1; ids are whole numbers already, and no metric is
    kept in training: both spare TFRS work its tutorial does."""

    def __init__(self, num_users: int, num_items: int) -> None:
        super().__init__()
        self.users, self.items = Keras.layers.Embedding(num_users, 32), Keras.layers.Embedding(num_items, 32)
        widths = [Keras.layers.Dense(width, activation="relu") for width in (256, 64)]
        self.ratings = Keras.Sequential([*widths, Keras.layers.Dense(1)])
        self.task = tfrs.tasks.Ranking(loss=Keras.losses.MeanSquaredError())

    def call(self, features: dict[str, Any]) -> Any:
        pair = [self.users(features["user"]), self.items(features["item"])]
        return self.ratings(tf.concat(pair, axis=1))

    def compute_loss(self, features: dict[str, Any], training: bool = False) -> Any:
        return self.task(labels=features["rating"], predictions=self(features))


class Clock(Keras.callbacks.Callback):
    """The moment every epoch ends, and its loss."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[float] = []
        self.losses: list[float] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.ends.append(time.perf_counter())
        self.losses.append(float(logs["loss"]))


def ranker() -> None:
    """The faster of plain `fit`, as in the tutorial, and ten steps an execution, an option of `compile`."""
    plain, ten = fit_ranker(), fit_ranker(steps_per_execution=10)
    rate, detail = max((plain, ten), key=lambda found: found[0])
    emit("ranker", rate, **detail, plain=plain[0], ten_steps_an_execution=ten[0])


def fit_ranker(**how: Any) -> tuple[float, dict[str, Any]]:
    """Examples a second of `fit` over a cached pipeline of shuffled batches."""
    data = np.load(folder() / "steps.npz")
    columns = {"user": data["train_users"], "item": data["train_titles"], "rating": data["train_ratings"]}
    rows = tf.data.Dataset.from_tensor_slices(columns).shuffle(100_000, seed=42).batch(BATCH).cache()
    tf.random.set_seed(42)
    model, clock = Ranker(943, 1664), Clock()
    model.compile(optimizer=Keras.optimizers.Adagrad(learning_rate=0.1), **how)
    model.fit(rows, epochs=WARM + EPOCHS, verbose=0, callbacks=[clock])
    ends = clock.ends[WARM - 1 :]
    seconds = [later - earlier for earlier, later in pairwise(ends)]
    count = len(columns["user"])
    detail = {"epochs_counted": len(seconds), "sustained": count * len(seconds) / sum(seconds)}
    return count / statistics.median(seconds), detail | {"last_loss": clock.losses[-1]}


def in_batch_softmax(case: softmax_case.Case, **how: Any) -> Callable[[], tuple[Any, ...]]:
    """Loss and gradients of `tfrs.tasks.Retrieval` in a function: logQ and accidental hits. It has
    nothing for the other known positives of a user, so it does less than the others."""
    queries, table = tf.Variable(case.queries), tf.Variable(case.table)
    rows, probabilities = tf.constant(case.rows), tf.constant(np.exp(case.log_q))
    task = tfrs.tasks.Retrieval(remove_accidental_hits=True)

    @tf.function(**how)
    def step() -> tuple[Any, ...]:
        with tf.GradientTape() as tape:
            candidates = tf.nn.embedding_lookup(table, rows)
            loss = task(
                queries,
                candidates,
                candidate_sampling_probability=tf.gather(probabilities, rows),
                candidate_ids=rows,
                compute_metrics=False,
            )
        d_queries, d_table = tape.gradient(loss, [queries, table])
        return loss, d_queries, tf.convert_to_tensor(d_table)

    return lambda: tuple(part.numpy() for part in step())


def softmax_catalogue(name: str = "softmax-catalogue", **how: Any) -> None:
    """MovieLens' own rows; compiled by XLA, which is the faster way here."""
    step = in_batch_softmax(softmax_case.catalogue(), **how)
    matrix = BATCH * BATCH * 4 / 2**20
    emit_seconds(name, step, repeats=4, warm=1, matrix_mib=matrix, loss=float(step()[0]))


def evaluate(name: str = "evaluate", traced: bool = True) -> None:
    """FactorizedTopK over a streamed corpus in batches of 128, fed 20,000 queries with their true candidates
    in batches of 4,096, as `Model.evaluate` does it. Hit rates only, nothing seen is left out."""
    data = np.load(folder() / "steps.npz")
    items = data["items"]
    corpus = tf.data.Dataset.from_tensor_slices(items).batch(128)
    metric = tfrs.metrics.FactorizedTopK(candidates=corpus, ks=KS)
    pairs = (
        tf.data.Dataset.from_tensor_slices((data["queries"], items[data["test_items"]])).batch(4096).cache()
    )

    def update(queries: Any, true: Any) -> None:
        metric.update_state(queries, true)

    if traced:
        update = tf.function(update)

    def whole() -> list[float]:
        metric.reset_states()
        for queries, true in pairs:
            update(queries, true)
        return [float(value) for value in metric.result()]

    emit_seconds(name, whole, repeats=2, warm=0, figures=dict(zip(map(str, KS), whole(), strict=True)))


MEASUREMENTS: dict[str, Callable[[], None]] = {
    "ranker": ranker,
    "softmax-catalogue": lambda: softmax_catalogue(jit_compile=True),
    "softmax-without-xla": lambda: softmax_catalogue("softmax-without-xla"),
    "evaluate": evaluate,
    "evaluate-eager": lambda: evaluate("evaluate-eager", traced=False),
}

if __name__ == "__main__":
    run_named(MEASUREMENTS, sys.argv[1:])
