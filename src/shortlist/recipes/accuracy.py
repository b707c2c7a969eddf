"""The accuracy of the shipped recipes on MovieLens 100K: every row of the table that stands in the README.

Each row names a split, a recipe with what is changed of it, and its figures. Models are fitted on training
rows; of test rows they are asked with user, item and time; labels are compared last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import numpy as np

from shortlist._typing import Bools, Doubles
from shortlist.api.cases import Case, ratings_of
from shortlist.api.entrants import compiled_counter, entrant, with_bonus
from shortlist.api.evaluating import carved_from, interactions_of
from shortlist.api.fitting import Fitted, fit
from shortlist.api.observing import observed
from shortlist.api.preparing import positions_of, user_indices
from shortlist.data.dataset import Dataset
from shortlist.data.movielens import movielens
from shortlist.data.splits import Split, leave_last, random, temporal
from shortlist.data.vocabulary import Vocabulary
from shortlist.errors import DataError, did_you_mean
from shortlist.evaluation import metrics
from shortlist.evaluation.rows import Skipped, TestRows
from shortlist.evaluation.suite import baseline_predictions
from shortlist.recipes.variants import (
    Change,
    as_of,
    linear,
    training,
    without_time,
    without_user_counts,
    without_user_ids,
)
from shortlist.specs.recipe import Recipe

Figures = dict[str, float]
Tell = Callable[[str, int, int], None]
SEED = 42
SPLIT_SEEDS = (42, 43, 44)


@dataclass(frozen=True)
class Task:
    """One model of a row. figures: what is told of it, name in the row -> name of the measure."""

    recipe: str
    changes: tuple[Change, ...] = ()
    figures: dict[str, str] = field(default_factory=dict)

    @property
    def recipe_as_changed(self) -> Recipe:
        recipe = shipped(self.recipe)
        for change in self.changes:
            recipe = change(recipe)
        return recipe

    def fitted(self, split: Split, seed: int) -> Fitted:
        """The model, trained on the whole of the training part."""
        recipe = self.recipe_as_changed
        assert not hasattr(recipe.model, "goal")  # declared, not inferred
        return fit(recipe.model, split, training=recipe.training, seed=seed)


@dataclass(frozen=True)
class Row:
    """A row of the table. measure: from a fitted model and its split to measures by name."""

    name: str
    split: Callable[[Dataset, int], Split]
    measure: Callable[[Fitted, Split], Figures]
    tasks: tuple[Task, ...]
    split_seeds: tuple[int, ...] = (SEED,)
    said: str = ""


def shipped(name: str) -> Recipe:
    """A recipe of the package."""
    return Recipe.from_toml((files("shortlist.recipes") / f"{name}.toml").read_text("utf-8"))


def random_split(data: Dataset, seed: int) -> Split:
    """Four rows of five to learn from."""
    return random(data, test=0.2, seed=seed)


def last_split(data: Dataset, seed: int) -> Split:
    """Each user's last row held out."""
    return leave_last(data, n=1, validation=False)


def time_split(data: Dataset, seed: int) -> Split:
    """The last fifth of the time held out."""
    return temporal(data, test=0.2)


# Measures


def rows_measured(fitted: Fitted, split: Split) -> Figures:
    """Of every test row: hit rates, NDCG, RMSE; row averages."""
    recommender = fitted.recommender()
    case = Case.of(recommender, split, split.test)
    found = entrant(recommender, case, compiled_counter, "", users=False)
    out: Figures = {}
    if found.ranks is not None:
        out |= {
            "top100_raw": float(metrics.hit(found.ranks.raw, 100).mean()),
            "top100_filtered": float(metrics.hit(found.ranks.filtered, 100).mean()),
            "hr10": float(metrics.hit(found.ranks.filtered, 10).mean()),
            "ndcg10": float(metrics.gain(found.ranks.filtered, 10).mean()),
        }
    if found.ratings is not None and case.rows.ratings is not None:
        squares = np.square(np.clip(found.ratings, *scale_of(split)) - case.rows.ratings)
        warm = case.rows.users >= 0
        out["rmse"] = float(np.sqrt(squares.mean()))
        out["rmse_warm"] = float(np.sqrt(squares[warm].mean()))
    return out


def scale_of(split: Split) -> tuple[float, float]:
    """The lowest and the highest training rating."""
    ratings = split.train["rating"]
    return float(ratings.min()), float(ratings.max())  # type: ignore[arg-type]


def rolling_measured(fitted: Fitted, split: Split) -> Figures:
    """Of every test row, asked with all its user did strictly before it, in the test period too; that is
    also what is removed from the candidates."""
    recommender = observed(fitted.recommender(), split.test)
    case = Case.of(recommender, split, split.test)
    assert case.at is not None and recommender.retriever is not None
    _, vectors = recommender.retriever.encode_query(case.queries)
    assert vectors is not None and recommender.item_vectors is not None
    nobody = np.full(len(case.rows), -1, np.int32)
    targets = case.rows.targets.astype(np.int32)
    raw = compiled_counter(vectors, recommender.item_vectors, targets, recommender.users.seen, nobody).raw
    filtered = with_bonus(recommender, case.at, vectors, targets, raw, -np.inf)
    return {
        "top100_filtered": float(metrics.hit(filtered, 100).mean()),
        "hr10": float(metrics.hit(filtered, 10).mean()),
    }


def users_measured(fitted: Fitted, split: Split) -> Figures:
    """One list a user, made at the time of the user's first test row from training events: averages over
    users, and over those training knows."""
    recommender = fitted.recommender()
    case = Case.of(recommender, split, split.test)
    found = entrant(recommender, case, compiled_counter, "")
    assert found.user_ranks is not None
    rows = case.rows
    gains = metrics.user_ndcg(found.user_ranks.filtered, rows.user_keys, rows.num_users, 10)
    recalls = metrics.user_recall(found.user_ranks.filtered, rows.user_keys, rows.num_users, 10)
    warm: Bools = rows.users[case.first] >= 0
    return {
        "recall10": _mean(recalls),
        "ndcg10": _mean(gains),
        "ndcg10_warm": _mean(gains[warm]),
    }


def _mean(values: Doubles) -> float:
    return float(np.nanmean(values))


PEERS: dict[str, dict[str, str]] = {
    "rating-one": {"rmse": "0.8787 myFM"},
    "rating-timeless": {"rmse": "0.8849 myFM"},
    "rating-causal": {
        "rmse": "0.918 SVD++, which sees all",
        "rmse_no_user_id": "0.918 SVD++, which sees all",
    },
    "retrieval-earlier": {"top100_raw": "0.396 iALS", "top100_filtered": "0.639 iALS"},
    "retrieval-nearest": {"top100_raw": "0.396 iALS", "top100_filtered": "0.639 iALS"},
    "retrieval-ids": {"top100_raw": "0.396 iALS", "top100_filtered": "0.639 iALS"},
    "leave-last": {"hr10": "0.149 EASE", "ndcg10": "0.073 iALS"},
    "temporal-rolling": {"top100_filtered": "0.362 recent popular", "hr10": "0.076 recent popular"},
    "temporal-static": {
        "recall10": "0.106 recent popular",
        "ndcg10": "0.406 recent popular",
        "ndcg10_warm": "0.218 recent popular",
    },
    "temporal-rating": {"rmse": "1.0195", "rmse_warm": "0.943"},
}
"""The best figures measured of others on the same rows, each tool with its own best settings."""
BOTH = {"top100_raw": "top100_raw", "top100_filtered": "top100_filtered"}
JOINT = {"top100_filtered": "top100_filtered", "rmse": "rmse"}
CAUSAL = (as_of("row"), training(epochs=10))
UNSEEN = (without_time(), without_user_ids(), without_user_counts(), linear())
ROWS = (
    Row(
        "rating-one",
        random_split,
        rows_measured,
        (Task("ml100k-rating", (), {"rmse": "rmse"}),),
    ),
    Row(
        "rating-ensemble",
        random_split,
        rows_measured,
        (Task("ml100k-rating", (training(members=5),), {"rmse": "rmse"}),),
        said="five seeds trained side by side",
    ),
    Row(
        "rating-timeless",
        random_split,
        rows_measured,
        (Task("ml100k-rating", (without_time(),), {"rmse": "rmse"}),),
    ),
    Row(
        "rating-causal",
        random_split,
        rows_measured,
        (
            Task("ml100k-rating", CAUSAL, {"rmse": "rmse"}),
            Task("ml100k-rating", (*CAUSAL, without_user_ids()), {"rmse_no_user_id": "rmse"}),
        ),
    ),
    Row("retrieval-earlier", random_split, rows_measured, (Task("ml100k-retrieval", (), BOTH),)),
    Row(
        "retrieval-nearest",
        random_split,
        rows_measured,
        (Task("ml100k-retrieval", (as_of("leave-one-out"),), BOTH),),
    ),
    Row("retrieval-ids", random_split, rows_measured, (Task("ml100k-ids", (), BOTH),)),
    Row(
        "joint",
        random_split,
        rows_measured,
        (Task("ml100k-joint", (as_of("leave-one-out", retrieval=False),), JOINT),),
    ),
    Row("joint-causal", random_split, rows_measured, (Task("ml100k-joint", (), JOINT),)),
    Row(
        "leave-last",
        last_split,
        rows_measured,
        (Task("ml100k-joint", (training(members=3),), {"hr10": "hr10", "ndcg10": "ndcg10"}),),
        said="trained jointly with ratings, three seeds side by side",
    ),
    Row(
        "temporal-rolling",
        time_split,
        rolling_measured,
        (
            Task(
                "ml100k-retrieval",
                (training(members=3),),
                {"top100_filtered": "top100_filtered", "hr10": "hr10"},
            ),
        ),
        said="three seeds trained side by side",
    ),
    Row(
        "temporal-static",
        time_split,
        users_measured,
        (
            Task(
                "ml100k-retrieval",
                (training(half_life=20.0),),
                {"recall10": "recall10", "ndcg10": "ndcg10", "ndcg10_warm": "ndcg10_warm"},
            ),
        ),
        said="rows count half as much as rows twenty days later",
    ),
    Row(
        "temporal-rating",
        time_split,
        rows_measured,
        (Task("ml100k-rating", UNSEEN, {"rmse": "rmse", "rmse_warm": "rmse_warm"}),),
        said="no clock, no user ids, no counts of users, no hidden layer",
    ),
    Row(
        "split-seeds",
        random_split,
        rows_measured,
        (
            Task("ml100k-rating", (), {"rmse": "rmse"}),
            Task("ml100k-retrieval", (), BOTH),
        ),
        split_seeds=SPLIT_SEEDS,
        said="three splits, one model seed",
    ),
)
"""The table, in order."""


# Running


def reproduce_rows(
    rows: Iterable[Row],
    *,
    names: Iterable[str] = (),
    seeds: int = 3,
    tell: Tell | None = None,
    data: Dataset | None = None,
) -> list[dict[str, Any]]:
    """Every row (or those named): metrics with mean and deviation over the seeds, and the seconds of a fit.

    Raises DataError for a row that is not there.
    """
    chosen = _chosen(tuple(rows), tuple(names))
    data = movielens("100k") if data is None else data
    found = []
    known: dict[str, dict[str, Any]] = {}
    total, done = sum(len(row.tasks) * len(_runs(row, seeds)) for row in chosen), 0
    for row in chosen:
        told: dict[str, list[float]] = {}
        seconds: list[float] = []
        for split_seed, seed in _runs(row, seeds):
            split = row.split(data, split_seed)
            for task in row.tasks:
                if tell is not None:
                    tell(f"{row.name}, seed {seed}", done, total)
                fitted = task.fitted(split, seed)
                seconds.append(fitted.seconds["fit_cpu"] + fitted.seconds.get("prepare_cpu", 0.0))
                measured = row.measure(fitted, split)
                for name, measure in task.figures.items():
                    told.setdefault(name, []).append(measured[measure])
                done += 1
        found.append(
            {
                "row": row.name,
                "metrics": {
                    name: {"mean": float(np.mean(v)), "std": float(np.std(v, ddof=1)) if len(v) > 1 else 0.0}
                    for name, v in told.items()
                },
                "fit_seconds": float(np.mean(seconds)),
                "seeds": [seed for _, seed in _runs(row, seeds)],
                "said": _said(row),
                "baselines": _baselines(row, data, known),
                "peers": PEERS.get(row.name, {}),
            }
        )
    return found


def _said(row: Row) -> str:
    """What must be known of a row's figures."""
    models = [task.recipe_as_changed.model for task in row.tasks]
    future = any(m.sees_future for m in models)
    seen = "leave-one-out inputs: sees the future of the training period" if future else ""
    return "; ".join(part for part in (seen, row.said) if part)


def _baselines(row: Row, data: Dataset, known: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The best tuned baseline on the row's own test rows, by metric; known: of splits already done."""
    kind = row.split.__name__
    if kind not in known:
        known[kind] = baseline_figures(row.split(data, row.split_seeds[0]))
    names = {"rmse_no_user_id": "rmse"}
    figures = known[kind]
    if row.measure is users_measured:
        names = {"recall10": "user recall10", "ndcg10": "user ndcg10", "ndcg10_warm": "user ndcg10_warm"}
    elif row.measure is rolling_measured:
        return {}  # they were not fitted for histories that grow
    told = [name for task in row.tasks for name in task.figures]
    return {name: figures[names.get(name, name)] for name in told if names.get(name, name) in figures}


def baseline_figures(split: Split) -> dict[str, Any]:
    """metric -> the best baseline's name and value."""
    train, tune = carved_from(split)
    vocabulary = Vocabulary.of(split.train["user_id"].unique(maintain_order=True).to_list())
    fit_on, tune_on = (interactions_of(part, split.items, vocabulary) for part in (train, tune))
    rows = TestRows.of(
        user_indices(split.train, vocabulary),
        positions_of(split.train, split.items),
        user_indices(split.test, vocabulary),
        positions_of(split.test, split.items),
        split.items.height,
        user_keys=split.test["user_id"].to_numpy().astype(str),
        ratings=ratings_of(split.test),
    )
    best: dict[str, Any] = {}

    def offer(name: str, metric: str, value: float, *, lower: bool = False) -> None:
        held = best.get(metric)
        if held is None or (value < held["value"] if lower else value > held["value"]):
            best[metric] = {"name": name, "value": value}

    warm = rows.users[np.unique(rows.user_keys, return_index=True)[1]] >= 0
    for found in baseline_predictions(fit_on, tune_on, rows, refit=True):
        if isinstance(found, Skipped):
            continue
        if found.ranks is not None:
            offer(found.name, "top100_raw", float(metrics.hit(found.ranks.raw, 100).mean()))
            offer(found.name, "top100_filtered", float(metrics.hit(found.ranks.filtered, 100).mean()))
            offer(found.name, "hr10", float(metrics.hit(found.ranks.filtered, 10).mean()))
            offer(found.name, "ndcg10", float(metrics.gain(found.ranks.filtered, 10).mean()))
            one = found.ranks.filtered, rows.user_keys, rows.num_users, 10
            offer(found.name, "user recall10", _mean(metrics.user_recall(*one)))
            offer(found.name, "user ndcg10", _mean(metrics.user_ndcg(*one)))
            offer(found.name, "user ndcg10_warm", _mean(metrics.user_ndcg(*one)[warm]))
        if found.ratings is not None and rows.ratings is not None:
            squares = np.square(np.clip(found.ratings, *scale_of(split)) - rows.ratings)
            offer(found.name, "rmse", float(np.sqrt(squares.mean())), lower=True)
            known = rows.users >= 0
            offer(found.name, "rmse_warm", float(np.sqrt(squares[known].mean())), lower=True)
    return best


def _runs(row: Row, seeds: int) -> list[tuple[int, int]]:
    """(seed of the split, seed of the model) of each run."""
    if len(row.split_seeds) > 1:
        return [(split_seed, SEED) for split_seed in row.split_seeds]
    return [(row.split_seeds[0], SEED + k) for k in range(seeds)]


def _chosen(rows: tuple[Row, ...], names: tuple[str, ...]) -> tuple[Row, ...]:
    known = [row.name for row in rows]
    for name in names:
        if name not in known:
            raise DataError(f"there is no row {name!r}", hint=did_you_mean(name, known) or ", ".join(known))
    return tuple(row for row in rows if not names or row.name in names)
