"""The tutorials' six experiments in one process of ours: `tutorials.py [EXPERIMENT ...]`, all by default.

Each is fitted as the tutorial prints it and judged on its test rows by the tutorial's own figures.
"""

from __future__ import annotations

import sys
import time

from clock import emit

from shortlist.api.fitting import Fitted, fit
from shortlist.api.preparing import positions_of, query_columns, user_indices
from shortlist.data.dataset import deduplicate_titles
from shortlist.data.movielens import movielens
from shortlist.data.splits import random
from shortlist.evaluation.metrics import hit, squared_error
from shortlist.recipes.tutorials import experiments
from shortlist.training.ranks import count_ranks


def figures(fitted: Fitted) -> dict[str, float]:
    """Top-100 accuracy and RMSE on the test rows, whichever the model has."""
    rows, prepared, out = fitted.split.test, fitted.prepared, {}
    if fitted.model.retrieval is not None:
        _, vectors = fitted.scorer.encode_query(query_columns(fitted.model, rows, fitted.split.users))
        targets, users = positions_of(rows, fitted.split.items), user_indices(rows, prepared.users)
        ranks = count_ranks(vectors, fitted.candidates[1], targets, prepared.seen, users)[0]
        out["top100"] = round(float(hit(ranks, 100).mean()), 4)
    if fitted.model.heads:
        predicted = fitted.predict(rows)["rating"].astype(float)
        out["rmse"] = round(float(squared_error(predicted, rows["rating"].to_numpy()).mean() ** 0.5), 4)
    return out


def main() -> None:
    """Fit and judge, one line an experiment."""
    split = random(deduplicate_titles(movielens("100k")), seed=42)
    for experiment in experiments():
        if sys.argv[1:] and experiment.name not in sys.argv[1:]:
            continue
        start = time.perf_counter()
        model, training = experiment.tutorial
        fitted = fit(model, split, training=training, seed=42)
        fit_seconds = time.perf_counter() - start
        found = figures(fitted)
        emit(
            experiment.name,
            time.perf_counter() - start,
            fit_seconds=round(fit_seconds, 3),
            compile_seconds=fitted.seconds["compile"],
            figures=found,
        )


if __name__ == "__main__":
    main()
