"""MovieLens 100K on the seed-42 random split, fitted once for all the known answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from shortlist.baselines.interactions import Interactions
from shortlist.evaluation.report import Report
from shortlist.evaluation.rows import TestRows


@dataclass(frozen=True, eq=False)
class Case:
    """Rows in index space: `fit` is train followed by validation, as a report fits its baselines."""

    train: Interactions
    validation: Interactions
    fit: Interactions
    rows: TestRows


@pytest.fixture(scope="session")
def movielens_case() -> Case:
    from shortlist.data.movielens import movielens

    data = movielens("100k")
    table = data.interactions
    position = {item: at for at, item in enumerate(data.items["item_id"].to_list())}
    items = np.array([position[item] for item in table["item_id"].to_list()])
    names, users = np.unique(table["user_id"].to_numpy().astype(str), return_inverse=True)
    ratings, times = table["rating"].to_numpy(), table["timestamp"].to_numpy()
    order = np.random.default_rng(42).permutation(len(users))
    fit, test = order[:80_000], order[80_000:]

    def part(rows: np.ndarray) -> Interactions:
        return Interactions(users[rows], items[rows], len(names), len(position), ratings[rows], times[rows])

    rows = TestRows.of(users[fit], items[fit], users[test], items[test], len(position), ratings=ratings[test])
    return Case(part(fit[:72_000]), part(fit[72_000:]), part(fit), rows)


@pytest.fixture(scope="session")
def movielens_report(movielens_case: Case) -> Report:
    from shortlist.evaluation.compare import evaluate
    from shortlist.evaluation.suite import baseline_predictions

    found = baseline_predictions(movielens_case.train, movielens_case.validation, movielens_case.rows)
    return evaluate(found, movielens_case.rows, resamples=100)
