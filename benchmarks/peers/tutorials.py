"""TensorFlow Recommenders on the tutorials' six experiments: `tutorials.py EXPERIMENT [--metrics-off]`.

Models, hyper-parameters, data pipelines and metrics are those of "Recommending movies: ranking", "Multi-task
recommenders" and "Taking advantage of context features". `--metrics-off` leaves FactorizedTopK out of
training, as TFRS's documentation advises where time matters; the evaluation on the test rows stays.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf
import tensorflow_recommenders as tfrs
from clock import emit, folder

Keras = tf.keras
EXPERIMENTS = (
    "ranking",
    "context-without-time",
    "context-with-time",
    "multitask-rating",
    "multitask-retrieval",
    "multitask-joint",
)
WEIGHTS = {"multitask-rating": (1.0, 0.0), "multitask-retrieval": (0.0, 1.0), "multitask-joint": (1.0, 1.0)}
DIM = 32


class Data:
    """The tutorials' pipelines over the same 100,000 rows."""

    def __init__(self) -> None:
        rows = pd.read_parquet(folder() / "ratings.parquet")
        titles = pd.read_parquet(folder() / "movies.parquet")["movie_title"].to_numpy(str)
        columns = {
            "movie_title": rows["movie_title"].to_numpy(str),
            "user_id": rows["user_id"].to_numpy(str),
            "user_rating": rows["user_rating"].to_numpy(np.float32),
            "timestamp": rows["timestamp"].to_numpy(np.int64),
        }
        self.movies = tf.data.Dataset.from_tensor_slices(titles)
        self.unique_titles = np.unique(titles)
        self.unique_users = np.unique(columns["user_id"])
        self.timestamps = columns["timestamp"]
        ratings = tf.data.Dataset.from_tensor_slices(columns)
        tf.random.set_seed(42)
        shuffled = ratings.shuffle(100_000, seed=42, reshuffle_each_iteration=False)
        self.train, self.test = shuffled.take(80_000), shuffled.skip(80_000).take(20_000)


def embedding(vocabulary: np.ndarray) -> Any:
    """A string lookup into a table."""
    lookup = Keras.layers.StringLookup(vocabulary=vocabulary, mask_token=None)
    return Keras.Sequential([lookup, Keras.layers.Embedding(len(vocabulary) + 1, DIM)])


def dense(*widths: int) -> Any:
    """A multi-layer perceptron with one output."""
    hidden = [Keras.layers.Dense(width, activation="relu") for width in widths]
    return Keras.Sequential([*hidden, Keras.layers.Dense(1)])


def rating_task() -> Any:
    """Mean squared error, judged by its root."""
    return tfrs.tasks.Ranking(
        loss=Keras.losses.MeanSquaredError(), metrics=[Keras.metrics.RootMeanSquaredError()]
    )


def retrieval_task(data: Data, candidates: Any) -> Any:
    """In-batch softmax, judged over all candidates in batches of 128."""
    return tfrs.tasks.Retrieval(
        metrics=tfrs.metrics.FactorizedTopK(candidates=data.movies.batch(128).map(candidates))
    )


class Ranking(tfrs.models.Model):
    """The ranking tutorial."""

    def __init__(self, data: Data) -> None:
        super().__init__()
        self.users, self.movies = embedding(data.unique_users), embedding(data.unique_titles)
        self.ratings, self.task = dense(256, 64), rating_task()

    def call(self, features: dict[str, Any]) -> Any:
        pair = [self.users(features["user_id"]), self.movies(features["movie_title"])]
        return self.ratings(tf.concat(pair, axis=1))

    def compute_loss(self, features: dict[str, Any], training: bool = False) -> Any:
        return self.task(labels=features["user_rating"], predictions=self(features))


class MultiTask(tfrs.models.Model):
    """The multi-task tutorial at given weights."""

    def __init__(self, data: Data, weights: tuple[float, float], metrics_in_training: bool) -> None:
        super().__init__()
        self.users, self.movies = embedding(data.unique_users), embedding(data.unique_titles)
        self.ratings = dense(256, 128)
        self.rating, self.retrieval = rating_task(), retrieval_task(data, self.movies)
        self.rating_weight, self.retrieval_weight = weights
        self.metrics_in_training = metrics_in_training

    def call(self, features: dict[str, Any]) -> Any:
        users, movies = self.users(features["user_id"]), self.movies(features["movie_title"])
        return users, movies, self.ratings(tf.concat([users, movies], axis=1))

    def compute_loss(self, features: dict[str, Any], training: bool = False) -> Any:
        users, movies, predicted = self(features)
        rating = self.rating(labels=features["user_rating"], predictions=predicted)
        judged = self.metrics_in_training or not training
        retrieval = self.retrieval(users, movies, compute_metrics=judged)
        return self.rating_weight * rating + self.retrieval_weight * retrieval


class UserTower(Keras.Model):
    """User id, and with time: 1,000 buckets and the normalised value."""

    def __init__(self, data: Data, with_time: bool) -> None:
        super().__init__()
        self.users, self.with_time = embedding(data.unique_users), with_time
        if with_time:
            buckets = np.linspace(data.timestamps.min(), data.timestamps.max(), num=1000)
            self.time = Keras.Sequential(
                [
                    Keras.layers.Discretization(buckets.tolist()),
                    Keras.layers.Embedding(len(buckets) + 1, DIM),
                ]
            )
            self.normal = Keras.layers.Normalization(axis=None)
            self.normal.adapt(data.timestamps)

    def call(self, features: dict[str, Any]) -> Any:
        users = self.users(features["user_id"])
        if not self.with_time:
            return users
        stamps = features["timestamp"]
        return tf.concat([users, self.time(stamps), tf.reshape(self.normal(stamps), (-1, 1))], axis=1)


class MovieTower(Keras.Model):
    """Title as an id, and its words."""

    def __init__(self, data: Data) -> None:
        super().__init__()
        self.titles = embedding(data.unique_titles)
        words = Keras.layers.TextVectorization(max_tokens=10_000)
        words.adapt(data.movies)
        table = Keras.layers.Embedding(10_000, DIM, mask_zero=True)
        self.words = Keras.Sequential([words, table, Keras.layers.GlobalAveragePooling1D()])

    def call(self, titles: Any) -> Any:
        return tf.concat([self.titles(titles), self.words(titles)], axis=1)


class Context(tfrs.models.Model):
    """The context tutorial."""

    def __init__(self, data: Data, with_time: bool, metrics_in_training: bool) -> None:
        super().__init__()
        self.queries = Keras.Sequential([UserTower(data, with_time), Keras.layers.Dense(DIM)])
        self.candidates = Keras.Sequential([MovieTower(data), Keras.layers.Dense(DIM)])
        self.task = retrieval_task(data, self.candidates)
        self.metrics_in_training = metrics_in_training

    def compute_loss(self, features: dict[str, Any], training: bool = False) -> Any:
        asked = {"user_id": features["user_id"], "timestamp": features["timestamp"]}
        queries, candidates = self.queries(asked), self.candidates(features["movie_title"])
        return self.task(queries, candidates, compute_metrics=self.metrics_in_training or not training)


def build(experiment: str, data: Data, metrics_in_training: bool) -> tuple[Any, Any]:
    """The model of an experiment, and its training batches."""
    shuffled = data.train.shuffle(100_000)
    if experiment == "ranking":
        return Ranking(data), shuffled.batch(8192).cache()
    if experiment in WEIGHTS:
        return MultiTask(data, WEIGHTS[experiment], metrics_in_training), shuffled.batch(8192).cache()
    return Context(data, experiment == "context-with-time", metrics_in_training), shuffled.batch(2048)


def main() -> None:
    """Fit three epochs, evaluate on the test rows, print the seconds of both and the figures."""
    experiment, metrics_in_training = sys.argv[1], "--metrics-off" not in sys.argv
    start = time.perf_counter()
    model, train = build(experiment, data := Data(), metrics_in_training)
    model.compile(optimizer=Keras.optimizers.Adagrad(learning_rate=0.1))
    model.fit(train, epochs=3, verbose=0)
    fitted = time.perf_counter()
    found = model.evaluate(data.test.batch(4096).cache(), return_dict=True, verbose=0)
    end = time.perf_counter()
    figures = {"rmse": "root_mean_squared_error", "top100": "factorized_top_k/top_100_categorical_accuracy"}
    shown = {name: round(float(found[key]), 4) for name, key in figures.items() if key in found}
    emit(experiment, end - start, fit_seconds=fitted - start, evaluate_seconds=end - fitted, figures=shown)


if __name__ == "__main__":
    main()
