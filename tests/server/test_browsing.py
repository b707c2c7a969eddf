"""Items and users are searched, paged and shown; events count at the next request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import shortlist as sl
from shortlist.server.browsing import Browser


def test_every_row_is_on_one_page(client: Any, recommender: sl.Recommender) -> None:
    found: list[str] = []
    after: int | None = 0
    while after is not None:
        page = client.get(f"/v1/items?limit=33&after={after}").json()
        found += [row["item_id"] for row in page["rows"]]
        after = page["next"]
    assert found == list(recommender.items.vocabulary.values)
    assert page["total"] == len(found)


def test_search_is_of_ids_and_names() -> None:
    names = np.array(["Star Wars", "stardust", "Ärger", "two\nlines", ""], object)
    browser = Browser("item_id", ["a", "b", "c", "d", "wars"], {"title": names})
    for text, expected in (
        ("STAR", [0, 1]),
        ("ärger", [2]),
        ("wars", [0, 4]),
        ("zz", []),
        ("two lines", [3]),
    ):
        assert browser.search(text, 0, 10).rows.tolist() == expected, text
    first = browser.search("", 0, 2)
    assert (first.rows.tolist(), first.next) == ([0, 1], 2)
    assert browser.search("star", 1, 5).rows.tolist() == [1]
    left = Browser("item_id", ["a", "b"], {}, np.array([True, False]))
    assert left.search("", 0, 5).rows.tolist() == [1]
    assert left.search("", 99, 5).rows.tolist() == []


def test_search_and_conditions_over_http(client: Any) -> None:
    page = client.get("/v1/items?q=star wars&where=year < 1980").json()
    assert [row["title"] for row in page["rows"]] == ["Star Wars (1977)"]
    assert client.get("/v1/items?where=yeer < 1").json()["pointer"] == "/where"
    assert client.get("/v1/items?limit=0").json()["pointer"] == "/limit"
    assert client.get("/v1/users?limit=2").json()["rows"][1]["user_id"]


def test_items_like_an_item(client: Any, recommender: sl.Recommender) -> None:
    answer = client.get("/v1/items/50/similar?k=3&item_columns=title").json()
    expected = recommender.similar_items("50", 3)
    assert [row["item_id"] for row in answer["items"]] == expected["item_id"].tolist()
    assert all(row["title"] for row in answer["items"])
    assert client.get("/v1/items/none/similar").status_code == 404
    assert client.get("/v1/items/50").json()["title"] == "Star Wars (1977)"
    assert client.get("/v1/items/none").status_code == 404


def test_events_count_at_once(serve: Any, tmp_path: Path, recommender: sl.Recommender) -> None:
    client = serve(events=str(tmp_path / "events.db"), impressions=True)
    user = recommender.users.vocabulary.values[1]
    asked = {"user_id": user, "k": 3}
    before = [item["item_id"] for item in client.post("/v1/recommend", json=asked).json()["items"]]
    event = {"event_id": "e1", "user_id": user, "item_id": before[0]}
    assert client.post("/v1/events", json=event).json() == {"accepted": 1, "repeated": 0, "rejected": []}
    after = [item["item_id"] for item in client.post("/v1/recommend", json=asked).json()["items"]]
    assert before[0] not in after and after[:2] == before[1:]
    kept = client.post("/v1/recommend", json={**asked, "filter_seen": False}).json()["items"]
    assert before[0] in [item["item_id"] for item in kept] or len(kept) == 3
    assert client.get(f"/v1/users/{user}").json()["history"][0]["item_id"] == before[0]

    batch = [event, {**event, "event_id": "e2"}, {"event_id": "e3", "user_id": 1}]
    told = client.post("/v1/events", json={"events": batch}).json()
    assert (told["accepted"], told["repeated"]) == (1, 1)
    assert [(one["index"], one["field"]) for one in told["rejected"]] == [(2, "item_id")]
    alone = client.post("/v1/events", json={**event, "event_id": "e4", "rating": "good"})
    assert (alone.status_code, alone.json()["pointer"]) == (422, "/rating")
    assert "shortlist_events_accepted_total 2.0" in client.get("/metrics").text
    client.service.writer.close()
    shown = client.service.store.impressions()
    assert next(one.impression.items for one in shown) == tuple(before)
    assert client.post("/v1/events", json=event).status_code == 503, "the writer has stopped"


def test_without_a_store_events_are_refused(client: Any) -> None:
    assert client.post("/v1/events", json={"event_id": "e"}).status_code == 404
