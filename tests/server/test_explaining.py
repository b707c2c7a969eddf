"""Shortlists that say why: what a model of ids says, against direct calls, and over HTTP."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import shortlist as sl
from shortlist.errors import RequestError
from shortlist.features.requests import blanked
from shortlist.pipeline.explaining import NO_HISTORY, NOT_ASKED, Explanation
from shortlist.pipeline.stages import Utility
from shortlist.server.about import rating_scale as scale_of

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


@pytest.fixture(scope="module")
def plain(recommender: sl.Recommender) -> sl.Recommender:
    """A model of ids, times and titles, which reads no history."""
    return replace(recommender, utility=Utility(0.5), num_retrieved=40)


def test_a_model_without_history(plain: sl.Recommender) -> None:
    user = plain.users.vocabulary.values[3]
    found = plain.explain({"user_id": user}, 5, where="year >= 1990", exclude=["50"])
    same = plain.recommend({"user_id": user}, 5, where="year >= 1990", exclude=["50"])
    assert found.slate["item_id"].tolist() == same["item_id"].tolist()
    assert found.notes == (NO_HISTORY,) and found.candidates == 40
    assert [(c.kind, c.name) for c in found.changes] == [
        ("query", "timestamp"),
        ("query", "user_id"),
        ("item", "item_id"),
        ("item", "title"),
    ]
    index = int(plain.users.indices([user])[0])
    unknown = without(plain, "users", "timestamp", index)
    unknown = replace(unknown, users=replace(unknown.users, as_of=None))
    direct = unknown.recommend({"user_id": user}, 40, where="year >= 1990", exclude=["50"])
    require(found, index_of(found, name="timestamp"), direct, 40)

    place = index_of(found, name="user_id")  # nobody they know: popular items, and no score of the model
    seen = plain.items.ids[plain.users.seen.of(index)].tolist()
    direct = plain.recommend(["nobody"], 40, where="year >= 1990", exclude=[[*seen, "50"]])
    assert set(direct["source"]) == {"popular"} and np.isnan(found.scores[place]).all()
    ranks = dict(zip(direct["item_id"], direct["rank"], strict=True))
    assert found.ranks[place].tolist() == [ranks.get(item, 0) for item in found.slate["item_id"]]


@pytest.mark.parametrize("weights", [None, Utility(-2.0, "rating")], ids=["own order", "another order"])
def test_an_item_without_its_own_columns(plain: sl.Recommender, weights: Utility | None) -> None:
    user = plain.users.vocabulary.values[5]
    found = plain.explain({"user_id": user}, 4, utility=weights)
    order = weights or plain.utility
    whole = plain.recommend({"user_id": user}, 40, utility=weights)
    for name in ("title", "item_id"):
        place = index_of(found, kind="item", name=name)
        for n, item in enumerate(found.slate["item_id"]):
            at = plain.items.position(item)
            row = {"user_id": user, "item_id": item}
            if name == "title":
                said = without(plain, "items", "title", at).score(row)
            else:
                said = plain.score(row | {"item_id": "\0", "title": plain.items.columns["title"][at]})
            score = said["log_p"][0] + order.rating_weight * said["rating"][0]
            np.testing.assert_allclose(found.scores[place, n], score, **CLOSE)
            others = whole["item_id"] != item
            if said["log_p"][0] < whole["retrieval_score"][others].min():
                assert found.ranks[place, n] == 0
            else:
                assert found.ranks[place, n] == 1 + (whole["score"][others] > score).sum()
    assert found.slate["item_id"].tolist() == whole["item_id"][:4].tolist()


def test_whom_the_model_does_not_know(plain: sl.Recommender) -> None:
    found = plain.explain({"user_id": "nobody"}, 3)
    assert found.notes == (NOT_ASKED,) and not found.changes and len(found.slate) == 3
    nothing = plain.explain({"user_id": plain.users.vocabulary.values[0]}, 3, only=[])
    assert len(nothing.slate) == 0 and not nothing.changes
    with pytest.raises(RequestError, match="at most 50"):
        plain.explain({"user_id": "1"}, 51)


def test_over_http(client: Any, recommender: sl.Recommender) -> None:
    user = recommender.users.vocabulary.values[2]
    asked = {"user_id": user, "k": 4, "item_columns": ["title"], "utility": {"rating_weight": 2.0}}
    plain_answer = client.post("/v1/recommend", json=asked).json()
    answer = client.post("/v1/recommend", json={**asked, "explain": True}).json()
    expected = recommender.explain({"user_id": user}, 4, utility=Utility(2.0))
    assert [one["item_id"] for one in answer["items"]] == expected.slate["item_id"].tolist()
    changes = answer["explained"]["changes"]
    assert [one["name"] for one in changes] == ["timestamp", "user_id", "item_id", "title"]
    assert changes[1] == {"kind": "query", "set_to": "unknown", "name": "user_id", "value": user}
    for n, (item, before) in enumerate(zip(answer["items"], plain_answer["items"], strict=True)):
        why = item.pop("why")
        assert item == pytest.approx(before)
        assert [one["change"] for one in why] == [0, 1, 2, 3]
        assert why[0]["score"] == pytest.approx(expected.scores[0, n])
        assert why[0]["score_change"] == pytest.approx(expected.score_changes[0, n], abs=1e-6)
        assert why[0]["rank"] == (int(expected.ranks[0, n]) or None)
        assert (why[1]["score"], why[1]["source"]) == (None, "popular")
    some = client.post("/v1/recommend", json={**asked, "explain": [answer["items"][1]["item_id"]]}).json()
    assert ["why" in one for one in some["items"]] == [False, True, False, False]
    assert some["explained"]["not_listed"] == [] == answer["explained"]["not_listed"]
    wanted = ["no such item", answer["items"][0]["item_id"], 10**9, "no such item"]
    some = client.post("/v1/recommend", json={**asked, "explain": wanted}).json()
    assert some["explained"]["not_listed"] == ["no such item", str(10**9)]
    by_get = client.get(f"/v1/recommend/{user}?k=4&explain=true&rating_weight=2").json()
    assert by_get["explained"]["changes"] == changes


def test_what_cannot_be_explained_or_weighed(client: Any) -> None:
    for body, pointer in (
        ({"k": 51, "explain": True}, "/explain"),
        ({"queries": [{"explain": True}]}, "/queries/0/explain"),
        ({"utility": {"head": "clicks"}}, "/utility/head"),
        ({"utility": {"rating_weight": 1e9}}, "/utility/rating_weight"),
        ({"queries": [{}, {"utility": {"head": "x"}}]}, "/queries/1/utility/head"),
        ({"side": "z"}, "/side"),
        ({"explain": True, "context": {"nothing": 1}}, "/context/nothing"),
        ({"explain": True, "where": "yeer > 1"}, "/where"),
    ):
        answer = client.post("/v1/recommend", json=body)
        assert (answer.status_code, answer.json()["pointer"]) == (422, pointer), answer.json()
    assert client.get("/v1/recommend/1?explain=perhaps").json()["pointer"] == "/explain"
    for weight in ("1e9", "much"):
        problem = client.get(f"/v1/recommend/1?rating_weight={weight}").json()
        assert (problem["status"], problem["pointer"]) == (422, "/rating_weight")


def test_requests_of_several_orders_are_not_mixed(client: Any, recommender: sl.Recommender) -> None:
    user = recommender.users.vocabulary.values[7]
    weights = [None, 0.0, 5.0, -5.0, None]
    queries = [
        {"user_id": user, "k": 6} | ({} if one is None else {"utility": {"rating_weight": one}})
        for one in weights
    ]
    answers = client.post("/v1/recommend", json={"queries": queries}).json()["results"]
    for one, answer in zip(weights, answers, strict=True):
        order = None if one is None else Utility(one)
        expected = recommender.recommend([user], 6, utility=order)
        assert [item["item_id"] for item in answer["items"]] == expected["item_id"].tolist()
        for item, rank in zip(answer["items"], expected.retrieval_ranks, strict=True):
            assert item["retrieval_rank"] == rank
    by_retrieval = sorted(answers[2]["items"], key=lambda item: item["retrieval_rank"])
    falling = [item["retrieval_score"] for item in by_retrieval]
    assert falling == sorted(falling, reverse=True)
    assert [item["retrieval_rank"] for item in answers[1]["items"]] == list(range(1, 7))


def test_events_count_in_what_is_explained(serve: Any, tmp_path: Path, recommender: sl.Recommender) -> None:
    client = serve(events=str(tmp_path / "events.db"), impressions=True)
    user = recommender.users.vocabulary.values[1]
    asked = {"user_id": user, "k": 3, "explain": True}
    before = client.post("/v1/recommend", json=asked).json()["items"]
    client.post("/v1/events", json={"event_id": "1", "user_id": user, "item_id": before[0]["item_id"]})
    after = client.post("/v1/recommend", json=asked).json()["items"]
    assert [item["item_id"] for item in after[:2]] == [item["item_id"] for item in before[1:]]


def test_the_scale_of_an_events_rating(recommender: sl.Recommender) -> None:
    """The scale is that of the past, else as the bundle describes its data."""
    described = {"data": {"described": {"rating": {"min": 1.0, "max": 5.0}}}}
    users = replace(recommender.users, past=None)
    assert scale_of(replace(recommender, users=users, provenance=described)) == (1.0, 5.0)
    assert scale_of(replace(recommender, users=users, provenance={})) is None
