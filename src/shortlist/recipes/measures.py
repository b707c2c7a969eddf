"""What is measured of a fitted model, and of baselines, on a split's test rows. RMSE is in units of the
label, all else a share."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from shortlist._typing import Bools, Doubles
from shortlist.api.cases import Case, ratings_of
from shortlist.api.entrants import compiled_counter, entrant, with_bonus
from shortlist.api.evaluating import carved_from, interactions_of
from shortlist.api.fitting import Fitted
from shortlist.api.observing import observed
from shortlist.api.preparing import positions_of, user_indices
from shortlist.data.splits import Split
from shortlist.data.vocabulary import Vocabulary
from shortlist.evaluation import metrics
from shortlist.evaluation.compare import evaluate
from shortlist.evaluation.intervals import Estimate
from shortlist.evaluation.rows import Predictions, Skipped, TestRows
from shortlist.evaluation.suite import baseline_predictions

Figures = dict[str, float]
"""Measures by name."""


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
    """Of every test row, as `rolling_ranks` has it."""
    filtered, _ = rolling_ranks(fitted, split)
    return {
        "top100_filtered": float(metrics.hit(filtered, 100).mean()),
        "hr10": float(metrics.hit(filtered, 10).mean()),
    }


def rolling_ranks(fitted: Fitted, split: Split) -> tuple[Doubles, TestRows]:
    """The rank of every test row's item, asked with all its user did strictly before it, in the test period
    too; that is also what is removed from the candidates."""
    recommender = observed(fitted.recommender(), split.test)
    case = Case.of(recommender, split, split.test)
    assert case.at is not None and recommender.retriever is not None
    _, vectors = recommender.retriever.encode_query(case.queries)
    assert vectors is not None and recommender.item_vectors is not None
    nobody = np.full(len(case.rows), -1, np.int32)
    targets = case.rows.targets.astype(np.int32)
    raw = compiled_counter(vectors, recommender.item_vectors, targets, recommender.users.seen, nobody).raw
    return with_bonus(recommender, case.at, vectors, targets, raw, -np.inf), case.rows


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
    lead = lead_on(RECENT, found, split, "filtered ndcg@10 (user)")
    return {
        "recall10": _mean(recalls),
        "ndcg10": _mean(gains),
        "ndcg10_warm": _mean(gains[warm]),
        "ndcg10_lead": lead.value,
        "ndcg10_lead_low": lead.low,
        "ndcg10_lead_high": lead.high,
    }


RECENT = "recent popular"


def lead_on(name: str, found: Predictions, split: Split, figure: str) -> Estimate:
    """How far a model's figure lies above that of a tuned baseline, with a 95 % interval: users resampled,
    the same ones for both."""
    predictions, rows = baselines_on(split, only=(name,))
    report = evaluate([found, *predictions], rows, ks=(10,))
    return next(verdict.difference for verdict in report.verdicts if verdict.metric == figure)


def _mean(values: Doubles) -> float:
    return float(np.nanmean(values))


def baselines_on(
    split: Split, *, only: Collection[str] | None = None
) -> tuple[list[Predictions | Skipped], TestRows]:
    """The baselines (or those named), tuned on rows carved from train and fitted on all of it, and the test
    rows they answer for."""
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
    return baseline_predictions(fit_on, tune_on, rows, refit=True, only=only), rows


def baseline_figures(split: Split) -> dict[str, Any]:
    """metric -> the best baseline's name and value."""
    predictions, rows = baselines_on(split)
    best: dict[str, Any] = {}

    def offer(name: str, metric: str, value: float, *, lower: bool = False) -> None:
        held = best.get(metric)
        if held is None or (value < held["value"] if lower else value > held["value"]):
            best[metric] = {"name": name, "value": value}

    warm = rows.users[np.unique(rows.user_keys, return_index=True)[1]] >= 0
    for found in predictions:
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
