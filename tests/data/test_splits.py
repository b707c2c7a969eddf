from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.data import splits
from shortlist.data.dataset import Dataset, from_tables
from shortlist.data.splits import Split, parse_rule
from shortlist.errors import DataError


def rows_of(times: list[int], users: list[int] | None = None) -> Dataset:
    n = len(times)
    who = users or [i % 3 for i in range(n)]
    table = {"user_id": who, "item_id": [i % 4 for i in range(n)], "timestamp": times, "row": list(range(n))}
    return from_tables(table)


tables = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4)), min_size=10, max_size=60).map(
    lambda pairs: rows_of([t for t, _ in pairs], [u for _, u in pairs])
)
rules = st.sampled_from(
    ["random=80%", "random=50%,validation=25%", "time=70%", "time=60%,validation=30%", "hold_last=1",
     "hold_last=2,validation=no", "hold_last=2"]
)  # fmt: skip


def made(data: Dataset, rule: str) -> Split | None:
    try:
        return parse_rule(rule).apply(data, seed=7)
    except DataError as error:
        assert "leaves no row for" in str(error)
        return None


@given(tables, rules)
def test_parts_are_disjoint_complete_and_repeatable(data: Dataset, rule: str) -> None:
    split = made(data, rule)
    if split is None:
        return
    parts = [split.train["row"], split.validation["row"], split.test["row"]]
    assert sorted(pl.concat(parts).to_list()) == list(range(data.interactions.height))
    again = made(data, rule)
    assert again is not None
    assert [p["row"].to_list() for p in (again.train, again.validation, again.test)] == [
        p.to_list() for p in parts
    ]
    assert split.rule == rule
    assert split.users is data.users
    assert split.items is data.items
    assert split.leaks


@given(tables, st.sampled_from(["random=50%", "time=60%", "hold_last=1"]))
def test_refit_gives_the_train_there_would_be_without_validation(data: Dataset, rule: str) -> None:
    with_validation = made(data, rule + ("" if "hold" in rule else ",validation=25%"))
    without = made(data, rule + (",validation=no" if "hold" in rule else ""))
    if with_validation is None or without is None:
        return
    refit = with_validation.refit()
    assert refit.validation.height == 0
    if "hold" not in rule:  # Leave-last with validation asks more rows of a user, so its test is smaller.
        assert refit.train.equals(without.train)
        assert refit.test.equals(without.test)
    else:
        assert sorted(refit.train["row"]) == refit.train["row"].to_list()
    assert refit.refit().train.equals(refit.train)


@given(tables, st.floats(0.05, 0.9), st.sampled_from([0.0, 0.3]))
def test_temporal_parts_never_overlap_in_time(data: Dataset, test: float, validation: float) -> None:
    try:
        split = splits.temporal(data, test=test, validation=validation)
    except DataError:
        return
    newest_train = int(split.train["timestamp"].max())  # type: ignore[arg-type]
    assert split.test["timestamp"].min() > newest_train  # type: ignore[operator]
    if validation:
        assert split.validation["timestamp"].min() > newest_train  # type: ignore[operator]
        assert split.validation["timestamp"].max() < split.test["timestamp"].min()  # type: ignore[operator]
    for part in (split.train, split.test):
        assert part["row"].is_sorted()


@given(tables, st.integers(1, 3), st.booleans())
def test_leave_last_takes_each_users_newest_rows(data: Dataset, n: int, validation: bool) -> None:
    try:
        split = splits.leave_last(data, n, validation=validation)
    except DataError:
        return
    for user in data.users["user_id"]:
        own = data.interactions.filter(user_id=user).sort("timestamp", maintain_order=True)["row"].to_list()
        held = n * (2 if validation else 1)
        if len(own) <= held:
            expected = (own, [], [])
        else:
            expected = (own[:-held], own[-held:-n] if validation else [], own[-n:])
        parts = (split.train, split.validation, split.test)
        found = tuple(sorted(p.filter(user_id=user)["row"].to_list()) for p in parts)
        assert found == tuple(sorted(e) for e in expected)


def test_random_is_numpys_permutation_of_the_row_order(movielens_100k: Dataset) -> None:
    split = splits.random(movielens_100k, test=0.2, validation=0.1, seed=42)
    order = np.random.default_rng(42).permutation(100_000)
    rows = movielens_100k.interactions
    assert split.train.equals(rows[order[:72_000]])
    assert split.validation.equals(rows[order[72_000:80_000]])
    assert split.test.equals(rows[order[80_000:]])
    assert split.refit().train.equals(rows[order[:80_000]])


def test_known_shape_of_the_temporal_split_of_movielens(movielens_100k: Dataset) -> None:
    facts = splits.temporal(movielens_100k).describe()
    # One second holds row 80,000 by time and the row before it, so the test has one row more.
    assert facts["rows"] == {"train": 79_999, "validation": 0, "test": 20_001}
    assert facts["test_users"] == 301
    assert facts["test_users"] - facts["test_users_unseen_in_train"] == 109


def test_describe_counts_the_cold() -> None:
    data = from_tables({"user_id": list("aabbc"), "item_id": list("xyxzx"), "timestamp": [1, 2, 3, 4, 5]})
    facts = splits.temporal(data, test=0.4).describe()
    assert facts["rows"] == {"train": 3, "validation": 0, "test": 2}
    assert (facts["test_users"], facts["test_users_unseen_in_train"]) == (2, 1)
    assert (facts["test_items"], facts["test_items_unseen_in_train"]) == (2, 1)
    assert facts["test_rows_of_unseen_users"] == 1
    assert facts["leaks"].startswith("nothing")


@pytest.mark.parametrize(
    ("attempt", "words"),
    [
        (lambda: splits.random(rows_of([1]), test=0.2), "leaves no row for test"),
        (lambda: splits.random(rows_of([1, 2]), test=0.9), "leaves no row for train"),
        (lambda: splits.random(rows_of([1, 2, 3]), validation=0.1), "no row for validation"),
        (lambda: splits.random(rows_of([1, 2]), test=1.0), "between 0 and 1, got 1.0"),
        (lambda: splits.random(rows_of([1, 2]), validation=-0.1), "validation is a share"),
        (lambda: splits.temporal(rows_of([5, 5, 5])), "no row for train"),
        (lambda: splits.leave_last(rows_of([1, 2, 3])), "no row for"),
        (lambda: splits.leave_last(rows_of([1, 2, 3]), 0), "got 0"),
        (
            lambda: splits.leave_last(from_tables({"user_id": [1], "item_id": [1]})),
            "needs a column 'timestamp'",
        ),
    ],
)
def test_impossible_splits_say_why(attempt: object, words: str) -> None:
    with pytest.raises(DataError, match=words):
        attempt()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("text", "kind", "amount", "validation"),
    [
        ("random=80%", "random", 0.8, 0.0),
        ("random=0.8", "random", 0.8, 0.0),
        ("time=90%, validation=10%", "time", 0.9, 0.1),
        ("hold_last=2", "hold_last", 2, 1.0),
        ("hold_last=1,validation=no", "hold_last", 1, 0.0),
    ],
)
def test_rules_are_read(text: str, kind: str, amount: float, validation: float) -> None:
    rule = parse_rule(text)
    assert (rule.kind, rule.amount, rule.validation) == (kind, amount, validation)


@pytest.mark.parametrize(
    "text",
    ["", "random", "random=0", "random=100%", "random=80", "time=-5%", "hold_last=0", "hold_last=50%",
     "hold_last=1.5", "sometimes=3", "random=80%,validation=yes", "random=8.0.1%", "random=80%,test=3"],
)  # fmt: skip
def test_other_rules_are_refused_with_the_forms(text: str) -> None:
    with pytest.raises(DataError, match="cannot read the split rule") as caught:
        parse_rule(text)
    assert "hold_last=1" in caught.value.hint
