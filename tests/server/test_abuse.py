"""Whatever is asked, an answer is no fault of the server: it is what was asked for, or a problem that says
where the mistake is."""

from __future__ import annotations

import gzip
import json
import logging
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.server.bundles import Variants
from shortlist.server.events.trouble import StoreError
from shortlist.server.logs import Lines

JSON = {"content-type": "application/json"}
PEER = "Zebra-7391"  # an id that stands nowhere else


def refused(answer: Any, status: int, pointer: str | None = None) -> Any:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status and problem["title"] and problem["detail"]
    assert problem["request_id"] == answer.headers["x-request-id"]
    if pointer is not None:
        assert problem["pointer"] == pointer
    return problem


def test_where_events_lie_is_for_the_log(
    serve: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.db"
    client = serve(events=str(path))
    client.service.store._writer.execute("PRAGMA max_page_count = 1")
    event = {"user_id": "1", "item_id": "50", "context": {"text": "x" * 4_000}}
    events = [{"event_id": str(n)} | event for n in range(9)]
    with caplog.at_level(logging.INFO, "shortlist.server"):
        problem = refused(client.post("/v1/events", json={"events": events}), 507)
    assert "no room" in problem["detail"] and str(tmp_path) not in json.dumps(problem)
    [line] = [json.loads(one) for one in caplog.messages if '"store"' in one]
    assert str(path) in line["detail"] and line["request_id"] == problem["request_id"]

    def broken(*_: object) -> None:
        raise StoreError(f"{path}: disk I/O error")

    monkeypatch.setattr(client.service.store, "version", broken)
    for ask in (lambda: client.post("/v1/recommend", json={}), lambda: client.get("/v1/users/1")):
        problem = refused(ask(), 503)
        assert str(tmp_path) not in json.dumps(problem) and problem["hint"]


# Bodies

BODIES: dict[str, tuple[bytes, int, str]] = {
    "not a number": (b'{"user_id": "1", "history_rating": [NaN]}', 400, ""),
    "infinity": (b'{"user_id": "1", "history_rating": [Infinity]}', 400, ""),
    "a great number": (b'{"user_id": "1", "context": {"age": 1e999}}', 422, "/context/..."),
    "many digits": (b'{"user_id": ' + b"9" * 5_000 + b"}", 422, "/user_id"),
    "half a character": (b'{"user_id": "\\udc00"}', 400, ""),
    "half a character, turned": (b'{"user_id": "\\udc00\\ud800"}', 400, ""),
    "no utf-8": (b'{"user_id": "\xff"}', 400, ""),
    "long utf-8": (b'{"user_id": "\xc0\x80"}', 400, ""),
    "utf-16": ('{"user_id": "1"}'.encode("utf-16"), 400, ""),
    "a mark of byte order": (b'\xef\xbb\xbf{"user_id": "1"}', 400, ""),
    "a NUL outside": (b'{"user_id": "1"}\x00', 400, ""),
    "two objects": (b'{"user_id": "1"}{"user_id": "2"}', 400, ""),
    "a comment": (b'{"user_id": "1" /* me */}', 400, ""),
    "a comma": (b'{"user_id": "1",}', 400, ""),
    "single quotes": (b"{'user_id': '1'}", 400, ""),
    "a list": (b'[{"user_id": "1"}]', 422, ""),
    "a text": (b'"1"', 422, ""),
    "null": (b"null", 422, ""),
    "truth as a number": (b'{"user_id": "1", "k": true}', 422, "/k"),
    "half an item": (b'{"user_id": "1", "k": 1.5}', 422, "/k"),
    "one as a text": (b'{"user_id": "1", "filter_seen": "yes"}', 422, "/filter_seen"),
    "no list": (b'{"user_id": "1", "exclude": "50"}', 422, "/exclude"),
    "a list in a list": (b'{"user_id": "1", "exclude": [["50"]]}', 422, "/exclude/0"),
    "an empty id": (b'{"user_id": ""}', 422, "/user_id"),
    "a long id": (b'{"user_id": "' + b"x" * 513 + b'"}', 422, "/user_id"),
    "an object as an id": (b'{"user_id": {}}', 422, "/user_id"),
    "too many ids": (json.dumps({"only": ["1"] * 10_001}).encode(), 422, "/only"),
    "too long a history": (json.dumps({"history": ["1"] * 2_001}).encode(), 422, "/history"),
    "too long a condition": (json.dumps({"where": "x" * 4_001}).encode(), 422, "/where"),
    "a deep condition": (
        json.dumps({"where": "(" * 2_000 + "year > 1" + ")" * 1_900}).encode(),
        422,
        "/where",
    ),
    "too many queries": (json.dumps({"queries": [{}] * 257}).encode(), 422, "/queries"),
    "too many columns": (json.dumps({"context": {str(n): 1 for n in range(65)}}).encode(), 422, "/context"),
    "a column twice": (b'{"item_columns": ["title", "title"], "k": 1}', 200, ""),
    "a key twice": (b'{"user_id": "1", "k": 1, "k": 2}', 200, ""),
    "a NUL in an id": (b'{"user_id": "a\\u0000b"}', 200, ""),
    "nobody": (b"{}", 200, ""),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_is_answered_or_its_field_named(client: Any, name: str) -> None:
    body, status, pointer = BODIES[name]
    answer = client.post("/v1/recommend", content=body, headers=JSON)
    if status == 200:
        assert answer.status_code == 200 and answer.json()["items"]
        return
    refused(answer, status, None if "..." in pointer else pointer)


def test_of_a_key_that_stands_twice_the_last_counts(client: Any) -> None:
    answer = client.post("/v1/recommend", content=b'{"user_id": "1", "k": 1, "k": 2}', headers=JSON)
    assert len(answer.json()["items"]) == 2


def test_a_field_that_is_needed_is_named(client: Any) -> None:
    for path, body, pointer in (
        ("/v1/score", {}, "/rows"),
        ("/v1/score", {"rows": [{"item_id": "1"}, {"user_id": "1"}]}, "/rows/1/item_id"),
        ("/v1/score", {"rows": [{"item_id": "1", "item": {"year": "old"}}]}, "/rows/0/item/year"),
        ("/v1/score", {"rows": [{"item_id": "1", "context": {"age": "old"}}]}, "/rows/0/context/age"),
        ("/v1/rank", {}, "/candidates"),
        ("/v1/rank", {"candidates": ["1"], "": 1}, "/"),
        ("/v1/rank", {"candidates": ["1"], "`a/b`": 1}, "/`a~1b`"),
        ("/v1/admin/reload", {"sides": "a"}, "/sides"),
    ):
        refused(client.post(path, json=body), 422, pointer)


def test_bodies_are_plain_json(client: Any) -> None:
    body = b'{"user_id": "1"}'
    for kind in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "*/*",
        "",
    ):
        refused(client.post("/v1/recommend", content=body, headers={"content-type": kind}), 415)
    for kind in ("application/json; charset=utf-8", "APPLICATION/JSON"):
        assert client.post("/v1/recommend", content=body, headers={"content-type": kind}).status_code == 200
    for coding in ("gzip", "br", "gzip, identity"):
        packed = client.post(
            "/v1/recommend", content=gzip.compress(body), headers={**JSON, "content-encoding": coding}
        )
        refused(packed, 415)
        assert packed.headers["accept-encoding"] == "identity"
    refused(client.post("/v1/recommend", content=b"", headers=JSON), 400)


def test_events_are_as_strict(serve: Any, tmp_path: Path) -> None:
    client = serve(events=str(tmp_path / "e.db"))
    good = {"event_id": "1", "user_id": "a\x00b", "item_id": "50"}
    for change, pointer in (
        ({"event_id": ""}, "/event_id"),
        ({"user_id": None}, "/user_id"),
        ({"item_id": True}, "/item_id"),
        ({"timestamp": 10**30}, "/timestamp"),
        ({"timestamp": 1.5}, "/timestamp"),
        ({"rating": "5"}, "/rating"),
        ({"weight": -1}, "/weight"),
        ({"a.b[0]/c": 1}, "/a.b[0]~1c"),
        ({"context": {"x.y/z": []}}, "/context/x.y~1z"),
        ({"context": []}, "/context"),
    ):
        refused(client.post("/v1/events", json={**good, **change}), 422, pointer)
    for body, pointer in (([], ""), ({"events": []}, "/events"), ({"events": [good], "x": 1}, "/x")):
        refused(client.post("/v1/events", json=body), 422, pointer)
    assert client.post("/v1/events", json=good).json()["accepted"] == 1
    assert client.get("/v1/users/a%00b").json()["history"][0]["item_id"] == "50"


# Paths


def test_a_slash_in_an_id_makes_no_other_route(client: Any) -> None:
    """As sent, %2F is no slash: the path decides the route before the id is read."""
    for name in ("a/similar", "similar", "50/similar/", "../admin/reload", "%", "\x00"):
        path = f"/v1/items/{quote(name, safe='')}"
        assert repr(name) in refused(client.get(path), 404)["detail"]
        assert refused(client.get(f"{path}/similar"), 404)["detail"].startswith(f"item {name!r} ")
    for path in ("/v1%2Frecommend/1", "/v1/%2e%2e/v1/items", "//v1/items", "/v1/items/", "/V1/items", "/v1"):
        refused(client.get(path), 404)
    for path in ("/v1/items/%ff", "/v1/users/%c0%80", "/v1/items/%ed%a0%80/similar"):
        refused(client.get(path), 400)
    refused(client.get("/v1/items/" + "x" * 513), 422)


def test_methods_and_parameters(client: Any) -> None:
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "GET"):
        answer = client.request(method, "/v1/recommend")
        refused(answer, 405)
        assert answer.headers["allow"] == "POST"
    assert client.request("POST", "/v1/items").headers["allow"] == "GET, HEAD"
    assert client.request("HEAD", "/v1/items").status_code == 200
    for asked, pointer in (
        ("k=0", "/k"),
        ("k=1001", "/k"),
        ("k=" + "9" * 400, "/k"),
        ("k=1&k=2", "/k"),
        ("colour=red", "/colour"),
        ("filter_seen=maybe", "/filter_seen"),
        ("only=zz", "/only/0"),
        ("where=(", "/where"),
        ("where=null", "/where"),
        ("timestamp=null", "/timestamp"),
        ("rating_weight=null", "/rating_weight"),
    ):
        refused(client.get(f"/v1/recommend/1?{asked}"), 422, pointer)
    assert client.get("/v1/recommend/null").json()["user_id"] == "null"
    for asked in ("k=%ff", "%ff=1", "a=%ed%a0%80"):
        refused(client.get(f"/v1/recommend/1?{asked}"), 400)
    for asked, pointer in (
        ("limit=0", "/limit"),
        ("limit=201", "/limit"),
        ("after=-1", "/after"),
        ("after=٣", "/after"),
        ("q=" + "x" * 513, "/q"),
        ("where=year", "/where"),
    ):
        refused(client.get(f"/v1/items?{asked}"), 422, pointer)
    refused(client.get("/v1/items?side=z"), 422, "/side")


def test_the_greatest_questions_are_answered_soon(client: Any, recommender: Any) -> None:
    """What a request may ask at most takes a bounded time; nothing else is answered meanwhile."""
    users = recommender.users.vocabulary.values
    queries = [{"user_id": users[n % len(users)], "k": 1_000, "filter_seen": False} for n in range(256)]
    refused(client.post("/v1/recommend", json={"queries": queries}), 422, "/queries")
    for query in queries:
        query["k"] = 100
    began = time.process_time()  # whatever else the machine does
    answer = client.post("/v1/recommend", json={"queries": queries})
    assert answer.status_code == 200 and time.process_time() - began < 5


# Anything

NAMES = st.sampled_from(
    [
        *(
            "user_id",
            "item_id",
            "timestamp",
            "context",
            "history",
            "history_timestamp",
            "history_rating",
            "k",
        ),
        *("filter_seen", "exclude", "only", "where", "item_columns", "queries", "candidates", "rows", "item"),
        *("events", "event_id", "rating", "side", "title", "age", "utility", "rating_weight", "head"),
    ]
)
PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, 1, -1, 2**53, 2**63 - 1, 2**63, -(2**63), 10**25, 893_276_091]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(alphabet=st.characters(codec="utf-8"), max_size=8),
    st.sampled_from(["1", "50", "1998-04-01", "year >= 1990", "title"]),
)
ANY = st.recursive(
    PLAIN,
    lambda more: st.lists(more, max_size=4) | st.dictionaries(NAMES, more, max_size=4),
    max_leaves=12,
)


@settings(max_examples=40)
@given(
    path=st.sampled_from(["recommend", "recommend", "score", "rank", "admin/rollback"]),
    body=st.dictionaries(NAMES, ANY, max_size=5) | ANY,
)
def test_no_body_is_a_fault(client: Any, path: str, body: Any) -> None:
    answer = client.post(f"/v1/{path}", content=json.dumps(body), headers=JSON)
    if answer.status_code != 200:
        assert answer.status_code in (400, 409, 422), answer.text
        refused(answer, answer.status_code)


# What is logged


def test_no_line_of_the_log_holds_an_id(
    serve: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    client = serve(log="all", events=str(tmp_path / "e.db"))
    for path in (
        "recommend/",
        "items/",
        "users/",
        f"items/{PEER}/similar?side=",
        "nowhere/",
        "items?q=",
        "items?",
    ):
        client.get(f"/v1/{path}{PEER}", headers={"authorization": PEER, "x-request-id": f"{PEER}!"})
    for body in (
        {"user_id": PEER},
        {"user_id": PEER, "k": PEER},
        {"user_id": PEER, PEER: 1},
        {"user_id": PEER, "only": [PEER]},
        {"user_id": PEER, "where": PEER},
        {"queries": [{"history": [PEER]}]},
    ):
        client.post("/v1/recommend", json=body)
    client.post("/v1/events", json={"event_id": PEER, "user_id": PEER, "item_id": PEER})
    client.post("/v1/events", json={"event_id": PEER, "user_id": PEER, "item_id": PEER, "rating": 77})

    def fails(self: Any, *args: Any) -> Any:
        raise KeyError(PEER)

    monkeypatch.setattr(Variants, "of", fails)
    assert client.post("/v1/recommend", json={"user_id": PEER}).status_code == 500
    lines = [Lines().format(record) for record in caplog.records if record.name != "httpx"]
    assert sum('"route"' in line for line in lines) >= 16 and any("KeyError" in line for line in lines)
    assert not [line for line in lines if PEER in line]
    for line in lines:
        assert isinstance(json.loads(line), dict) and "\n" not in line
    for name in ("asyncio", "uvicorn.error", "py.warnings"):
        foreign = logging.LogRecord(name, logging.ERROR, "", 0, f"Task <future {PEER!r}> failed", None, None)
        assert PEER not in Lines().format(foreign)
