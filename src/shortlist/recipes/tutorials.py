"""The tutorials' six experiments, each twice: as they are printed, and as Shortlist would do it.

Both recipes see the tutorials' inputs only: ids, title words and time, and the same 80,000 and 20,000 rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any

import msgspec
import numpy as np

from shortlist.api.fitting import Fitted, fit
from shortlist.api.preparing import positions_of, query_columns, user_indices
from shortlist.data.dataset import Dataset, deduplicate_titles
from shortlist.data.movielens import movielens
from shortlist.data.splits import Split, random
from shortlist.evaluation.metrics import hit, squared_error
from shortlist.specs.features import Bucket, FeatureSpec, Id, Normalize, Text
from shortlist.specs.models import Model, MultiTask, Ranker, Tower, TwoTower
from shortlist.specs.tasks import Rating, Retrieval
from shortlist.specs.training import Adagrad, Adam, Training
from shortlist.training.ranks import count_ranks

Tell = Callable[[str, int, int], None]
Figures = dict[str, float]

SIDE_BY_SIDE = 2
"""Experiments run at a time."""
USER = "42"
FILMS = ("M*A*S*H (1970)", "Dances with Wolves (1990)", "Speed (1994)")
DANCES = "Dances with Wolves (1990)"


@dataclass(frozen=True)
class Experiment:
    """One experiment: what the tutorial prints, its own model and training, and Shortlist's."""

    name: str
    printed: Figures
    tutorial: tuple[Model, Training]
    shortlist: tuple[Model, Training]
    predicts: tuple[str, ...] = field(default=())

    @property
    def on_train(self) -> bool:
        """Whether the tutorial also prints the figure on its training rows."""
        return "top100_raw_train" in self.printed


def experiments() -> tuple[Experiment, ...]:
    """All six, in the order the tutorials have them."""
    context = {"top100_raw": 0.21, "top100_raw_train": 0.30}, {"top100_raw": 0.25, "top100_raw_train": 0.37}
    joint = [
        ("multitask-rating", {"top100_raw": 0.060, "rmse": 1.113}, 1.0, 0.0),
        ("multitask-retrieval", {"top100_raw": 0.233, "rmse": 3.688}, 0.0, 1.0),
        ("multitask-joint", {"top100_raw": 0.235, "rmse": 1.110}, 1.0, 1.0),
    ]
    ranking = Experiment("ranking", {"rmse": 1.10}, _printed_ranking(), _our_ranking(), FILMS)
    return (
        ranking,
        *(
            Experiment(
                f"context-{'with' if timed else 'without'}-time",
                p,
                _printed_context(timed),
                _our_context(timed),
            )
            for timed, p in zip((False, True), context, strict=True)
        ),
        *(
            Experiment(
                name,
                printed,
                _printed_joint(r, t),
                _our_joint(r, t) if t else _our_rating_alone(),
                (DANCES,) if r and t else (),
            )
            for name, printed, r, t in joint
        ),
    )


def reproduce(
    seeds: int = 1, *, tell: Tell | None = None, names: tuple[str, ...] = ()
) -> list[dict[str, Any]]:
    """Run the experiments on the random 80/20 split of MovieLens 100K (seed 42), over model seeds 42, 43, ...

    One dict an experiment: "experiment", "printed", "tutorial_recipe" and "shortlist_recipe" (means over the
    seeds), "spread" (standard deviations, with several seeds), "seconds" (wall, all of it), "fit_seconds"
    (wall, without compilation, of Shortlist's recipe), and "predictions" where the tutorial shows some. Two
    run side by side: each uses about one core, while one compiles the other trains.
    """
    data = movielens("100k")
    splits = {"tutorial": random(deduplicate_titles(data), seed=42), "shortlist": random(data, seed=42)}
    chosen = [e for e in experiments() if not names or e.name in names]
    fits = _Fits(splits)
    out = []
    if tell is not None:
        tell("compiling", 0, len(chosen))
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        jobs = [pool.submit(_run, experiment, fits, data, seeds) for experiment in chosen]
        for done, job in enumerate(jobs, start=1):
            out.append(job.result())
            if tell is not None:
                tell(out[-1]["experiment"], done, len(chosen))
    return out


def as_printed(
    names: tuple[str, ...] = (), *, seed: int = 42, **changes: Any
) -> Iterator[tuple[str, Figures, Fitted]]:
    """Train and judge as the tutorials do and no more: (name, figures on test rows, what was fitted) of each
    experiment, in order; two run side by side. `changes` are made to the training."""
    split = random(deduplicate_titles(movielens("100k")), seed=42)
    chosen = [e for e in experiments() if not names or e.name in names]

    def run(experiment: Experiment) -> tuple[str, Figures, Fitted]:
        model, training = experiment.tutorial
        training = msgspec.structs.replace(training, seed=seed, **changes)
        fitted = fit(model, split, training=training)
        return experiment.name, _printed_figures(fitted), fitted

    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        yield from pool.map(run, chosen)


def _printed_figures(fitted: Fitted) -> Figures:
    """Top-100 accuracy and RMSE on the test rows, whichever the model has."""
    rows, prepared, out = fitted.split.test, fitted.prepared, {}
    encoded = prepared.encoder.query.encode(query_columns(fitted.model, rows, fitted.split.users))
    query, vectors = fitted.scorer.represent("query", encoded)
    candidate, items = fitted.candidates
    targets = positions_of(rows, fitted.split.items)
    if vectors is not None and items is not None:
        ranks = count_ranks(vectors, items, targets, prepared.seen, user_indices(rows, prepared.users))[0]
        out["top100_raw"] = float(hit(ranks, 100).mean())
    if fitted.model.heads:
        predicted = fitted.scorer.predict(query, candidate[targets])["rating"].astype(np.float64)
        out["rmse"] = float(squared_error(predicted, rows["rating"].to_numpy()).mean() ** 0.5)
    return {name: round(value, 4) for name, value in out.items()}


class _Fits:
    """Fitted models by what was asked for: two experiments that ask for the same one share it."""

    def __init__(self, splits: dict[str, Split]) -> None:
        self.splits = splits
        self._known: dict[tuple[str, Model, Training, int], Fitted] = {}
        self._locks: dict[tuple[str, Model, Training, int], Lock] = {}

    def __call__(self, which: str, model: Model, training: Training, seed: int) -> Fitted:
        key = (which, model, training, seed)
        with self._locks.setdefault(key, Lock()):
            if key not in self._known:
                self._known[key] = fit(model, self.splits[which], training=training, seed=seed)
        return self._known[key]


def _run(experiment: Experiment, fits: _Fits, data: Dataset, seeds: int) -> dict[str, Any]:
    start = time.perf_counter()
    figures: dict[str, list[Figures]] = {"tutorial": [], "shortlist": []}
    fit_seconds, predictions = 0.0, {}
    for seed in range(42, 42 + seeds):
        for which in figures:
            model, training = getattr(experiment, which)
            fitted = fits(which, model, training, seed)
            figures[which].append(_figures(fitted, experiment))
            if which == "shortlist":
                fit_seconds += fitted.seconds["fit"] / seeds
            if seed == 42 and experiment.predicts:
                predictions[f"{which}_recipe"] = _predictions(fitted, data, experiment.predicts)
    result: dict[str, Any] = {
        "experiment": experiment.name,
        "printed": experiment.printed,
        "tutorial_recipe": _over_seeds(figures["tutorial"], np.mean),
        "shortlist_recipe": _over_seeds(figures["shortlist"], np.mean),
        "seconds": round(time.perf_counter() - start, 2),
        "fit_seconds": round(fit_seconds, 2),
    }
    if seeds > 1:
        result["spread"] = {
            f"{which}_recipe": _over_seeds(values, np.std) for which, values in figures.items()
        }
    if predictions:
        result["predictions"] = predictions
    return result


def _figures(fitted: Fitted, experiment: Experiment) -> Figures:
    """The figures an experiment reports, by its own names."""
    from shortlist.api.evaluating import point_figures

    test = point_figures(fitted, fitted.split.test)
    names = {"top100_raw": "raw hit_rate@100 (row)", "rmse": "rmse"}
    names |= {"top100_filtered": "filtered hit_rate@100 (row)", "ndcg10_filtered": "filtered ndcg@10 (user)"}
    if "top100_raw" not in experiment.printed:
        names = {"rmse": "rmse"}
    out = {name: test[figure] for name, figure in names.items() if figure in test}
    if experiment.on_train:
        train = point_figures(fitted, fitted.split.train, users=False)
        out["top100_raw_train"] = train["raw hit_rate@100 (row)"]
    return {name: round(value, 4) for name, value in out.items()}


def _over_seeds(figures: list[Figures], average: Callable[[list[float]], Any]) -> Figures:
    return {name: round(float(average([f[name] for f in figures])), 4) for name in figures[0]}


def _predictions(fitted: Fitted, data: Dataset, films: tuple[str, ...]) -> dict[str, Any]:
    """User 42's predicted ratings of some films, best first, now and after save and load."""
    ids = dict(zip(data.items["title"].to_list(), data.items["item_id"].to_list(), strict=True))
    known = set(fitted.split.items["item_id"].to_list())
    rows = [{"user_id": USER, "item_id": film if film in known else ids[film]} for film in films]
    from shortlist.bundle import load

    recommender = fitted.recommender()
    before = recommender.score(rows).columns["rating"]
    with TemporaryDirectory() as folder:
        recommender.save(Path(folder) / "bundle")
        after = load(Path(folder) / "bundle").score(rows).columns["rating"]
    order = np.argsort(-before, kind="stable")
    return {
        "user_id": USER,
        "ratings": {films[i]: round(float(before[i]), 4) for i in order},
        "after_load": {films[i]: round(float(after[i]), 4) for i in order},
        "largest_difference": float(np.abs(before - after).max()),
    }


def _printed_training(batch_size: int) -> Training:
    return Training(epochs=3, batch_size=batch_size, optimizer=Adagrad(0.1))


def _printed_ranking() -> tuple[Model, Training]:
    rating = Rating(hidden=(256, 64), biases=False)
    model = Ranker(Tower((Id("user_id", 32),)), Tower((Id("item_id", 32),)), (rating,))
    return model, _printed_training(8192)


def _printed_retrieval(weight: float = 1.0) -> Retrieval:
    return Retrieval(weight=weight, log_q=False, accidental_hits=False, reduction="sum")


def _printed_context(timed: bool) -> tuple[Model, Training]:
    query: list[FeatureSpec] = [Id("user_id", 32)]
    if timed:
        query += [Bucket("timestamp", 1000, 32), Normalize("timestamp")]
    candidate = (Id("item_id", 32), Text("title", 10_000, 32))
    model = TwoTower(Tower(tuple(query), out=32), Tower(candidate, out=32), _printed_retrieval())
    return model, _printed_training(2048)


def _printed_joint(rating: float, retrieval: float) -> tuple[Model, Training]:
    tasks = (_printed_retrieval(retrieval), Rating(hidden=(256, 128), biases=False, weight=rating))
    model = MultiTask(Tower((Id("user_id", 32),)), Tower((Id("item_id", 32),)), tasks)
    return model, _printed_training(8192)


OURS = Training(epochs=9, batch_size=1000, optimizer=Adam(1e-2, schedule="cosine", warmup=0.05, beta2=0.99))


def _our_towers(
    timed: bool = True, *, l2: float = 0.02, time_l2: float = 0.01, text_l2: float = 0.0
) -> tuple[Tower, Tower]:
    query: list[FeatureSpec] = [Id("user_id", 32, dropout=0.3, l2=l2, scale=0.1)]
    if timed:
        query += [Bucket("timestamp", 1000, 32, l2=time_l2, scale=0.03), Normalize("timestamp")]
    candidate = (
        Id("item_id", 32, dropout=0.2, l2=l2, scale=0.1),
        Text("title", 10_000, 32, l2=text_l2, scale=0.03),
    )
    return Tower(tuple(query), combine="sum"), Tower(candidate, combine="sum")


def _our_rating(weight: float = 1.0) -> Rating:
    return Rating(
        hidden=(64, 32),
        weight=weight,
        interaction="product",
        dim=32,
        activation="gelu",
        dropout=0.4,
        bias_l2=0.02,
        l2=0.005,
    )


def _our_joint(rating: float, retrieval: float) -> tuple[Model, Training]:
    return MultiTask(*_our_towers(), (Retrieval(weight=retrieval), _our_rating(rating))), OURS


def _our_ranking() -> tuple[Model, Training]:
    """Rating with retrieval beside it: who watched what teaches vectors that few ratings cannot."""
    return _our_joint(1.0, 1.0)


def _our_rating_alone() -> tuple[Model, Training]:
    """Weight 0 on retrieval: vectors learned from ratings alone need far more restraint."""
    towers = _our_towers(l2=0.1, time_l2=0.3, text_l2=0.05)
    head = msgspec.structs.replace(_our_rating(), hidden=(32,), dropout=0.3, bias_l2=0.01, l2=0.015)
    training = Training(
        epochs=12, batch_size=500, optimizer=Adam(5e-3, schedule="cosine", warmup=0.05, beta2=0.99)
    )
    return MultiTask(*towers, (Retrieval(weight=0.0), head)), training


def _our_context(timed: bool) -> tuple[Model, Training]:
    return TwoTower(*_our_towers(timed), Retrieval()), OURS
