"""The accuracy of the shipped recipes on MovieLens 100K: every row of the table in docs/accuracy.md.

Each row names a split, a recipe with what is changed of it, and its figures. Models are fitted on training
rows; of test rows they are asked with user, item and time; labels are compared last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from importlib.resources import files
from typing import Any

import numpy as np
import polars as pl

from shortlist.api.fitting import Fitted, fit
from shortlist.data.dataset import Dataset
from shortlist.data.movielens import movielens
from shortlist.data.splits import Split, leave_last, random, temporal
from shortlist.errors import DataError, did_you_mean
from shortlist.recipes.measures import (
    Figures,
    baseline_figures,
    rolling_measured,
    rows_measured,
    users_measured,
)
from shortlist.recipes.variants import (
    Change,
    as_of,
    linear,
    training,
    without_aggregates,
    without_time,
    without_user_ids,
)
from shortlist.specs.recipe import Recipe

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
        """The shipped recipe with the changes made to it."""
        recipe = shipped(self.recipe)
        for change in self.changes:
            recipe = change(recipe)
        return recipe

    def fitted(self, split: Split, seed: int) -> Fitted:
        """The model, trained on the whole of the training part."""
        recipe = self.recipe_as_changed
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
    """Each user's last row held out; what has one second follows in the order of the file."""
    return leave_last(in_order(data), n=1, validation=False)


def in_order(data: Dataset) -> Dataset:
    """The same with a second at least between any two rows of a user: rows of one second, whose order only
    the file tells, follow each other, and the later ones are put off."""
    rows = data.interactions.with_row_index("row").sort("user_id", "timestamp", "row")
    place = pl.int_range(pl.len()).over("user_id")
    spread = (pl.col("timestamp") - place).cum_max().over("user_id") + place
    return replace(data, interactions=rows.with_columns(timestamp=spread).sort("row").drop("row"))


def time_split(data: Dataset, seed: int) -> Split:
    """The last fifth of the time held out."""
    return temporal(data, test=0.2)


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
UNSEEN = (without_time(), without_aggregates(), linear(), training(new_users=0.3))
LEAD = ("ndcg10_lead", "ndcg10_lead_low", "ndcg10_lead_high")
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
        (Task("ml100k-retrieval", (training(members=3),), {"hr10": "hr10", "ndcg10": "ndcg10"}),),
        said="rows of one second follow each other in the file's order; three seeds side by side",
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
                {name: name for name in ("recall10", "ndcg10", "ndcg10_warm", *LEAD)},
            ),
        ),
        said="rows count half as much as rows twenty days later",
    ),
    Row(
        "temporal-rating",
        time_split,
        rows_measured,
        (Task("ml100k-rating", UNSEEN, {"rmse": "rmse", "rmse_warm": "rmse_warm"}),),
        said="no clock, no aggregates, no hidden layer; three rows of ten learned as of new users",
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
    """The best tuned baseline on the row's own test rows, by metric, of several splits the mean of the best;
    known: of splits already done."""
    found = []
    for seed in row.split_seeds:
        at = f"{row.split.__name__} {seed}"
        if at not in known:
            known[at] = baseline_figures(row.split(data, seed))
        found.append(known[at])
    figures = {
        name: {
            "name": "/".join(dict.fromkeys(one[name]["name"] for one in found)),
            "value": float(np.mean([one[name]["value"] for one in found])),
        }
        for name in found[0]
    }
    names = {"rmse_no_user_id": "rmse"}
    if row.measure is users_measured:
        names = {"recall10": "user recall10", "ndcg10": "user ndcg10", "ndcg10_warm": "user ndcg10_warm"}
    elif row.measure is rolling_measured:
        return {}  # they were not fitted for histories that grow
    told = [name for task in row.tasks for name in task.figures]
    return {name: figures[names.get(name, name)] for name in told if names.get(name, name) in figures}


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
