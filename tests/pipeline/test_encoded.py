"""A question that was encoded is not encoded again, and another question is."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from shortlist._typing import Columns, Floats
from shortlist.features.log import Log
from shortlist.features.schema import Schema
from shortlist.pipeline.histories import Past
from shortlist.pipeline.recommender import Recommender
from shortlist.state.catalogue import Items
from shortlist.state.past import Past as Stored
from shortlist.state.seen import Seen
from shortlist.state.users import Users


@dataclass(eq=False)
class Counting:
    """Says of a question what it reads of it."""

    rows: list[int] = field(default_factory=list)

    def encode_query(self, columns: Columns) -> tuple[Floats, Floats | None]:
        self.rows.append(len(columns["timestamp"]))
        seen = np.array([sum(int(i[1:]) + 1 for i in row if i) for row in np.asarray(columns["history"])])
        numbers = [columns["timestamp"], seen, np.nan_to_num(columns["mood"])]
        both = np.stack(numbers, 1).astype(np.float32)
        return both, both[:, :2]

    encode_candidate = predict = None


def made() -> tuple[Recommender, Counting]:
    log, _ = Log.of(np.array([0, 0, 1]), np.array([1, 2, 3]), np.array([5, 9, 7]), None, 2)
    seen = Seen.from_pairs([0, 0, 1], [1, 2, 3], 2)
    users = Users.of(["ann", "bob"], {}, seen, 20, Stored(log, 0.0, True))
    schema = Schema({"history": "strings", "timestamp": "int", "mood": "float"}, {}, {"history": 4})
    counting: Any = Counting()
    items = Items.of([f"i{n}" for n in range(6)], {}, np.ones(6))
    return Recommender(items, users, schema, retriever=counting), counting


def test_only_what_is_new_is_encoded() -> None:
    recommender, counting = made()
    questions: list[dict[str, Any]] = [
        {"user_id": "ann"},
        {"user_id": "bob"},
        {"user_id": "ann", "timestamp": 6},
        {"user_id": "ann", "mood": 2.0},
        {"user_id": "ann", "history": ["i4"], "history_timestamp": [3]},
        {"user_id": "ann", "history": ["i4"], "history_timestamp": [4]},
        {"user_id": "who", "history": ["i4", "i0"]},
    ]
    alone = [made()[0].query_vectors(question)[0] for question in questions]
    for batch, rows in [
        ([0, 1], 2),
        ([1, 0, 2], 1),
        ([3, 4, 1], 2),
        ([5, 6, 0, 4, 3], 2),
        ([6, 5, 4, 3, 2, 1, 0], 0),
    ]:
        before = sum(counting.rows)
        asked = recommender.read([questions[n] for n in batch])
        representations, vectors = recommender.encoded.of(recommender, "retriever", asked)
        assert sum(counting.rows) - before == rows
        assert vectors is not None
        np.testing.assert_array_equal(vectors, [alone[n] for n in batch])
        np.testing.assert_array_equal(representations[:, :2], vectors)


def test_two_scorers_have_answers_of_their_own() -> None:
    recommender, _ = made()

    class Doubling(Counting):
        def encode_query(self, columns: Columns) -> tuple[Floats, Floats | None]:
            return 2 * super().encode_query(columns)[0], None

    ranker: Any = Doubling()
    both = replace(recommender, ranker=ranker)
    asked = both.read([{"user_id": "ann"}, {"user_id": "bob"}])
    first = both.encoded.of(both, "retriever", asked)[0]
    np.testing.assert_array_equal(both.encoded.of(both, "ranker", asked)[0], 2 * first)
    np.testing.assert_array_equal(both.encoded.of(both, "retriever", asked)[0], first)


def test_histories_of_one_user_and_time_are_apart() -> None:
    """Nothing but what is told differs: whether anything is, and which items."""
    recommender, counting = made()
    then: dict[str, Any] = {"user_id": "ann", "timestamp": 6}
    questions = [
        then,
        {**then, "history": ["i4"], "history_timestamp": [3]},
        {**then, "history": ["i3"], "history_timestamp": [3]},
        {**then, "history": ["i4", "i3"], "history_timestamp": [3, 2]},
    ]
    for count, question in enumerate(questions, 1):
        alone = made()[0].query_vectors(question)
        for _ in range(2):
            found = recommender.encoded.of(recommender, "retriever", recommender.read([question]))[1]
            np.testing.assert_array_equal(found, alone)
            assert sum(counting.rows) == count
    together, _ = recommender.encoded.of(recommender, "retriever", recommender.read(questions))
    assert len(np.unique(together, axis=0)) == len(questions) == sum(counting.rows)


def test_pasts_are_told_as_histories_are() -> None:
    recommender, counting = made()
    times = np.array([3, 9])
    past = Past(np.array([4, 0], np.int32), times, None)
    beside = recommender.read([{"user_id": "ann"}, {"user_id": "bob"}], pasts=[past, None])
    told = recommender.read(
        [{"user_id": "ann", "history": ["i0", "i4"], "history_timestamp": [9, 3]}, {"user_id": "bob"}]
    )
    assert beside.times.tolist() == told.times.tolist() == [10, 20]
    assert beside.told is not None and told.told is not None
    for name in ("indptr", "items", "times"):
        assert getattr(beside.told.log, name).tolist() == getattr(told.told.log, name).tolist()
    found = [recommender.encoded.of(recommender, "retriever", asked)[0] for asked in (beside, told)]
    np.testing.assert_array_equal(*found)
    both = recommender.read([{"user_id": "ann"}, {"user_id": "bob", "history": ["i1"]}], pasts=[past, None])
    assert both.told is not None and both.told.rows.tolist() == [True, True]
    assert both.told.log.items.tolist() == [4, 0, 1]
    assert past.before(9).items.tolist() == [4] and past.before(10) is past
    assert counting.rows


def test_ratings_make_another_history() -> None:
    items, times = np.array([1, 2], np.int32), np.array([3, 4])
    keys = {Past(items, times, ratings).key for ratings in (None, np.ones(2, "f4"), np.zeros(2, "f4"))}
    assert len(keys) == 3


def test_a_recommender_without_memory_has_none() -> None:
    recommender, counting = made()
    for one in (recommender, recommender, forgetful := recommender.forgetful(), forgetful):
        one.encoded.of(one, "retriever", one.read({"user_id": "ann"}))
    assert counting.rows == [1, 1, 1]
