"""Keys, limits, hosts; what is logged; health, counts and the description of it all."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from shortlist.errors import ShortlistError
from shortlist.server.guards import ADMIN, USE, Guard, Keys, add_key
from shortlist.server.problems import Trouble
from shortlist.server.running import require_safe
from shortlist.server.settings import Settings

JSON = {"content-type": "application/json"}


def test_keys_open_what_they_are_for(serve: Any, tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    use, admin = add_key(file, "shop"), add_key(file, "me", ADMIN)
    assert use not in file.read_text() and file.stat().st_mode & 0o077 == 0
    client: Any = serve(keys=file)
    assert client.get("/v1/items").status_code == 401
    assert client.get("/v1/items", headers={"authorization": "Bearer wrong"}).status_code == 401
    assert client.get("/metrics").status_code == 401
    assert client.get("/health/ready").status_code == 200
    for headers in (
        {"authorization": f"Bearer {use}"},
        {"x-api-key": use},
        {"authorization": f"bearer {use}"},
    ):
        assert client.get("/v1/items", headers=headers).status_code == 200
    assert client.post("/v1/admin/reload", json={}, headers={"x-api-key": use}).status_code == 403
    assert client.post("/v1/admin/reload", json={}, headers={"x-api-key": admin}).status_code == 200


def test_a_file_of_keys_is_checked(tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    file.write_text("# nothing\n")
    with pytest.raises(ShortlistError, match="holds no key"):
        Keys.read(file)
    file.write_text("use shop 12ab\n")
    with pytest.raises(ShortlistError, match="line 1"):
        Keys.read(file)
    with pytest.raises(ShortlistError, match="one word"):
        add_key(file, "two words")


def test_who_may_be_reached_needs_keys() -> None:
    with pytest.raises(ShortlistError, match="no keys"):
        require_safe(Settings(sides=(), host="0.0.0.0"))
    require_safe(Settings(sides=(), host="0.0.0.0", open=True))
    require_safe(Settings(sides=()))


def test_a_page_elsewhere_cannot_ask(client: Any) -> None:
    assert client.get("/v1/items", headers={"host": "evil.example"}).status_code == 421
    assert client.get("/v1/items", headers={"host": "localhost:8000"}).status_code == 200
    simple = client.post("/v1/admin/reload", content="{}", headers={"content-type": "text/plain"})
    assert simple.status_code == 415
    assert (
        "access-control-allow-origin" not in client.get("/v1/items", headers={"origin": "http://x"}).headers
    )


def test_a_host_is_a_name_and_perhaps_a_port() -> None:
    guard = Guard(Settings(sides=()))
    for host in (b"localhost", b"LOCALHOST:80", b"127.0.0.1:8000", b"localhost:", b"[::1]", b"[::1]:8000"):
        guard.require({b"host": host}, USE)
    for host in (
        *(
            b"localhost:80@evil.com",
            b"localhost:evil.com",
            b"localhost@evil.com",
            b"evil.com:80",
            b"evil.com",
        ),
        *(
            b"[127.0.0.1]evil",
            b"[::1]evil:80",
            b"[::1",
            b"::1",
            b"::1:80",
            b"[localhost]",
            b"localhost:80:80",
        ),
        *(b"127.0.0.1:80:evil", b"localhost/evil", b"localhost\xa0", b" localhost", b"", b":80", b"[]"),
        *(b"localhost\n", b"localhost.evil.com", b"localhost,evil.com", b"localhost:\xb2"),
    ):
        with pytest.raises(Trouble) as refused:
            guard.require({b"host": host}, USE)
        assert refused.value.status == 421, host
    guard = Guard(Settings(sides=(), hosts=("shop_1.Example",)))
    guard.require({b"host": b"shop_1.example:443"}, USE)
    with pytest.raises(Trouble, match="this server is not 'localhost'"):
        guard.require({b"host": b"localhost:80"}, USE)


def test_named_pages_may_ask(serve: Any) -> None:
    client = serve(origins=("http://shop.example",))
    shop = {"origin": "http://shop.example"}
    wanted = {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    found = client.get("/v1/items", headers=shop)
    assert found.headers["access-control-allow-origin"] == "http://shop.example"
    assert "access-control-allow-credentials" not in found.headers
    preflight = client.request("OPTIONS", "/v1/recommend", headers={**shop, **wanted})
    assert preflight.status_code == 204 and not preflight.content
    assert preflight.headers["access-control-allow-methods"] == "GET, POST"
    assert "Content-Type" in preflight.headers["access-control-allow-headers"]
    problem = client.post("/v1/recommend", json={"k": 0}, headers=shop)
    assert problem.status_code == 422
    assert problem.headers["access-control-allow-origin"] == "http://shop.example"
    for other in (
        "http://shop.example.evil",
        "https://shop.example",
        "http://shop.example:81",
        "null",
        "*",
        "",
    ):
        for method, more in (("GET", {}), ("OPTIONS", wanted)):
            answer = client.request(method, "/v1/items", headers={"origin": other, **more})
            assert "access-control-allow-origin" not in answer.headers and answer.headers["vary"] == "Origin"
            assert answer.status_code == (403 if more else 200)
    assert client.get("/v1/items").headers["vary"] == "Origin"


def test_who_comes_from_elsewhere_is_no_administrator_without_a_key(serve: Any) -> None:
    client = serve()
    for header in ("x-forwarded-for", "forwarded", "via", "x-real-ip"):
        assert client.post("/v1/admin/reload", json={}, headers={header: "1.2.3.4"}).status_code == 403
        assert client.get("/v1/items", headers={header: "1.2.3.4"}).status_code == 200
    assert serve(open=True).post("/v1/admin/rollback", json={}).status_code == 403
    assert serve(open=True, host="0.0.0.0").post("/v1/admin/rollback", json={}).status_code == 403


def test_health_is_told_to_whoever_asks(serve: Any, tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    add_key(file, "shop")
    client = serve(keys=file, hosts=("shop.example",))
    for path in ("/health/live", "/health/ready"):
        assert client.get(path, headers={"host": "10.0.0.7:8000"}).status_code == 200
    assert client.get("/v1/items", headers={"host": "10.0.0.7:8000"}).status_code == 421


def test_a_key_is_added_below_a_line_without_end(tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    first = add_key(file, "one")
    file.write_text(file.read_text().rstrip("\n"))
    second = add_key(file, "two")
    keys = Keys.read(file)
    assert [keys.role({b"x-api-key": key.encode()}) for key in (first, second)] == ["use", "use"]


def test_what_waits_too_long_is_told_when_to_come_again(serve: Any) -> None:
    refused = serve(seconds=-1.0).post("/v1/recommend", json={"user_id": "1"})
    assert refused.status_code == 503 and refused.headers["retry-after"] == "1"


def test_bodies_on_their_way_are_bounded_together(serve: Any) -> None:
    client = serve(body_bytes=1_000)
    client.service.guard.held = 64 * 1_000

    async def chunks() -> AsyncIterator[bytes]:
        yield b" " * 500
        yield b" " * 500

    refused = client.post("/v1/recommend", content=chunks(), headers=JSON)
    assert refused.status_code == 503 and refused.headers["retry-after"] == "1"
    assert client.service.guard.held == 64 * 1_000


def test_long_bodies_and_too_many_requests(serve: Any) -> None:
    client = serve(body_bytes=1000, concurrency=1)
    assert client.post("/v1/recommend", content=b"x" * 1001, headers=JSON).status_code == 413

    async def chunks() -> AsyncIterator[bytes]:
        yield b"x" * 600
        yield b"x" * 600

    assert client.post("/v1/recommend", content=chunks(), headers=JSON).status_code == 413
    client.service.guard.inside = 1
    refused = client.get("/v1/items")
    assert refused.status_code == 503 and refused.headers["retry-after"] == "1"
    assert client.get("/health/live").status_code == 200
    client.service.guard.inside = 0
    assert client.get("/v1/items").status_code == 200
    assert client.service.guard.inside == 0


def test_a_slow_body_is_given_up(serve: Any) -> None:
    client = serve(body_seconds=0.05)

    async def slowly() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(5)
        yield b"}"

    assert client.post("/v1/recommend", content=slowly(), headers=JSON).status_code == 408
    assert client.service.guard.inside == 0


def test_stopping_is_told(serve: Any) -> None:
    client = serve()
    assert client.get("/health/ready").status_code == 200
    client.service.draining = True
    assert client.get("/health/ready").status_code == 503
    assert client.get("/v1/items").status_code == 200, "what still comes is answered"


def test_logs_hold_no_ids(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    serve(log="all").get("/v1/recommend/secret-user", headers={"x-request-id": "r-1"})
    [line] = [json.loads(r.message) for r in caplog.records if "recommend_user" in r.message]
    assert line["status"] == 200 and line["request_id"] == "r-1"
    assert "secret-user" not in json.dumps(line)
    caplog.clear()
    serve(log="all", log_ids=True).get("/v1/recommend/secret-user")
    assert any(json.loads(r.message).get("path") for r in caplog.records if "recommend_user" in r.message)


def test_counts(serve: Any) -> None:
    client = serve()
    for _ in range(3):
        client.post("/v1/recommend", json={"user_id": "nobody"})
    client.post("/v1/recommend", json={"k": 0})
    text = client.get("/metrics").text
    for line in (
        'shortlist_requests_total{route="recommend",status="2xx"} 3.0',
        'shortlist_requests_total{route="recommend",status="4xx"} 1.0',
        'shortlist_request_seconds_count{route="recommend"} 4.0',
        'shortlist_variant_popular_total{variant="a"} 3.0',
        "shortlist_queries_total 3.0",
    ):
        assert line in text, line
