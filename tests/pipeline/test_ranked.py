"""What was retrieved and ranked for a question is not made again, and another question's is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from shortlist.features.kept import Kept
from shortlist.features.log import Log
from shortlist.features.schema import Schema
from shortlist.pipeline.encoded import keys_of, weight_of
from shortlist.pipeline.ranked import AT_ONCE, Ranked
from shortlist.pipeline.recommender import Recommender
from shortlist.pipeline.shortlists import Asked
from shortlist.pipeline.stages import Candidates
from shortlist.state.catalogue import Items
from shortlist.state.past import Past as Stored
from shortlist.state.seen import Seen
from shortlist.state.users import Users


def reader() -> Recommender:
    """Of two users with a past; it reads questions, and knows no answers."""
    log, _ = Log.of(np.array([0, 0, 1]), np.array([1, 2, 3]), np.array([5, 9, 7]), None, 2)
    seen = Seen.from_pairs([0, 0, 1], [1, 2, 3], 2)
    users = Users.of(["ann", "bob"], {}, seen, 20, Stored(log, 0.0, True))
    schema = Schema({"history": "strings", "timestamp": "int", "mood": "float"}, {}, {"history": 4})
    return Recommender(Items.of([f"i{n}" for n in range(6)], {}, np.ones(6)), users, schema)


class Making:
    """Candidates that tell the question, what it may not get, and how many calls there were."""

    def __init__(self) -> None:
        self.rows: list[int] = []

    def __call__(self, asked: Asked, hidden: Seen | None) -> Candidates:
        self.rows.append(len(asked))
        num = len(asked)
        sums = [0 if hidden is None else int(hidden.of(row).sum()) for row in range(num)]
        told = [0 if asked.told is None else len(asked.told.of_row(row)) for row in range(num)]
        positions = np.stack([asked.users, asked.times, sums, told], 1).astype(np.int32)
        mood = np.nan_to_num(asked.columns.get("mood", np.zeros(num))).astype(np.float32)
        return Candidates(
            positions, -positions.astype(np.float32), asked.users < 0, {"rating": positions + mood[:, None]}
        )


QUESTIONS: list[dict[str, Any]] = [
    {"user_id": "ann"},
    {"user_id": "bob"},
    {"user_id": "ann", "timestamp": 6},
    {"user_id": "ann", "mood": 2.0},
    {"user_id": "ann", "history": ["i4", "i1"], "history_timestamp": [3, 2]},
    {"user_id": "ann", "history": ["i4"], "history_timestamp": [3]},
    {"user_id": "who", "history": ["i4", "i0"]},
]
HIDDEN = [[1, 2], [3], [1, 2], [1], [], [], [0, 5]]


def of(ranked: Ranked, making: Making, batch: list[int], *, fetch: int = 4, more: int = 0) -> Candidates:
    """Asks for some of the questions; more: of what they may not get."""
    recommender = reader()
    lists = [sorted({*HIDDEN[n], *range(more)}) for n in batch]
    pairs = [(row, item) for row, own in enumerate(lists) for item in own]
    rows, items = ([pair[side] for pair in pairs] for side in (0, 1))
    asked = recommender.read([QUESTIONS[n] for n in batch])
    return ranked.of(asked, Seen.from_pairs(rows, items, len(batch)), fetch, making)


@pytest.fixture(name="alone")
def _alone() -> Iterator[list[Candidates]]:
    yield [of(Ranked(), Making(), [n]) for n in range(len(QUESTIONS))]


def test_only_what_is_new_is_made_and_once(alone: list[Candidates]) -> None:
    ranked, making = Ranked(), Making()
    for batch, calls in [
        ([0, 1], [2]),
        ([1, 0, 2], [1]),
        ([3, 4, 1, 3, 4, 3], [2]),
        ([5, 5], [1]),
        ([6, 0, 6, 5], [1]),
        ([6, 5, 4, 3, 2, 1, 0, 0], []),
    ]:
        making.rows = []
        found = of(ranked, making, batch)
        assert making.rows == calls
        for name in ("positions", "log_p", "popular"):
            np.testing.assert_array_equal(
                getattr(found, name), [getattr(alone[n], name)[0] for n in batch], name
            )
        np.testing.assert_array_equal(
            found.predictions["rating"], [alone[n].predictions["rating"][0] for n in batch]
        )
        found.positions[:] = found.log_p[:] = -9  # an answer is its caller's, who may write into it
        found.predictions["rating"][:] = -9


def test_what_may_not_be_had_and_how_many_are_ranked_make_another() -> None:
    ranked, making = Ranked(), Making()
    first = of(ranked, making, [0])
    assert of(ranked, making, [0], more=5).positions[0, 2] == 10 != first.positions[0, 2]
    of(ranked, making, [0], fetch=5)
    assert making.rows == [1, 1, 1]
    recommender = reader()
    asked = recommender.read([QUESTIONS[0]])
    ranked.of(asked, None, 4, making)
    ranked.of(asked, None, 4, making)
    assert making.rows == [1, 1, 1, 1]


def test_many_at_once_and_columns_taken_away_are_always_made() -> None:
    ranked, making = Ranked(), Making()
    asked = reader().read(["ann"] * (AT_ONCE + 1))
    without = Asked(asked.columns, asked.users, asked.times, None, {"mood": np.ones(len(asked), np.bool_)})
    for question in (asked, asked, without[:2], without[:2]):
        ranked.of(question, None, 4, making)
    assert making.rows == [AT_ONCE + 1, AT_ONCE + 1, 2, 2]


def test_what_is_kept_is_bounded_texts_of_questions_among_it() -> None:
    columns = {"user_id": np.array(["ann"], object), "mood": np.array(["x" * 10_000], object)}
    ranked, making = Ranked(Kept(25_000)), Making()
    kept = Asked({"user_id": columns["user_id"]}, np.zeros(1, np.int64), np.zeros(1, np.int64))
    long = [Asked(columns, np.zeros(1, np.int64), np.array([time])) for time in range(4)]

    def nothing(asked: Asked, hidden: Seen | None) -> Candidates:
        making.rows.append(len(asked))
        return Candidates(np.zeros((1, 2), np.int32), np.zeros((1, 2), np.float32), np.zeros(1, np.bool_), {})

    for asked in (kept, kept, *long, long[-1], kept):
        ranked.of(asked, None, 2, nothing)
    assert len(making.rows) == 6, "the long ones, of which two have room, pushed out the first"
    assert len(Ranked(Kept(0)).kept) == 0 and making.rows == [1] * 6
    forgets = Ranked(Kept(0))
    for _ in range(2):
        forgets.of(kept, None, 2, nothing)
    assert len(making.rows) == 8


def test_a_value_of_one_column_is_none_of_another() -> None:
    values = np.array(["m"], object)
    first, second = (Asked({name: values}, np.zeros(1, np.int64), np.zeros(1, np.int64)) for name in "ab")
    assert keys_of(first) != keys_of(second)
    assert weight_of(keys_of(first)[0]) < 200


def test_lists_to_choose_from_are_always_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was kept was found among all items."""

    def asked_for(*_: Any) -> Candidates:
        raise LookupError

    monkeypatch.setattr(Ranked, "of", asked_for)
    recommender = reader()
    assert set(recommender.recommend("who", 9, only=["i3", "i4"])["item_id"].tolist()) == {"i3", "i4"}
    with pytest.raises(LookupError):
        recommender.recommend("who", 9)
