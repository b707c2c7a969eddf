from __future__ import annotations

import numpy as np
import pytest

from shortlist.baselines import ease
from shortlist.baselines.interactions import Interactions
from shortlist.baselines.popularity import Popular
from shortlist.evaluation.compare import evaluate
from shortlist.evaluation.rows import Predictions, Skipped, TestRows
from shortlist.evaluation.suite import baseline_predictions, ranks_by_user, top_lists
from shortlist.index.ranks import count_ranks

USERS, N = 40, 25


def part(rng: np.random.Generator, num: int, *, rated: bool = True) -> Interactions:
    users, items = rng.integers(0, USERS, num), (N * rng.random(num) ** 2).astype(np.int64)
    ratings = rng.integers(1, 6, num).astype(float) if rated else None
    return Interactions(users, items, USERS, N, ratings, rng.integers(0, 10**7, num) if rated else None)


def rows_of(train: Interactions, test: Interactions) -> TestRows:
    users = np.where(test.users < 3, -1, test.users)
    return TestRows.of(
        train.users, train.items, users, test.items, N, user_keys=test.users, ratings=test.ratings
    )


def test_all_take_part_and_progress_is_told() -> None:
    rng = np.random.default_rng(0)
    train, validation, test = part(rng, 400), part(rng, 100), part(rng, 150)
    told: list[tuple[str, int, int]] = []
    rows = rows_of(train.joined(validation), test)
    found = baseline_predictions(train, validation, rows, progress=lambda *state: told.append(state))
    assert [type(entry) for entry in found] == [Predictions] * 7
    assert told[0] == ("popular", 0, 7) and told[-1] == ("", 7, 7)
    assert found[2].settings.startswith("neighbours=")  # type: ignore[union-attr]
    assert len(evaluate(found, rows).entries) == 7


@pytest.mark.parametrize("validation", [None, Interactions(np.zeros(0, int), np.zeros(0, int), USERS, N)])
def test_what_cannot_run_is_said(validation: Interactions | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ease, "MAX_ITEMS", 10)
    rng = np.random.default_rng(0)
    train, test = part(rng, 300, rated=False), part(rng, 100, rated=False)
    found = baseline_predictions(train, validation, rows_of(train, test))
    skipped = {entry.name: entry.reason for entry in found if isinstance(entry, Skipped)}
    assert set(skipped) == {"recent popular", "EASE"} and len(found) == 5
    assert "25 x 25 items" in skipped["EASE"] and "timestamps" in skipped["recent popular"]


def test_ranks_by_user_are_the_ranks_of_each_row() -> None:
    rng = np.random.default_rng(0)
    train, test = part(rng, 300), part(rng, 120)
    scores = rng.random((USERS + 1, N)).round(1)

    class Table:
        def scores(self, users: np.ndarray) -> np.ndarray:
            return scores[users]

    found = ranks_by_user(Table(), test.users, test.items, train.seen, N)
    expected = count_ranks(lambda rows: scores[test.users[rows]], test.items, train.seen, test.users)
    assert np.array_equal(found.raw, expected.raw) and np.array_equal(found.filtered, expected.filtered)


def test_validation_rows_choose_settings_and_then_join_the_fit() -> None:
    rng = np.random.default_rng(0)
    train, validation, test = part(rng, 300), part(rng, 200), part(rng, 100)
    both = train.joined(validation)
    rows = rows_of(both, test)
    popular = baseline_predictions(train, validation, rows)[0]
    expected = ranks_by_user(Popular().fit(both), rows.users, rows.targets, both.seen, N)
    assert isinstance(popular, Predictions) and popular.ranks is not None
    assert np.array_equal(popular.ranks.filtered, expected.filtered)
    assert np.array_equal(popular.ranks.raw, expected.raw)
    assert popular.top is not None and len(np.unique(popular.top, axis=0)) == 1
    assert np.array_equal(popular.top, top_lists(Popular().fit(both), rows))
