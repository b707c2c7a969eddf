from __future__ import annotations

import json
import random
from itertools import pairwise
from typing import Any

import polars as pl
import pytest

from shortlist.data.dataset import Dataset, describe, from_tables
from shortlist.data.picture import doubling, picture


@pytest.fixture(scope="module")
def data() -> Dataset:
    """Two sessions of a (three rows, then one after 31 minutes), one of b; on a Thursday, before 1:00."""
    rows: dict[str, Any] = {
        "user_id": ["a", "a", "b", "a", "a"],
        "item_id": ["x", "y", "x", "z", "x"],
        "rating": [1, 2, 5, 5, 4],
        "timestamp": [0, 600, 0, 1200, 1200 + 31 * 60],
        "device": ["tv", "tv", None, "", "phone"],
    }
    items = {"item_id": ["x", "y", "z"], "title": ["The X", None, "Z"], "tags": [["q", "r"], ["q"], None]}
    return from_tables(rows, items=items, name="small", guess=False)


def test_known_answers(data: Dataset) -> None:
    found = picture(data)
    assert found["rows_per_user"] == [
        {"from": 1, "to": 1, "count": 1},
        {"from": 2, "to": 3, "count": 0},
        {"from": 4, "to": 7, "count": 1},
    ]
    assert found["ratings"] == [{"from": r, "to": r, "count": 2 if r == 5 else 1} for r in (1, 2, 4, 5)]
    assert found["top_items"][0] == {"item_id": "x", "rows": 3, "title": "The X"}
    assert found["concentration"]["busiest_user"] == 0.8
    assert found["concentration"]["gini_of_users"] == pytest.approx(0.3)
    assert found["time"]["hours"][:2] == [5, 0] and sum(found["time"]["hours"]) == 5
    assert found["time"]["weekdays"] == [0, 0, 0, 5, 0, 0, 0]
    assert sum(bar["count"] for bar in found["time"]["rows"]) == 5
    sessions = found["sessions"]
    assert (sessions["count"], sessions["per_user"], sessions["rows"]["max"]) == (3, 1.5, 3)
    assert sessions["minutes"]["max"] == 20
    json.dumps(found, allow_nan=False)


def test_columns_of_all_tables(data: Dataset) -> None:
    found = {(c["table"], c["column"]): c for c in picture(data)["columns"]}
    assert list(found) == [("interactions", "device"), ("items", "title"), ("items", "tags")]
    device, tags = found["interactions", "device"], found["items", "tags"]
    assert (device["missing"], device["missing_share"], device["distinct"]) == (2, 0.4, 3)
    assert device["frequent"][0] == {"value": "tv", "count": 2}
    assert (tags["missing"], tags["distinct"], tags["frequent"][0]) == (1, 2, {"value": "q", "count": 2})


def test_bars_double_exactly() -> None:
    sizes = [2**n for n in range(62)] + [2**n - 1 for n in range(1, 40)]
    for bar in doubling(pl.Series(sizes)):
        assert bar["count"] == sum(bar["from"] <= size <= bar["to"] for size in sizes)


def test_many_ratings_and_one_moment_make_bars_too() -> None:
    draw = random.Random(0)
    rows = {"user_id": [1] * 50, "item_id": [1] * 50, "rating": [draw.random() for _ in range(50)]}
    found = picture(from_tables({**rows, "timestamp": [7] * 50}, guess=False))
    assert len(found["ratings"]) == 20 and sum(bar["count"] for bar in found["ratings"]) == 50
    assert [bar["count"] for bar in found["time"]["rows"]] == [50]


def test_what_has_no_column_is_left_out_and_description_stays_small() -> None:
    data = from_tables({"user_id": ["a"], "item_id": ["b"]})
    assert not {"ratings", "time", "sessions"} & picture(data).keys()
    assert "picture" not in describe(data)  # it goes into bundles, which may not name users or items


def test_sessions_agree_with_a_plain_count() -> None:
    draw = random.Random(3)
    rows = [(draw.choice("abcd"), draw.randint(0, 30_000)) for _ in range(200)]
    table = {"user_id": [u for u, _ in rows], "item_id": ["x"] * 200, "timestamp": [t for _, t in rows]}
    expected = 0
    for user in "abcd":
        times = sorted(t for u, t in rows if u == user)
        expected += 1 + sum(b - a > 1800 for a, b in pairwise(times))
    assert picture(from_tables(table, guess=False))["sessions"]["count"] == expected
