"""Items and users are searched, paged and shown; events count at the next request."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import shortlist as sl
from shortlist.server import browsing
from shortlist.server.answers.catalogue import Item
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
    browser = Browser(Item, ["a", "b", "c", "d", "wars"], {"title": names})
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
    left = Browser(Item, ["a", "b"], {}, np.array([True, False]))
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
    assert client.get("/v1/items/50/similar?item_columns=none").json()["pointer"] == "/item_columns/0"
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

    nowhere = {**event, "event_id": "n", "item_id": "nowhere"}
    told = client.post("/v1/events", json={"events": [nowhere, event]}).json()
    assert told == {"accepted": 1, "repeated": 1, "rejected": [], "unknown_items": 1}

    batch = [event, {**event, "event_id": "e2"}, {"event_id": "e3", "user_id": 1}]
    told = client.post("/v1/events", json={"events": batch}).json()
    assert (told["accepted"], told["repeated"]) == (1, 1)
    assert [(one["index"], one["field"]) for one in told["rejected"]] == [(2, "item_id")]
    alone = client.post("/v1/events", json={**event, "event_id": "e4", "rating": "good"})
    assert (alone.status_code, alone.json()["pointer"]) == (422, "/rating")
    assert "shortlist_events_accepted_total 3.0" in client.get("/metrics").text
    client.service.writer.close()
    shown = client.service.store.impressions()
    assert next(one.impression.items for one in shown) == tuple(before)
    assert client.post("/v1/events", json=event).status_code == 503, "the writer has stopped"


@pytest.fixture(scope="module")
def changed(recommender: sl.Recommender, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle made by a recipe in which one type of events counts nothing, and without item 50."""
    data = {"event": "event", "event_weights": {"play": 1.0, "refund": 0.0}}
    path = tmp_path_factory.mktemp("changed") / "bundle"
    provenance = {**recommender.provenance, "recipe": {"data": data}}
    replace(recommender, provenance=provenance).remove_items(["50"]).save(path)
    return path


@pytest.mark.parametrize(("ignored", "counts"), [((), "play"), (("play",), "refund")])
def test_events_that_count_nothing_in_the_recipe_say_nothing(
    serve: Any,
    changed: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    ignored: tuple[str, ...],
    counts: str,
) -> None:
    """Unless an option says which do not."""
    caplog.set_level("INFO")
    client = serve(path=changed, events=str(tmp_path / "events.db"), ignored=ignored)
    assert ('"event": "ignored", "side": "a", "detail": "refund: ' in caplog.text) == (not ignored)
    asked = {"user_id": "somebody", "k": 2}
    [first, second] = client.post("/v1/recommend", json=asked).json()["items"]
    for event, item in (("play", first), ("refund", second)):
        sent = {"event_id": event, "user_id": "somebody", "item_id": item["item_id"], "event": event}
        assert client.post("/v1/events", json=sent).json()["accepted"] == 1
    had, other = (first, second) if counts == "play" else (second, first)
    history = client.get("/v1/users/somebody").json()["history"]
    assert [one["item_id"] for one in history] == [had["item_id"]]
    assert client.post("/v1/recommend", json=asked).json()["items"][0]["item_id"] == other["item_id"]


def test_items_that_were_removed_are_told_apart(serve: Any, changed: Path) -> None:
    client = serve(path=changed)
    left = client.get("/v1/bundles").json()["bundles"][0]["items"]
    page = client.get("/v1/items?limit=1").json()
    assert page["total"] == page["matched"] == left
    assert client.get("/v1/items?q=50").json()["total"] == left
    found = client.get("/v1/items?ids=50&ids=1").json()
    assert [row.get("removed") for row in found["rows"]] == [True, None] and found["total"] == left
    assert client.get("/v1/items/50").json() == found["rows"][0]


def test_every_answer_is_an_impression_whatever_its_request_is_called(serve: Any, tmp_path: Path) -> None:
    stores = [str(tmp_path / "events.db")] * 2  # of two processes
    clients = [serve(events=path, impressions=True) for path in stores]
    named = {"x-request-id": "page-1"}
    users = [str(n) for n in range(1, 7)]
    for client in clients:
        for user in users[:3]:
            client.post("/v1/recommend", json={"user_id": user, "k": 2}, headers=named)
        many = {"queries": [{"user_id": user, "k": 1} for user in users]}
        own = client.post("/v1/recommend", json=many).headers["x-request-id"]
        client.post("/v1/recommend", json=many, headers={"x-request-id": own})  # as somebody's proxy may
    for client in clients:
        client.service.writer.close()
    kept = [one.impression for one in clients[0].service.store.impressions()]
    assert sorted(one.user_id for one in kept) == sorted([*users[:3], *users, *users] * 2)
    assert len({one.request_id for one in kept}) == len(kept)
    assert sum(one.request_id.startswith("page-1.") for one in kept) == 6
    assert sum(one.request_id.startswith(f"{own}.") for one in kept) == 2 * len(users)


def test_without_a_store_events_are_refused(client: Any) -> None:
    assert client.post("/v1/events", json={"event_id": "e"}).status_code == 404


def test_by_popularity_and_by_ids(client: Any, recommender: sl.Recommender) -> None:
    order = recommender.items.ids[recommender.items.by_popularity].tolist()
    found: list[str] = []
    after: int | None = 0
    while after is not None:
        page = client.get(f"/v1/items?order=popular&limit=90&after={after}&where=year > 1900").json()
        found += [row["item_id"] for row in page["rows"]]
        after = page["next"]
    dated = recommender.items.columns["year"][recommender.items.positions(order)] > 1900
    assert found == [one for one, kept in zip(order, dated.tolist(), strict=True) if kept]
    assert page["matched"] == len(found) and page["total"] == len(order)
    assert client.get("/v1/items?order=best").json()["pointer"] == "/order"
    some = client.get("/v1/items?ids=181&ids=none&ids=50").json()
    assert [row["item_id"] for row in some["rows"]] == ["181", "50"] and some["unknown"] == ["none"]
    assert client.get("/v1/items?ids=1&q=x").json()["pointer"] == "/q"
    assert client.get("/v1/items?ids=.&ids=..").json()["unknown"] == [".", ".."], "which no path can hold"
    assert [row["popularity_rank"] for row in some["rows"]] == [order.index(one) + 1 for one in ("181", "50")]
    for row in some["rows"]:
        assert client.get(f"/v1/items/{row['item_id']}").json() == row
    user = recommender.users.vocabulary.values[5]
    assert client.get(f"/v1/users?q={user}").json()["rows"][0]["user_id"] == user


def test_a_long_id_that_is_not_there_is_not_told_back_in_full(client: Any) -> None:
    for path in ("/v1/items/", "/v1/recommend/1?only="):
        problem = client.get(path + "x" * 500).json()
        assert problem["status"] in (404, 422) and "is not in the catalogue" in problem["detail"]
        assert len(problem["detail"]) < 150 and len(problem["hint"]) < 300
    similar = client.get("/v1/items/" + "x" * 500 + "/similar").json()
    assert similar["status"] == 404 and len(similar["detail"]) < 150


def test_a_history_has_names_and_a_bound(client: Any, recommender: sl.Recommender) -> None:
    user = recommender.users.vocabulary.values[0]
    answer = client.get(f"/v1/users/{user}?limit=3&item_columns=year").json()
    assert len(answer["history"]) == 3 < answer["total"]
    assert all(row["title"] and row["year"] for row in answer["history"])
    nobody = client.get("/v1/users/nobody").json()
    assert (nobody["known"], nobody["history"], nobody["total"]) == (False, [], 0)
    assert client.get(f"/v1/users/{user}?item_columns=none").json()["pointer"] == "/item_columns/0"


def test_pages_of_a_search_are_those_of_the_plain_loop() -> None:
    """Rare and frequent texts, with conditions, in either order: every row once, whatever the bounds."""
    draw = np.random.default_rng(2)
    names = np.array([" ".join(draw.choice(["ab", "bc", "cd", "de"], 2)) for _ in range(700)], object)
    ids = [str(n) for n in range(700)]
    popular = draw.permutation(700).astype(np.int32)
    allow, gone = draw.random(700) < 0.5, draw.random(700) < 0.1
    browser = Browser(Item, ids, {"title": names}, gone, popular, np.zeros(700))
    for bounds in ((2_000, 30_000), (5, 40)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(browsing, "_RARE", bounds[0])
            patch.setattr(browsing, "_LOOKS", bounds[1])
            for text, order, first in (
                ("ab b", False, -1),
                ("c", True, 33),
                ("zz", True, -1),
                ("7", False, 7),
            ):
                rows = popular.tolist() if order else range(700)
                expected = [n for n in rows if text in f"{ids[n]} {names[n]}" and allow[n] and not gone[n]]
                if first in expected:
                    expected = [first, *(n for n in expected if n != first)]
                elif first >= 0 and allow[first] and not gone[first]:
                    expected = [first, *expected]
                found: list[int] = []
                after: int | None = 0
                while after is not None:
                    page = browser.search(text, after, 9, allow, by_popularity=order, first=first)
                    found += page.rows.tolist()
                    after = page.next
                assert found == expected, (text, order, bounds)


@pytest.mark.parametrize("explain", [False, True])
def test_what_nobody_is_shown_is_not_kept(serve: Any, tmp_path: Path, explain: bool) -> None:
    """Of a running experiment: neither as an impression nor in a side's figures."""
    client = serve(events=str(tmp_path / "events.db"), impressions=True)
    one = {"user_id": "1", "k": 2, "explain": explain}
    assert client.post("/v1/recommend", json={**one, "shown": False}).status_code == 200
    assert client.get(f"/v1/recommend/2?k=2&shown=false&explain={explain}").status_code == 200
    assert 'variant_queries_total{variant="a"} 0.0' in client.get("/metrics").text
    assert client.post("/v1/recommend", json=one).status_code == 200
    many = [{"user_id": "3", "k": 1, "shown": False}, {"user_id": "4", "k": 1}]
    assert client.post("/v1/recommend", json={"queries": many}).status_code == 200
    refused = client.post("/v1/recommend", json={"queries": [{"user_id": "1"}], "shown": False})
    assert (refused.status_code, refused.json()["pointer"]) == (422, "/shown")
    metrics = client.get("/metrics").text
    assert 'variant_queries_total{variant="a"} 2.0' in metrics
    assert 'variant_items_total{variant="a"} 3.0' in metrics
    client.service.writer.close()
    kept = [found.impression.user_id for found in client.service.store.impressions()]
    assert kept == ["1", "4"]
