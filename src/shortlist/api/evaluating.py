"""`evaluate`: a recommender on test rows, beside tuned baselines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from shortlist.api.cases import Case, aligned, ratings_of, said_of_repeats
from shortlist.api.entrants import (
    Counter,
    compiled_counter,
    entrant,
    mean_ndcg,
    numpy_counter,
    stage_figures,
    stage_name,
    two_stage_entrant,
)
from shortlist.api.preparing import positions_of, user_indices
from shortlist.api.sources import read_data, split_data
from shortlist.baselines.interactions import Interactions
from shortlist.data.dataset import Dataset
from shortlist.data.splits import Split, parse_rule
from shortlist.data.vocabulary import Vocabulary
from shortlist.errors import DataError
from shortlist.evaluation import metrics
from shortlist.evaluation.compare import evaluate as judge
from shortlist.evaluation.report import Report
from shortlist.evaluation.rows import Predictions, Skipped
from shortlist.evaluation.suite import baseline_predictions
from shortlist.pipeline.recommender import Recommender
from shortlist.specs.recipe import Recipe

if TYPE_CHECKING:
    from shortlist.api.fitting import Fitted

CARVED = 0.1
"""Share of the training rows baselines are tuned on where a split has no validation rows."""
MODEL = "Shortlist"
SEES_FUTURE = "the model's are leave-one-out: it sees the future of the training period"

Tell = Callable[[str, int, int], None]


def evaluate(
    model: Fitted | Recommender,
    test: pl.DataFrame | Split | None = None,
    *,
    split: Split | None = None,
    baselines: bool = True,
    k: Sequence[int] = (10, 100),
    resamples: int = 1000,
    name: str = MODEL,
    protocol: Mapping[str, Any] | None = None,
    history: Mapping[str, Sequence[float]] | None = None,
    tell: Tell | None = None,
) -> Report:
    """Judge a model on test rows (the split's own by default), beside baselines on the same rows.

    Baselines are tuned on the split's validation rows, or on a tenth carved from train by the same rule, and
    refitted on what the model was trained on. A Fitted knows its split, a Recommender needs `split`. The
    model is an entrant by its retrieval and its ratings, and, where its utility weighs the rating, by the
    order of its two stages. Unknown users get what `recommend` gives them: popularity. Raises DataError for
    rows with items outside the catalogue, and for tables without a column the model reads, or with another
    type in it.
    """
    if isinstance(test, Split):
        test, split = None, test
    counter: Counter = numpy_counter
    if isinstance(model, Recommender):
        recommender = model
    else:
        split, history = split or model.split, history or model.history
        recommender, counter = model.recommender(), compiled_counter
    if split is None:
        raise DataError("a Recommender does not hold its split", hint="evaluate(recommender, split=...)")
    split = aligned(recommender, split)
    case = Case.of(recommender, split, split.test if test is None else test)
    own = entrant(recommender, case, counter, name)
    staged = two_stage_entrant(recommender, case, own)
    entrants: list[Predictions | Skipped] = [own] if staged is None else [own, staged]
    if baselines:
        entrants = [*_baselines(recommender, split, case, tell), *entrants]
    stated = {**(protocol or {}), "split": split.rule, "seed": split.seed, "leaks": split.leaks}
    if later := _trained_later(recommender, split, split.test if test is None else test):
        stated["leaks"] = later
    stated["repeats"] = said_of_repeats(case)
    stated["inputs"] = SEES_FUTURE if recommender.sees_future else ""
    return judge(
        entrants,
        case.rows,
        tuple(k),
        resamples=resamples,
        protocol={key: value for key, value in stated.items() if value not in (None, "")},
        stages=stage_figures(recommender, case, min(k), [recommender.utility.rating_weight]),
        history=history,
    )


ALL_ROWS = "all rows"
"""What a bundle says it was trained on where no row was held out."""


def _trained_later(recommender: Recommender, split: Split, test: pl.DataFrame) -> str:
    """What must be said where a model was trained on rows later than the test rows of a split by time."""
    if recommender.provenance.get("trained_on") == ALL_ROWS:
        return "the model was trained on all rows, the test rows among them: it is no judge of itself"
    last = recommender.users.as_of
    if last is None or "timestamp" not in test.columns or not split.rule.startswith("time"):
        return ""
    first = test["timestamp"].min()
    if not isinstance(first, int) or last <= first:
        return ""
    return (
        "the model was trained on rows later than the first test row, which the split's own training rows are"
        " not: judge it on rows that came since"
    )


def _baselines(
    recommender: Recommender, split: Split, case: Case, tell: Tell | None
) -> list[Predictions | Skipped]:
    fit_on, tune_on = (split.train, split.validation) if split.validation.height else carved_from(split)
    vocabulary = recommender.users.vocabulary
    arrays = [interactions_of(part, split.items, vocabulary) for part in (fit_on, tune_on)]
    # the same rows for all: baselines take validation rows into their last fit only if the model did
    withheld = split.validation.height > 0 and len(recommender.users.seen.indices) == len(
        arrays[0].seen.indices
    )
    return baseline_predictions(arrays[0], arrays[1], case.rows, refit=not withheld, progress=tell)


def carved_from(split: Split) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Train and validation rows from a split without validation, by its own rule."""
    data = Dataset(split.train, split.users, split.items)
    try:
        rule = parse_rule(split.rule)
        amount = rule.amount if rule.kind == "hold_last" else 1 - CARVED
        carved = replace(rule, amount=amount, validation=0.0).apply(data, seed=split.seed or 0)
    except DataError:  # too few rows to carve from, or no rule: baselines keep their first settings
        return split.train, split.train.clear()
    return carved.train, carved.test


def interactions_of(rows: pl.DataFrame, items: pl.DataFrame, users: Vocabulary) -> Interactions:
    """Rows as baselines read them; those of users who are not known are left out."""
    known = user_indices(rows, users)
    kept = known >= 0
    times = rows["timestamp"].to_numpy().astype(np.int64)[kept] if "timestamp" in rows.columns else None
    ratings = ratings_of(rows)
    return Interactions(
        known[kept].astype(np.int64),
        positions_of(rows, items)[kept].astype(np.int64),
        len(users),
        items.height,
        None if ratings is None else ratings[kept],
        times,
    )


def choose_weight(fitted: Fitted, validation: pl.DataFrame, weights: Sequence[float], k: int = 10) -> float:
    """The weight of the predicted rating in the final order that orders validation rows best: the largest
    NDCG@k over users, counting the rows people liked; the smallest weight among equals."""
    recommender = fitted.recommender()
    if recommender.retriever is None or recommender.ranker is None or not validation.height:
        return 0.0
    case = Case.of(recommender, fitted.split, validation)
    figures = stage_figures(recommender, case, k, weights)
    if not np.isfinite(figures["retrieval only"][f"ndcg@{k} (user, liked)"]):
        return 0.0
    best = max(weights, key=lambda w: (figures[stage_name(w)][f"ndcg@{k} (user, liked)"], -w))
    return float(best)


def point_figures(fitted: Fitted, rows: pl.DataFrame, *, users: bool = True) -> dict[str, float]:
    """Figures of a fitted model on some rows, by the report's names, without baselines or intervals."""
    recommender = fitted.recommender()
    case = Case.of(recommender, fitted.split, rows)
    found = entrant(recommender, case, compiled_counter, MODEL, users=users)
    out: dict[str, float] = {}
    if found.ranks is not None:
        for rule, ranks in (("raw", found.ranks.raw), ("filtered", found.ranks.filtered)):
            out[f"{rule} hit_rate@100 (row)"] = float(metrics.hit(ranks, 100).mean())
    if found.user_ranks is not None:
        everything = np.ones(len(case.rows), bool)
        out["filtered ndcg@10 (user)"] = mean_ndcg(found.user_ranks.filtered, case.rows, everything, 10)
    if found.ratings is not None and case.rows.ratings is not None:
        errors = metrics.squared_error(found.ratings, case.rows.ratings)
        out["rmse"] = float(errors[np.isfinite(errors)].mean() ** 0.5)
    return out


def evaluate_bundle(
    path: str | Path, *, recipe: Recipe | None = None, baselines: bool = True, tell: Tell | None = None
) -> Report:
    """Judge a bundle on the test rows of its own recipe (the snapshot inside it), or of another `recipe`,
    whose data and split are then used. Raises as `evaluate` does where that data does not fit the bundle."""
    from shortlist.bundle import load

    recommender = load(path)
    if recipe is None:
        plain = recommender.provenance.get("recipe")
        if plain is None:
            raise DataError(
                f"the bundle {path} holds no recipe to find its data by",
                hint="evaluate(load(path), split=...)",
            )
        recipe = Recipe.from_dict(plain)
    data = read_data(recipe)
    return evaluate(
        recommender,
        split=split_data(recipe, data),
        protocol={"data": data.name},
        baselines=baselines,
        k=recipe.evaluation.k,
        resamples=recipe.evaluation.resamples,
        tell=tell,
    )
