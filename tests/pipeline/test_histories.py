"""Histories, stored and told: what a request may know of them at its time, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from shortlist._typing import Columns, Floats
from shortlist.features.log import Log
from shortlist.features.schema import Schema
from shortlist.pipeline.recommender import Recommender
from shortlist.specs.features import AsOf
from shortlist.state.catalogue import Items
from shortlist.state.past import Past
from shortlist.state.seen import Seen
from shortlist.state.users import Users

N = 6
ITEMS = [f"i{n}" for n in range(N)]
NOW = 1_000_000
"""When the last event of training happened."""
EVENTS = [(0, 0, NOW - 50, 5.0), (0, 1, NOW - 90, 2.0), (1, 2, NOW, 1.0), (1, 3, NOW - 70, 4.5)]
"""User, item, time, rating."""
BONUS = 3.0


class Steps:
    """Likes every item less than the one before it, whoever asks."""

    def __init__(self) -> None:
        self.asked: list[Columns] = []

    def encode_query(self, columns: Columns) -> tuple[Floats, Floats | None]:
        self.asked.append(columns)
        scores = np.tile(-np.arange(N, dtype=np.float32), (len(columns["timestamp"]), 1))
        return scores, scores

    def encode_candidate(self, columns: Columns) -> tuple[Floats, Floats | None]:
        positions = np.array([ITEMS.index(item) for item in columns["item_id"]])
        return np.eye(N, dtype=np.float32)[positions], np.eye(N, dtype=np.float32)[positions]

    def predict(self, query: Any, candidate: Any, aggregates: Any = None) -> dict[str, Floats]:
        raise AssertionError("nothing is ranked")


@pytest.fixture
def rec() -> Recommender:
    users, items, times, ratings = (np.array(column) for column in zip(*EVENTS, strict=True))
    log, _ = Log.of(users, items, times, ratings, 2)
    known = Users.of(
        ["ann", "bob"],
        {"timestamp": np.array([NOW - 49, NOW + 1])},
        Seen.from_pairs(users, items, 2),
        NOW,
        Past(log, float(ratings.mean()), True),
    )
    schema = Schema(
        {"history": "strings", "history_timestamp": "ints", "timestamp": "int"},
        {"item_id": "string"},
        {"history": 4, "history_timestamp": 4},
    )
    items_ = Items.of(ITEMS, {}, np.ones(N))
    return Recommender.of(items_, known, schema, retriever=Steps(), seen_bonus=BONUS)


def log_p(had: list[int]) -> np.ndarray:
    scores = -np.arange(N, dtype=float)
    scores[had] += BONUS
    found: np.ndarray = scores - np.log(np.exp(scores).sum())
    return found


# The bonus of what a user had


@pytest.mark.parametrize(
    ("asked", "as_of", "had"),
    [
        ({"user_id": "ann"}, "row", [0, 1]),
        ({"user_id": "ann", "timestamp": NOW - 50}, "row", [1]),
        ({"user_id": "ann", "timestamp": NOW - 90}, "row", []),
        ({"user_id": "ann", "timestamp": NOW - 90}, "leave-one-out", [0, 1]),
        ({"user_id": "bob", "timestamp": NOW - 1}, "row", [3]),
        ({"user_id": "nobody", "timestamp": NOW}, "row", []),
        ({"user_id": "ann", "timestamp": NOW - 90, "history": ["i4", "i5"]}, "row", [4, 5]),
        ({"history": ["i4"], "history_timestamp": [NOW - 91], "timestamp": NOW - 90}, "row", [4]),
        ({"history": []}, "row", []),
    ],
    ids=str,
)
def test_the_bonus_is_of_what_was_had_by_the_time_of_the_request(
    rec: Recommender, asked: dict[str, Any], as_of: AsOf, had: list[int]
) -> None:
    rec = replace(rec, seen_as_of=as_of)
    expected = log_p(had)
    slate = rec.recommend(asked, k=N, filter_seen=False)
    order = np.argsort(-expected, kind="stable")
    assert slate["item_id"].tolist() == [ITEMS[i] for i in order]
    np.testing.assert_allclose(slate["retrieval_score"], expected[order], rtol=1e-5)
    scored = rec.score([{**asked, "item_id": item} for item in ITEMS])["log_p"]
    np.testing.assert_allclose(scored, expected, rtol=1e-5)


def test_what_was_taken_later_is_still_left_out(rec: Recommender) -> None:
    slate = rec.recommend({"user_id": "ann", "timestamp": NOW - 90}, k=N)
    assert slate["item_id"].tolist() == ["i2", "i3", "i4", "i5"]
    np.testing.assert_allclose(slate["retrieval_score"], log_p([])[2:], rtol=1e-5)
