"""Histories, stored and told: what a request may know of them at its time, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from shortlist._typing import Columns, Floats
from shortlist.data import times
from shortlist.data.coded import expanded
from shortlist.errors import RequestError
from shortlist.features.log import Log
from shortlist.features.schema import Schema
from shortlist.pipeline.histories import FARTHEST_SECOND
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

    def predict(self, query: Any, candidate: Any, aggregates: Any = None, rows: Any = None) -> Any:
        raise AssertionError("nothing is ranked")


@pytest.fixture
def rec() -> Recommender:
    users, items, when, ratings = (np.array(column) for column in zip(*EVENTS, strict=True))
    log, _ = Log.of(users, items, when, ratings, 2)
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


# When a request is made


def asked_of(rec: Recommender) -> Columns:
    assert isinstance(rec.retriever, Steps)
    return rec.retriever.asked[-1]


@pytest.mark.parametrize(
    ("asked", "time"),
    [
        ({"history": ["i4", "i5"], "history_timestamp": [NOW + 500, NOW + 90]}, NOW + 501),
        ({"history": ["i5", "i4"], "history_timestamp": [NOW + 90, NOW + 500]}, NOW + 501),
        ({"user_id": "ann", "history": ["i4"], "history_timestamp": [NOW - 500]}, NOW - 499),
        ({"history": ["i4"], "history_timestamp": [NOW + 500], "timestamp": NOW + 501}, NOW + 501),
        ({"history": ["i4"], "history_timestamp": [NOW - 500], "timestamp": None}, NOW - 499),
        ({"user_id": "ann", "history": ["i4"]}, NOW - 49),
        ({"user_id": "ann", "history": [], "history_timestamp": []}, NOW - 49),
        ({"history": ["i4"]}, NOW),
    ],
    ids=str,
)
def test_a_request_stands_a_second_after_what_it_tells(
    rec: Recommender, asked: dict[str, Any], time: int
) -> None:
    slate = rec.recommend(asked, k=N)
    columns = asked_of(rec)
    assert columns["timestamp"].tolist() == [time]
    told = expanded(columns["history"])
    assert {*told[told != ""]} == {*asked["history"]}, "all of it is known by then, an empty one too"
    assert set(slate["item_id"]) == {*ITEMS} - {*asked["history"]}
    np.testing.assert_array_equal(rec.query_vectors(asked), rec.query_vectors({**asked, "timestamp": time}))


def test_each_row_has_its_own_time(rec: Recommender) -> None:
    rows: list[dict[str, Any]] = [
        {"user_id": "bob"},
        {"history": ["i4"], "history_timestamp": [7]},
        {"user_id": "ann", "timestamp": 12, "history": ["i5"], "history_timestamp": [11]},
    ]
    rec.recommend(rows)
    assert asked_of(rec)["timestamp"].tolist() == [NOW + 1, 8, 12]
    rec.score([{**row, "item_id": "i0"} for row in rows])
    assert asked_of(rec)["timestamp"].tolist() == [NOW + 1, 8, 12]


def test_the_farthest_second_is_that_of_tables() -> None:
    assert FARTHEST_SECOND == times.FARTHEST_SECOND


# What is refused


MILLISECONDS = 1_000 * 893_286_600
HISTORY = {"history": ["i1", "i2"]}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {**HISTORY, "history_timestamp": [90, 100], "timestamp": 100},
            "row 1, column 'history_timestamp', index 1: expected a time before the request's timestamp 100,"
            " got 100",
        ),
        (
            {**HISTORY, "history_timestamp": [NOW, 100], "timestamp": 100},
            f"row 1, column 'history_timestamp', index 0: .* timestamp 100, got {NOW}",
        ),
        (
            {**HISTORY, "history_timestamp": [90, MILLISECONDS]},
            f"row 1, column 'history_timestamp', index 1: expected seconds since 1970, got {MILLISECONDS}",
        ),
        (
            {"timestamp": MILLISECONDS},
            f"row 1, column 'timestamp': expected seconds since 1970, got {MILLISECONDS}",
        ),
        ({"timestamp": 2**62}, f"row 1, column 'timestamp': expected seconds since 1970, got {2**62}"),
        ({"timestamp": -(2**62)}, f"row 1, column 'timestamp': expected seconds since 1970, got -{2**62}"),
        (
            {**HISTORY, "history_timestamp": [-(2**62), 1]},
            "row 1, column 'history_timestamp', index 0: expected seconds since 1970",
        ),
        (
            {**HISTORY, "history_timestamp": [None, None]},
            "row 1, column 'history_timestamp', index 0: expected a whole number .*, got None",
        ),
        (
            {**HISTORY, "history_timestamp": [3, "soon"]},
            "row 1, column 'history_timestamp', index 1: expected a whole number .*, got 'soon'",
        ),
        (
            {"history": ["i1", None, "i2"], "history_timestamp": [3, 2, 1]},
            "row 1, column 'history', index 1: expected text or a whole number, got None",
        ),
        (
            {"history": ["i1", ""]},
            "row 1, column 'history', index 1: expected text or a whole number, got ''",
        ),
        (
            {"history": [["i1"], ["i2"]]},
            r"row 1, column 'history', index 0: expected text or a whole number, got \['i1'\]",
        ),
        (
            {**HISTORY, "history_rating": [5, 1e6]},
            r"row 1, column 'history_rating', index 1: expected a rating from 1 to 5, as in .*, got 1e\+06",
        ),
        ({**HISTORY, "history_rating": [0.5, 5]}, "index 0: expected a rating from 1 to 5, .* got 0.5"),
        ({**HISTORY, "history_rating": [1, 1e30]}, r"index 1: expected a rating from 1 to 5, .* got 1e\+30"),
        (
            {**HISTORY, "history_rating": [1, -1e300]},
            r"index 1: expected a rating from 1 to 5, .* got -1e\+300",
        ),
        (
            {**HISTORY, "history_rating": [4, float("nan")]},
            "row 1, column 'history_rating', index 1: expected a finite number, got nan",
        ),
        (
            {**HISTORY, "history_rating": [float("nan")] * 2},
            "row 1, column 'history_rating', index 0: expected a finite number, got nan",
        ),
        (
            {**HISTORY, "history_rating": ["good", 4]},
            "row 1, column 'history_rating', index 0: expected a finite number, got 'good'",
        ),
        (
            {**HISTORY, "history_rating": [4]},
            "row 1, column 'history_rating': 1 values for a history of 2 items",
        ),
    ],
    ids=str,
)
def test_what_a_row_may_not_tell(rec: Recommender, row: dict[str, Any], message: str) -> None:
    fine = {"history": ["i1"], "history_timestamp": [5], "history_rating": [5], "timestamp": 6}
    for ask in (rec.recommend, rec.query_vectors, lambda r: rec.score([{"item_id": "i1", **x} for x in r])):
        with pytest.raises(RequestError, match=message):
            ask([fine, row])
    alone = message.replace("row 1", "row 0")
    with pytest.raises(RequestError, match=alone):
        rec.score({"user_id": "ann", "item_id": "i1", **row})


@pytest.mark.parametrize("name", ["history_timestamp", "history_rating"])
def test_times_and_ratings_of_no_history(rec: Recommender, name: str) -> None:
    with pytest.raises(RequestError, match=f"the request has '{name}' but no 'history'"):
        rec.recommend({"user_id": "ann", name: [3]})


def test_a_mistaken_time_says_what_to_do(rec: Recommender) -> None:
    with pytest.raises(RequestError) as caught:
        rec.recommend({"timestamp": MILLISECONDS})
    assert caught.value.hint == "divide milliseconds by 1000 first"
    with pytest.raises(RequestError) as caught:
        rec.recommend({"history": ["i1"], "history_timestamp": [5], "timestamp": 5})
    assert "later timestamp" in caught.value.hint


def test_ratings_at_the_ends_of_the_scale_and_of_events_without_ratings(rec: Recommender) -> None:
    rec.recommend({**HISTORY, "history_rating": [1, 5]})
    past = rec.users.past
    assert past is not None and past.scale == (1.0, 5.0)
    tenths = replace(past.log, ratings=np.array([0.1, 0.3, 0.7, 0.2], np.float32))
    of_tenths = replace(rec, users=replace(rec.users, past=replace(past, log=tenths)))
    of_tenths.recommend({**HISTORY, "history_rating": [0.1, 0.7]})
    unrated = replace(past, log=replace(past.log, ratings=None))
    assert unrated.scale is None
    replace(rec, users=replace(rec.users, past=unrated)).recommend({**HISTORY, "history_rating": [1e6, 5]})
