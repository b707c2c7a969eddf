"""Shortlists, scores and ranks over HTTP are those of the recommender itself."""

from __future__ import annotations

from typing import Any

import pytest

import shortlist as sl


def ids(answer: Any) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def test_a_shortlist_is_the_recommenders(client: Any, recommender: sl.Recommender) -> None:
    user = recommender.users.vocabulary.values[3]
    answer = client.post("/v1/recommend", json={"user_id": user, "k": 7}).json()
    expected = recommender.recommend([{"user_id": user}], 7).to_dicts()
    assert ids(answer) == [row["item_id"] for row in expected]
    for item, row in zip(answer["items"], expected, strict=True):
        assert set(item) == set(row) - {"user_id"} | {"retrieval_rank"}
        assert item["score"] == pytest.approx(row["score"], abs=1e-5)
        assert item["rating"] == pytest.approx(row["rating"], abs=1e-5)
        assert (item["rank"], item["source"]) == (row["rank"], row["source"])
    assert answer["user_id"] == user and answer["variant"] == "a" and len(answer["bundle"]) == 12


def test_filters_are_each_querys_own(client: Any, recommender: sl.Recommender) -> None:
    users = recommender.users.vocabulary.values[:5]
    first = recommender.recommend([{"user_id": users[0]}], 3)["item_id"].tolist()
    only = recommender.items.vocabulary.values[:20]
    queries: list[dict[str, Any]] = [
        {"user_id": users[0], "exclude": first},
        {"user_id": users[1], "only": list(only), "filter_seen": False, "k": 20},
        {"user_id": users[2], "where": "year >= 1995", "item_columns": ["year"]},
        {"user_id": users[3], "k": 150, "filter_seen": False},
        {"user_id": users[4], "timestamp": "1998-04-01T00:00"},
    ]
    answers = client.post("/v1/recommend", json={"queries": queries}).json()["results"]
    assert [answer["user_id"] for answer in answers] == list(users)
    assert not set(first) & set(ids(answers[0])) and len(answers[0]["items"]) == 10
    assert sorted(ids(answers[1])) == sorted(only)
    assert answers[2]["items"] and all(item["year"] >= 1995 for item in answers[2]["items"])
    assert len(answers[3]["items"]) == 150
    for query, answer in zip(queries, answers, strict=True):
        alone = client.post("/v1/recommend", json=query).json()
        assert ids(alone) == ids(answer)


def test_the_address_asks_the_same(client: Any, recommender: sl.Recommender) -> None:
    user = recommender.users.vocabulary.values[2]
    body = {
        "user_id": user,
        "k": 4,
        "exclude": ["50", "181"],
        "item_columns": ["title"],
        "filter_seen": False,
        "timestamp": 889_000_000,
    }
    asked = "k=4&exclude=50&exclude=181&item_columns=title&filter_seen=false&timestamp=889000000"
    assert (
        client.get(f"/v1/recommend/{user}?{asked}").json() == client.post("/v1/recommend", json=body).json()
    )
    for text in ("0" * 41, "9" * 30, "-1", "1969-12-31", "soon"):
        problem = client.get(f"/v1/recommend/{user}?timestamp={text}").json()
        assert (problem["status"], problem["pointer"]) == (422, "/timestamp"), text


@pytest.mark.parametrize("name", ["a/b", "a%2Fb", "50/similar", "Ü ?#&", "..a", "\x00", "0" * 512])
def test_ids_are_any_characters(client: Any, name: str) -> None:
    from urllib.parse import quote

    answer = client.get(f"/v1/recommend/{quote(name, safe='')}?k=1")
    assert answer.status_code == 200
    assert answer.json()["user_id"] == name
    assert answer.json()["items"][0]["source"] == "popular"


def test_scores_are_the_recommenders(client: Any, recommender: sl.Recommender) -> None:
    users, items = recommender.users.vocabulary.values, recommender.items.vocabulary.values
    rows = [{"user_id": users[n], "item_id": items[3 * n]} for n in range(4)] + [
        {"user_id": "x", "item_id": "y"}
    ]
    answers = client.post("/v1/score", json={"rows": [*rows, rows[-1]]}).json()
    expected = recommender.score([*rows, rows[-1]]).to_dicts()
    for answer, row in zip(answers["rows"], expected, strict=True):
        assert answer == pytest.approx(row, abs=1e-5)
    assert answers["unknown"] == ["y"]
    assert client.post("/v1/score", json={"rows": rows[:4]}).json()["unknown"] == []


def test_the_callers_own_candidates_are_ordered(client: Any, recommender: sl.Recommender) -> None:
    user, items = recommender.users.vocabulary.values[0], list(recommender.items.vocabulary.values[:12])
    answer = client.post(
        "/v1/rank", json={"user_id": user, "candidates": [*items, "nowhere", items[0]]}
    ).json()
    assert answer["unknown"] == ["nowhere"]
    expected = recommender.recommend([{"user_id": user}], 12, filter_seen=False, only=items)
    assert ids(answer) == expected["item_id"].tolist()
    nothing = client.post("/v1/rank", json={"user_id": user, "candidates": ["nowhere"]}).json()
    assert nothing["items"] == [] and nothing["unknown"] == ["nowhere"]


@pytest.mark.parametrize(
    "body, status, pointer",
    [
        ('{"user_id": "1", "k": 0}', 422, "/k"),
        ('{"user_id": "1", "k": "ten"}', 422, "/k"),
        ('{"user_id": "1", "colour": 1}', 422, "/colour"),
        ('{"queries": [{"user_id": "1"}, {"user_id": "1", "k": 9999}]}', 422, "/queries/1/k"),
        ('{"queries": [{"user_id": "1"}, {"user_id": "1", "only": ["zz"]}]}', 422, "/queries/1/only/0"),
        ('{"queries": [{"user_id": "1"}], "k": 3}', 422, "/k"),
        ('{"queries": []}', 422, "/queries"),
        ('{"user_id": "1", "where": "yeer > 1"}', 422, "/where"),
        ('{"user_id": "1", "context": {"hour": 3}}', 422, "/context/hour"),
        ('{"user_id": "1", "context": {"user_id": "2"}}', 422, "/context/user_id"),
        ('{"user_id": "1", "context": {"it\'s/a~b": 3}}', 422, "/context/it's~1a~0b"),
        (
            '{"user_id": "1", "history": ["1", "2"], "history_timestamp": [9, "soon"]}',
            422,
            "/history_timestamp/1",
        ),
        ('{"user_id": "1", "history_rating": [3.0]}', 422, "/history_rating"),
        ('{"user_id": "1", "timestamp": "soon"}', 422, "/timestamp"),
        ('{"user_id": "1", "timestamp": 1e400}', 422, "/timestamp"),
        ('{"user_id": "1", "timestamp": 99999999999999}', 422, "/timestamp"),
        ('{"user_id": "1", "timestamp": -1}', 422, "/timestamp"),
        ('{"user_id": "1", "timestamp": "1969-12-31T23:59:59"}', 422, "/timestamp"),
        ('{"user_id": "1", "history": ["1"], "history_timestamp": [-1]}', 422, "/history_timestamp/0"),
        (
            '{"user_id": "1", "history": ["1", "2"], "history_timestamp": [0, "1969-12-31"]}',
            422,
            "/history_timestamp/1",
        ),
        ('{"user_id": "1", "item_columns": ["title", "zz"]}', 422, "/item_columns/1"),
        ('{"user_id": 123456789012345678901234567890}', 422, "/user_id"),
        ('{"user_id": "1", "k": NaN}', 400, ""),
        ('{"user_id": "\\ud800"}', 400, ""),
        ('{"user_id": ', 400, ""),
        ("", 400, ""),
        ("[" * 100_000, 422, ""),
        ('{"context":' + '{"a":' * 50_000, 422, "/context"),
    ],
)
def test_a_problem_names_the_field(client: Any, body: str, status: int, pointer: str) -> None:
    answer = client.post("/v1/recommend", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["pointer"]) == (status, pointer), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status and answer.json()["detail"]
    assert answer.headers["x-request-id"] == answer.json()["request_id"]


def test_anothers_mistake_harms_nobody(client: Any, recommender: sl.Recommender) -> None:
    users = recommender.users.vocabulary.values[:6]
    queries = [{"user_id": user} for user in users]
    queries[4]["where"] = "'"
    answer = client.post("/v1/recommend", json={"queries": queries})
    assert (answer.status_code, answer.json()["pointer"]) == (422, "/queries/4/where")
    for wrong in ({"where": "yeer > 1"}, {"only": ["zz"]}):  # a list of queries is none of the caller's
        for body in (wrong, {"queries": [{}, wrong]}):
            [argument] = wrong
            said = client.post("/v1/recommend", json=body).json()["detail"]
            assert said.startswith(argument) and "[" not in said, said
    assert client.post("/v1/recommend", json={"user_id": users[0]}).status_code == 200


def test_what_is_not_there(client: Any) -> None:
    assert client.get("/nowhere").status_code == 404
    wrong = client.get("/v1/recommend")
    assert wrong.status_code == 405 and wrong.headers["allow"] == "POST"
    for path in ("/v1/recommend/1?k=0", "/v1/recommend/1?colour=red", "/v1/recommend/1?k=1&k=2"):
        answer = client.get(path)
        assert answer.status_code == 422 and answer.json()["pointer"] in ("/k", "/colour")
    assert client.get("/v1/recommend/%ff").status_code == 400
    assert client.get("/v1/recommend/").status_code == 404
