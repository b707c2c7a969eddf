"""Warm starts measured: yesterday's model, tomorrow's events, and the days after as the test.

MovieLens 100K by time. The first rows are yesterday, the next are new, the last are the test. Three models
are asked about each test row: one trained from scratch on all rows before the test, one that was trained on
yesterday's and went on with the new ones, and yesterday's whose state alone knows the new ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from shortlist._typing import Doubles
from shortlist.api.cases import Case
from shortlist.api.entrants import compiled_counter, entrant, two_stage_entrant
from shortlist.api.fitting import Fitted, fit
from shortlist.api.warming import EPOCHS, RATE, REPLAY, warm_start
from shortlist.data.dataset import Dataset
from shortlist.data.movielens import movielens
from shortlist.data.splits import Split, temporal
from shortlist.evaluation import metrics
from shortlist.evaluation.figures import lower_is_better
from shortlist.evaluation.intervals import Tally, bootstrap, estimate, verdict_on
from shortlist.recipes.accuracy import shipped
from shortlist.recipes.measures import rolling_ranks, scale_of

Tell = Callable[[str, int, int], None]
TEST, NEW = 0.2, 0.125
"""Share of the rows that are the test; share of the rest that is new."""
SEEDS = (42, 43, 44)
RESAMPLES = 1000
RATING_WEIGHT = 0.5
"""Of the predicted rating in the lists of two stages, for all three models."""
MODELS = ("scratch", "warm", "state alone")


@dataclass(frozen=True)
class Days:
    """yesterday's rows, and those with the new ones; both splits have the same test rows."""

    yesterday: Split
    with_new: Split

    @classmethod
    def of(cls, data: Dataset, *, validation: bool = False) -> Days:
        """The last fifth of the rows as the test. validation: all of it one step earlier, the test untouched:
        the last tenth before the test takes its place."""
        whole = temporal(data, test=TEST)
        if validation:
            whole = temporal(replace(data, interactions=whole.train), test=NEW)
        share = 1 / 7 if validation else NEW
        earlier = temporal(replace(data, interactions=whole.train), test=share)
        return cls(replace(whole, train=earlier.train), whole)


def reproduce_warm_start(
    *, seeds: int = len(SEEDS), validation: bool = False, tell: Tell | None = None
) -> list[dict[str, Any]]:
    """A row a recipe, each with so many seeds: figures of the three models, differences warm - scratch with
    intervals from resampling users, CPU seconds. validation: on the rows that settings were chosen on."""
    days = Days.of(movielens("100k"), validation=validation)
    chosen = tuple(SEEDS[0] + k for k in range(seeds))
    rows = {"yesterday": days.yesterday.train.height, "test": days.with_new.test.height}
    rows["new"] = days.with_new.train.height - rows["yesterday"]
    common = {
        "judged_on": "validation" if validation else "test",
        "rows": rows,
        "settings": {"epochs": EPOCHS, "replay": REPLAY, "rate": RATE},
    }
    found = []
    for at, (name, judge) in enumerate(JUDGES.items()):
        if tell is not None:
            tell(name, at, len(JUDGES))
        found.append(_measured(name, judge, days, chosen) | common)
    return found


Judge = Callable[[Fitted, Split], dict[str, Tally]]


def _measured(name: str, judge: Judge, days: Days, seeds: Sequence[int]) -> dict[str, Any]:
    tallies: dict[str, list[dict[str, Tally]]] = {model: [] for model in MODELS}
    seconds: dict[str, list[float]] = {model: [] for model in MODELS}
    for seed in seeds:
        for model, fitted in _fitted(name, days, seed).items():
            tallies[model].append(judge(fitted, days.with_new))
            seconds[model].append(fitted.seconds["fit_cpu"] + fitted.seconds["prepare_cpu"])
    cpu = {model: round(float(np.mean(taken)), 2) for model, taken in seconds.items()}
    return {
        "recipe": name,
        "seeds": list(seeds),
        "figures": _figures({model: _mean(found) for model, found in tallies.items()}),
        "each": {
            model: [{figure: _value(tally) for figure, tally in one.items()} for one in found]
            for model, found in tallies.items()
        },
        "cpu_seconds": cpu,
        "cheaper": round(cpu["scratch"] / cpu["warm"], 2),
    }


def _fitted(name: str, days: Days, seed: int) -> dict[str, Fitted]:
    recipe = shipped(name)
    yesterday = fit(recipe.model, days.yesterday, training=recipe.training, seed=seed)
    return {
        "scratch": fit(recipe.model, days.with_new, training=recipe.training, seed=seed),
        "warm": warm_start(yesterday, days.with_new),
        "state alone": warm_start(yesterday, days.with_new, epochs=0),
    }


def _figures(found: Mapping[str, Mapping[str, Tally]]) -> list[dict[str, Any]]:
    """Each figure of each model, and warm less each of the others with its interval."""
    rows = []
    for figure in found["warm"]:
        tallies = [found[model][figure] for model in MODELS]
        values, draws = bootstrap(tallies, len(tallies[0].tops), RESAMPLES, SEEDS[0])
        row: dict[str, Any] = {"figure": figure}
        row |= {model: round(float(value), 4) for model, value in zip(MODELS, values, strict=True)}
        warm = MODELS.index("warm")
        for at, model in enumerate(MODELS):
            if at != warm:
                gap = estimate(float(values[warm] - values[at]), draws[:, warm] - draws[:, at])
                verdict = verdict_on(gap, lower_is_better=lower_is_better(figure))
                span = {k: round(v, 4) for k, v in vars(gap).items()}
                row[f"warm - {model}"] = {**span, "verdict": verdict}
        rows.append(row)
    return rows


def _mean(found: Sequence[Mapping[str, Tally]]) -> dict[str, Tally]:
    """The mean over seeds, user by user."""
    return {
        name: Tally(np.mean([one[name].tops for one in found], axis=0), tally.bottoms, tally.root)
        for name, tally in found[0].items()
    }


def _value(tally: Tally) -> float:
    value = tally.tops.sum() / tally.bottoms.sum()
    return round(float(np.sqrt(value) if tally.root else value), 4)


def _rolling(fitted: Fitted, split: Split) -> dict[str, Tally]:
    """Hit rates over rows, each asked with all its user did before it."""
    ranks, rows = rolling_ranks(fitted, split)
    return {
        f"rolling hit_rate@{k}": _by_user(metrics.hit(ranks, k), rows.user_keys, rows.num_users)
        for k in (100, 10)
    }


def _two_stage(fitted: Fitted, split: Split) -> dict[str, Tally]:
    """One list a user, made at the end of training; ratings of every row."""
    recommender = fitted.recommender(rating_weight=RATING_WEIGHT)
    case = Case.of(recommender, split, split.test)
    own = entrant(recommender, case, compiled_counter, "")
    staged, rows = two_stage_entrant(recommender, case, own), case.rows
    assert own.ranks is not None and own.user_ranks is not None and staged is not None
    assert own.ratings is not None and rows.ratings is not None and staged.user_ranks is not None
    errors = metrics.squared_error(np.clip(own.ratings, *scale_of(split)), rows.ratings)
    out = {"hit_rate@100": _by_user(metrics.hit(own.ranks.filtered, 100), rows.user_keys, rows.num_users)}
    for name, ranks in (("ndcg@10", own.user_ranks), ("ndcg@10, two stages", staged.user_ranks)):
        gains = metrics.user_ndcg(ranks.filtered, rows.user_keys, rows.num_users, 10)
        out[name] = Tally(np.nan_to_num(gains), np.isfinite(gains).astype(np.float64))
    return out | {"rmse": _by_user(errors, rows.user_keys, rows.num_users, root=True)}


def _by_user(values: Doubles, users: Any, num_users: int, *, root: bool = False) -> Tally:
    tops = np.bincount(users, weights=values, minlength=num_users).astype(np.float64)
    return Tally(tops, np.bincount(users, minlength=num_users).astype(np.float64), root)


JUDGES: dict[str, Judge] = {"ml100k-retrieval": _rolling, "ml100k-ids": _two_stage}
"""Recipe -> what is measured of it."""
