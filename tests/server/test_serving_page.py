"""What docs/guides/serving.md says of a server is so: what it asks is answered in the shape it shows, its
tables are complete, its limits are those in force. (`make test-deploy` asks the demo's bundle with curl.)"""

from __future__ import annotations

import asyncio
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from shortlist.server import wire
from shortlist.server.app import make_app, make_board
from shortlist.server.routes import describing
from shortlist.server.routes.table import operations
from shortlist.server.service import Service
from shortlist.server.settings import Settings, Side

ROOT = Path(__file__).resolve().parents[2]


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"tools_{name}", ROOT / "tools" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


asked = tool("asked")
PAGE = asked.PAGE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def answers(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """What a server says to a command, and to a GET of a path; no process, no network."""
    place = tmp_path_factory.mktemp("events")
    settings = Settings(sides=(Side(name="a", path=bundle),), events=str(place / "events.db"), watch=0.0)
    service = Service(settings, make_board(settings))
    loop = asyncio.new_event_loop()
    transport = httpx.ASGITransport(app=make_app(service))
    client = httpx.AsyncClient(transport=transport, base_url=asked.HERE)

    def ask(command: list[str]) -> Any:
        method, path, body = asked.request(command)
        headers = {} if body is None else {"content-type": "application/json"}
        answer = loop.run_until_complete(client.request(method, path, content=body, headers=headers))
        return answer.json() if "json" in answer.headers["content-type"] else answer.text

    yield ask
    loop.run_until_complete(client.aclose())
    loop.run_until_complete(service.stop())
    loop.close()


def test_what_the_page_asks_is_answered_as_it_shows(answers: Any) -> None:
    exchanges = list(asked.exchanges(PAGE))
    assert len(exchanges) >= 12
    for one in exchanges:
        assert not list(asked.differences(answers(one.command), one.answer, values=False)), one.command


def test_what_differs_is_found() -> None:
    shown = {"items": [{"item_id": "1", "score": 1.0}]}
    for found in ({"items": [{"item_id": "1"}]}, {"items": [{"item_id": 1, "score": 1.0}]}, {"items": {}}):
        assert list(asked.differences(found, shown, values=False))
    assert not list(asked.differences({"items": [{"item_id": "2", "score": 3}]}, shown, values=False))
    assert list(asked.differences({"items": [{"item_id": "2", "score": 1.0}]}, shown, values=True))
    assert list(asked.differences({"items": [{"item_id": "1", "score": 1.1}]}, shown, values=True))
    assert not list(asked.differences({"items": [{"item_id": "1", "score": 1.01}]}, shown, values=True))


def test_the_page_names_every_route() -> None:
    told = set(re.findall(r"`(GET|POST) (/[^`]*)`", PAGE.partition("## Every route")[2].partition("## ")[0]))
    there = {(one.method, re.sub(r":path\}", "}", one.path)) for one in operations()}
    assert told == {one for one in there if not one[1].startswith("/ui")}


def test_the_page_explains_every_field_of_a_query() -> None:
    table = PAGE.partition("| field |")[2].partition("\n\n")[0]
    told = {
        name
        for line in table.splitlines()
        for name in re.findall(r"`(\w+)`", line.split("|")[1:2][0] if "|" in line else "")
    }
    assert told == set(wire.Query.__struct_fields__)


def test_the_limits_are_those_in_force() -> None:
    settings = Settings(sides=())
    in_force = [
        *(settings.body_bytes, settings.seconds, settings.concurrency, settings.batch),
        *(
            wire.MOST_K,
            wire.MOST_QUERIES,
            wire.MOST_ITEMS,
            wire.MOST_ROWS,
            wire.MOST_EVENTS,
            wire.MOST_HISTORY,
        ),
        *(wire.MOST_LISTED, wire.LONGEST_ID, wire.LONGEST_WHERE, wire.MOST_EXPLAINED),
    ]
    table = PAGE.partition("## Limits")[2].partition("## ")[0]
    assert [int(text.replace(",", "")) for text in re.findall(r"\| ([\d,]+) \|", table)] == in_force


def test_the_counts_it_tells_of_are_counted(answers: Any) -> None:
    text = answers(["curl", "-s", f"{asked.HERE}/metrics"])
    there = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    told = set(re.findall(r"`(shortlist_\w+)`", PAGE)) - {"shortlist_bundle_1_info"}
    assert told == {name for name in there if name.startswith("shortlist_")}


def test_every_status_is_told_of() -> None:
    table = PAGE.partition("| status |")[2].partition("\n\n")[0]
    told = set(re.findall(r"\b([45]\d\d)\b", table))
    assert set(describing._STATUSES) <= told
