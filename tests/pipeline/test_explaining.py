"""Why an item stands where it stands: each change is what a direct call with that change gives."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

import shortlist as sl
from shortlist._typing import MISSING_INT, Columns, Floats
from shortlist.features.log import Log
from shortlist.features.requests import blanked
from shortlist.features.schema import Schema
from shortlist.pipeline.explaining import Change, Explanation
from shortlist.pipeline.recommender import Recommender
from shortlist.pipeline.stages import Utility
from shortlist.state.catalogue import Items
from shortlist.state.past import Past
from shortlist.state.seen import Seen
from shortlist.state.users import Users

CLOSE: Any = {"rtol": 1e-4, "atol": 1e-4}


def index_of(found: Explanation, **wanted: Any) -> int:
    """The place of the one change of this kind."""
    [place] = [
        n
        for n, change in enumerate(found.changes)
        if all(getattr(change, name) == value for name, value in wanted.items())
    ]
    return place


def require(found: Explanation, place: int, direct: sl.Slate, fetched: int) -> None:
    """What a change says is what a direct call gives."""
    scores = dict(zip(direct["item_id"], direct["score"], strict=True))
    ranks = dict(zip(direct["item_id"], direct["rank"], strict=True))
    assert len(direct) <= fetched
    for n, item in enumerate(found.slate["item_id"]):
        assert found.ranks[place, n] == ranks.get(item, 0), (found.changes[place], item)
        if item in scores:
            np.testing.assert_allclose(found.scores[place, n], scores[item], **CLOSE)


def without(recommender: sl.Recommender, side: str, name: str, row: int) -> sl.Recommender:
    """A recommender that does not know one user's or one item's column."""
    table: Any = getattr(recommender, side)
    gone = np.arange(len(table)) == row
    columns = {**table.columns, name: blanked(table.columns[name], gone)}
    return replace(recommender, **{side: replace(table, columns=columns)})


# A model of known answers that reads a history, a number and a text of its users


N = 24
PULL = np.random.default_rng(8).normal(size=(N, N)).astype(np.float32)
TEXTS = {"": 0.0, "x": 1.0, "y": -1.0}


class Pulled:
    """Each item of a history pulls every item its own way; age, text and year count too."""

    def encode_query(self, columns: Columns) -> tuple[Floats, Floats]:
        known = [[int(item) for item in row if item] for row in columns["history"]]
        vectors = np.stack([PULL[row].sum(axis=0) if row else PULL[0] * 0 for row in known])
        age = np.where(columns["age"] == MISSING_INT, 50, columns["age"])[:, None] / 100
        word = np.array([[TEXTS[text]] for text in columns["word"]])
        vectors = (vectors + age * PULL[1] + word * PULL[2]).astype(np.float32)
        return vectors, vectors

    def encode_candidate(self, columns: Columns) -> tuple[Floats, Floats]:
        year = np.where(columns["year"] == MISSING_INT, 0, columns["year"])[:, None]
        at = [int(item) if item else 0 for item in columns["item_id"]]
        both = (np.eye(N, dtype=np.float32)[at] * (1 + year / 10)).astype(np.float32)
        return both, both

    def predict(self, query: Floats, candidate: Floats, given: Any = None, rows: Any = None) -> Any:
        own = candidate if rows is None else candidate[rows]
        return {"rating": np.tanh((query[:, None] if rows is not None else query) * own).sum(axis=-1)}


@pytest.fixture(scope="module")
def pulled() -> sl.Recommender:
    users, items = np.repeat(np.arange(3), 5), np.array([0, 1, 2, 3, 4, 2, 5, 6, 7, 1, 9, 8, 7, 1, 0])
    log, _ = Log.of(users, items, 1_000 + np.arange(15), np.ones(15), 3)
    columns: Columns = {
        "age": np.array([20, MISSING_INT, 70]),
        "word": np.array(["x", "y", ""], object),
        "timestamp": np.array([1_005, 1_010, 1_015]),
    }
    known = Users.of(
        ["u0", "u1", "u2"], columns, Seen.from_pairs(users, items, 3), 2_000, Past(log, 1.0, True)
    )
    schema = Schema(
        {"user_id": "string", "history": "strings", "age": "int", "word": "string"},
        {"item_id": "string", "year": "int"},
        {"history": 9},
    )
    catalogue = Items.of([str(n) for n in range(N)], {"year": np.arange(N) % 5}, np.arange(N))
    model: Any = Pulled()
    return Recommender.of(
        catalogue, known, schema, retriever=model, ranker=model, utility=Utility(0.5), num_retrieved=5
    )


@pytest.mark.parametrize("weights", [None, Utility(-3.0)], ids=["own order", "another order"])
def test_every_change_is_a_direct_call(pulled: sl.Recommender, weights: Utility | None) -> None:
    """One at a time: history, all of it, each column; whatever was left out stays left out."""
    found = pulled.explain({"user_id": "u0"}, 3, utility=weights, latest=3, exclude=["11"])
    hidden = [["0", "1", "2", "3", "4", "11"]]
    told = {"user_id": "u0", "timestamp": 1_005, "history": ["4", "3", "2", "1", "0"]}

    def again(row: dict[str, Any], by: sl.Recommender = pulled) -> sl.Slate:
        return by.recommend([row], 5, exclude=hidden, utility=weights)

    require(found, 0, again(told | {"history": ["3", "2", "1", "0"]}), 5)
    require(found, 2, again(told | {"history": ["4", "3", "1", "0"]}), 5)
    require(found, index_of(found, kind="history", item_id=None), again(told | {"history": ["none"]}), 5)
    assert found.left_out == 2 and found.candidates == 5 and not found.notes
    for name in ("age", "word"):
        require(found, index_of(found, name=name), again(told, without(pulled, "users", name, 0)), 5)
    nobody = {**told, "user_id": None, "age": 20, "word": "x"}
    require(found, index_of(found, name="user_id"), again(nobody), 5)
    assert (found.ranks == 0).any(), "an item fell out, and its score is known all the same"
    assert not np.isnan(found.scores).any()
    only = found.slate["item_id"].tolist()
    alone = pulled.recommend([told | {"history": ["none"]}], 3, only=only, utility=weights)
    expected = dict(zip(alone["item_id"], alone["score"], strict=True))
    place = index_of(found, kind="history", item_id=None)
    np.testing.assert_allclose(found.scores[place], [expected[item] for item in only], **CLOSE)
    base = found.slate["score"]
    np.testing.assert_allclose(found.score_changes, found.scores - base, **CLOSE)


@pytest.mark.parametrize("shift", [5_000, -500], ids=["later than stored", "earlier than stored"])
def test_an_unknown_user_asks_at_the_same_time(reads: sl.Recommender, shift: int) -> None:
    """The changed call stands where the told history does, not at the time stored of the user."""
    user = reads.users.vocabulary.values[3]
    stored = int(reads.users.columns["timestamp"][3])
    told = {
        "user_id": user,
        "history": reads.items.ids[[4, 2]].tolist(),
        "history_timestamp": [stored + shift, stored + shift - 9],
    }
    found = reads.explain(told, 3, filter_seen=False)
    named = reads.explain(told | {"timestamp": stored + shift + 1}, 3, filter_seen=False)
    place, same = (index_of(one, name="user_id") for one in (found, named))
    np.testing.assert_allclose(found.scores[place], named.scores[same], **CLOSE)
    assert found.ranks[place].tolist() == named.ranks[same].tolist()


def test_what_is_left_out_stays_left_out_in_changed_calls(pulled: sl.Recommender) -> None:
    free = pulled.explain({"user_id": "u0"}, 3, latest=3)
    gone = free.slate["item_id"][0]
    found = pulled.explain({"user_id": "u0"}, 3, latest=3, exclude=[gone])
    assert gone not in found.slate["item_id"] and (found.ranks <= found.candidates).all()
    alone = pulled.recommend([{"user_id": "u0"}], 3, exclude=[[gone]])
    assert found.slate["item_id"].tolist() == alone["item_id"].tolist()


def test_a_history_of_nothing(pulled: sl.Recommender) -> None:
    """An empty list is told, and is not what is stored; None is."""
    row = {"user_id": "u0", "timestamp": 1_005}
    nothing, stored, nobody = (
        pulled.recommend([row | {"history": told}], 3, filter_seen=False) for told in ([], None, ["none"])
    )
    np.testing.assert_array_equal(nothing["score"], nobody["score"])
    np.testing.assert_array_equal(stored["score"], pulled.recommend([row], 3, filter_seen=False)["score"])
    assert not np.allclose(nothing["score"], stored["score"])
    both = pulled.recommend([row | {"history": []}, row], 3, filter_seen=False)
    np.testing.assert_array_equal(both["score"], [*nothing["score"], *stored["score"]])
    found = pulled.explain(row | {"history": []}, 3)
    assert not [change for change in found.changes if change.kind == "history"]
    table = pulled.recommend({"user_id": ["u0"], "timestamp": [1_005], "history": [[]]}, 3, filter_seen=False)
    np.testing.assert_array_equal(table["score"], nothing["score"])


def test_what_is_missing_cannot_be_taken_away(pulled: sl.Recommender) -> None:
    found = pulled.explain({"user_id": "u1"}, 2)
    assert not [change for change in found.changes if change.name == "age"]
    told = pulled.explain({"history": ["3"], "history_rating": [1.0]}, 2)
    named = [(change.kind, change.item_id or change.name) for change in told.changes]
    assert named == [("history", "3"), ("history", ""), ("item", "item_id"), ("item", "year")]
    assert told.changes[0].rating == 1.0 and told.changes[0].timestamp is None
    assert (told.scores[0] == told.scores[1]).all(), "without its one item it is empty"


# A model that reads histories, statistics and columns of users


@pytest.fixture(scope="module")
def reads(small_data: sl.Dataset) -> sl.Recommender:
    people = small_data.users[:20]
    rows = small_data.interactions.filter(pl.col("user_id").is_in(people["user_id"].to_list()))
    split = sl.splits.random(sl.Dataset(rows, people, small_data.items, "tiny"), test=0.1, seed=1)
    head = sl.Rating(
        hidden=[4],
        interaction="product",
        dim=4,
        query=[sl.Bag(dim=4, rated=True)],
        candidate=[sl.Bag(column="user_id", dim=4)],
        aggregates=[sl.Aggregate(), sl.Affinity(near="year", width=7.0), sl.Context("column", column="age")],
    )
    query = sl.Tower([sl.History(dim=4, length=6, scale=0.3), sl.Bucket("age", 4, 4), sl.Id("user_id", 4)])
    items = sl.Tower([sl.Id("item_id", 4), sl.Tags("genres", 4), sl.Bucket("year", 4, 4)])
    model = sl.MultiTask(query, items, [sl.Retrieval(loss="full", seen="row"), head])
    made = sl.fit(model, split, epochs=1, batch_size=512).recommender(rating_weight=0.7)
    return replace(made, num_retrieved=30)


def history(recommender: sl.Recommender, user: str) -> dict[str, Any]:
    """What is stored of a user, told in a request."""
    past, index = recommender.users.past, int(recommender.users.indices([user])[0])
    assert past is not None and past.log.ratings is not None
    own = slice(int(past.log.indptr[index]), int(past.log.indptr[index + 1]))
    latest = [past.log.items[own][::-1], past.log.times[own][::-1], past.log.ratings[own][::-1]]
    return {
        "user_id": user,
        "timestamp": int(recommender.users.columns["timestamp"][index]),
        "history": recommender.items.ids[latest[0]].tolist(),
        "history_timestamp": latest[1].tolist(),
        "history_rating": latest[2].tolist(),
    }


@pytest.mark.slow
def test_a_history_without_an_item(reads: sl.Recommender) -> None:
    user = reads.users.vocabulary.values[2]
    found = reads.explain({"user_id": user}, 6)
    told = history(reads, user)
    hidden = told["history"]
    assert [c.item_id for c in found.changes[:20]] == hidden[:20] and found.left_out == len(hidden) - 20
    assert found.changes[0].timestamp == told["history_timestamp"][0]
    for place in (0, 7, 19):
        row = {n: v[:place] + v[place + 1 :] if isinstance(v, list) else v for n, v in told.items()}
        require(found, place, reads.recommend(row, 30, exclude=[hidden]), 30)
    nothing = {"user_id": user, "timestamp": told["timestamp"], "history": ["\0"]}
    require(found, 20, reads.recommend(nothing, 30, exclude=[hidden]), 30)
    assert found.changes[20] == Change("history", "removed")
    # what fell out of the candidates still has the score that the changed call gives it
    items = found.slate["item_id"].tolist()
    alone = reads.recommend(nothing, 6, only=items, filter_seen=False)
    expected = dict(zip(alone["item_id"], alone["score"], strict=True))
    np.testing.assert_allclose(found.scores[20], [expected[item] for item in items], **CLOSE)
    np.testing.assert_allclose(found.score_changes, found.scores - found.slate["score"], **CLOSE)


@pytest.mark.slow
def test_columns_of_who_asks(reads: sl.Recommender) -> None:
    user = reads.users.vocabulary.values[4]
    index, told = int(reads.users.indices([user])[0]), history(reads, user)
    found = reads.explain({"user_id": user}, 6)
    unknown = without(reads, "users", "age", index)
    require(found, index_of(found, name="age"), unknown.recommend({"user_id": user}, 30), 30)
    given = reads.explain({"user_id": user, "age": 7}, 6)
    assert given.changes[index_of(given, name="age")].value == 7
    require(given, index_of(given, name="age"), unknown.recommend({"user_id": user}, 30), 30)
    nobody = {**told, "user_id": None, "age": int(reads.users.columns["age"][index])}
    require(found, index_of(found, name="user_id"), reads.recommend(nobody, 30), 30)
    assert not [change for change in found.changes if change.name == "timestamp"]

    early = sorted(told["history_timestamp"])[8] + 1
    found = reads.explain({"user_id": user, "timestamp": early}, 6)
    kept = [n for n, when in enumerate(told["history_timestamp"]) if when < early]
    row = {n: [v[k] for k in kept] if isinstance(v, list) else v for n, v in told.items()}
    place = index_of(found, name="timestamp")
    assert found.changes[place].set_to == "default" and found.changes[place].value == early
    direct = reads.recommend({**row, "timestamp": None}, 30, exclude=[told["history"]])
    require(found, place, direct, 30)
    assert found.left_out == max(0, len(kept) - 20)


@pytest.mark.slow
def test_a_told_history_and_columns_that_statistics_read(reads: sl.Recommender) -> None:
    ids = reads.items.ids[[3, 9, 3, 12]].tolist()
    found = reads.explain({"history": ids, "history_rating": [5, 1, 2, 4]}, 5)
    assert [c.item_id for c in found.changes if c.kind == "history"] == [*dict.fromkeys(ids), None]
    assert [c.rating for c in found.changes[:3]] == [5, 1, 4]
    direct = reads.recommend({"history": [ids[1], ids[3]], "history_rating": [1, 4]}, 30, exclude=[ids])
    require(found, 0, direct, 30)  # both times it was had
    partly = {change.name: change.partly for change in found.changes if change.kind == "item"}
    assert partly == {"genres": False, "item_id": False, "year": True}
    assert "year" in found.notes[0]
    place = index_of(found, kind="item", name="genres")
    for n, item in enumerate(found.slate["item_id"]):
        row = {"history": ids, "history_rating": [5, 1, 2, 4], "item_id": item}
        said = without(reads, "items", "genres", reads.items.position(item)).score(row)
        score = said["log_p"][0] + 0.7 * said["rating"][0]
        np.testing.assert_allclose(found.scores[place, n], score, **CLOSE)
