"""The document that describes the interface says all of it, and so does its page, without asking anybody."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import pytest

from shortlist.server.guards import ADMIN
from shortlist.server.routes.describing import document
from shortlist.server.routes.table import operations


def listed() -> list[tuple[str, str, dict[str, Any]]]:
    paths = document()["paths"]
    return [(method, path, one) for path, methods in paths.items() for method, one in methods.items()]


def test_every_route_is_there_once_and_says_what_it_does() -> None:
    names = [one["operationId"] for _, _, one in listed()]
    assert sorted(names) == sorted(one.name for one in operations()) and len(set(names)) == len(names)
    for method, path, one in listed():
        assert one["summary"].endswith("."), (method, path)
        assert sorted(re.findall(r"\{(\w+)\}", path)) == sorted(
            given["name"] for given in one["parameters"] if given["in"] == "path"
        )


def test_every_field_and_parameter_is_described() -> None:
    """shortlist/server/routes/wording.py is where a phrase for a new one goes."""
    without = [
        f"{name}.{field}"
        for name, schema in document()["components"]["schemas"].items()
        for field, about in schema.get("properties", {}).items()
        if not about.get("description")
    ]
    without += [
        f"{path}?{given['name']}"
        for _, path, one in listed()
        for given in one["parameters"]
        if not given["description"]
    ]
    without += [n for n, s in document()["components"]["schemas"].items() if not s.get("description")]
    assert not without


def test_every_refusal_is_a_problem_and_says_when_to_come_again() -> None:
    by_name = {one.name: one for one in operations()}
    for method, path, one in listed():
        answers = one["responses"]
        assert {"200", "400", "408", "414", "431", "500", "503"} <= set(answers), (method, path)
        for status, answer in answers.items():
            if not status.startswith("2"):
                assert list(answer["content"]) == ["application/problem+json"]
        assert "Retry-After" in answers["503"]["headers"]
        asked = by_name[one["operationId"]]
        assert ("413" in answers) == ("415" in answers) == (asked.method == "POST")
        assert ("401" in answers) == bool(asked.role) and ("403" in answers) == (asked.role == ADMIN)
        assert ({"bearer": []} in one["security"]) == bool(asked.role)


def test_all_that_is_referred_to_is_there() -> None:
    text = json.dumps(document())
    known = document()["components"]["schemas"]
    assert set(re.findall(r'"#/components/schemas/([^"]+)"', text)) <= set(known)


def test_the_page_shows_it_all_and_asks_nobody(client: Any) -> None:
    page = client.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src" not in policy and "unsafe" not in policy
    [style] = re.findall(r"<style>(.*?)</style>", page.text, re.DOTALL)
    digest = b64encode(sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy and " style=" not in page.text
    assert "<script" not in page.text and not re.search(r"""(src|href)=['"]?(https?:)?//""", page.text)
    for method, path, one in listed():
        assert f"{method.upper()} {path}" in page.text
        for given in one["parameters"]:
            assert given["name"] in page.text
    described = client.get("/openapi.json")
    assert described.headers["content-type"] == "application/json" and described.json() == document()


class Page(HTMLParser):
    """What a person reads: rows of each table by its caption, and what is to be known of the markup."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.ids: list[str] = []
        self.links: list[str] = []
        self.levels: list[int] = []
        self.regions: list[dict[str, Any]] = []
        self._inside: list[str] = []
        self._words = self._caption = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        about = dict(attributes)
        self.ids += [about["id"]] if "id" in about else []
        self.links += [about["href"]] if tag == "a" else []
        self.levels += [int(tag[1])] if tag in ("h1", "h2", "h3") else []
        self.regions += [about] if about.get("class") == "scroll" else []
        assert tag != "th" or about["scope"] in ("col", "row")
        assert tag not in ("script", "img", "link", "iframe", "form") and not any(
            n[:2] == "on" for n in about
        )
        if tag in ("caption", "th", "td"):
            self._words = ""
        if tag == "tr":
            self.tables[self._caption].append([])

    def handle_data(self, data: str) -> None:
        self._words += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "caption":
            self._caption = self._words
            assert self._caption not in self.tables
            self.tables[self._caption] = []
        elif tag in ("th", "td"):
            self.tables[self._caption][-1].append(self._words)


def test_the_page_tells_every_field(client: Any) -> None:
    """Of what is sent and of what is answered: its type, whether it must be given, its limits, what it is."""
    page, schemas = Page(client.get("/docs").text), document()["components"]["schemas"]
    for name, schema in schemas.items():
        if not schema.get("properties"):
            continue
        rows = {row[0]: row[1:] for row in page.tables[f"Fields of {name}"][1:]}
        assert set(rows) == set(schema["properties"])
        for field, about in schema["properties"].items():
            kind, left_out, _, said = rows[field]
            assert kind and said == about["description"].replace("`", "")
            assert (left_out == "required") == (field in schema.get("required", ()))
    fields = {row[0]: row[1:] for row in page.tables["Fields of Recommend"]}
    assert fields["k"][:3] == ["whole number", "10", "1 to 1,000"]
    assert fields["utility"][0] == "Weights or null" and fields["queries"][:1] == ["list of Query"]
    assert fields["only"][2].startswith("at most 10,000 entries; each: 1 to 512 characters")
    for method, path, one in listed():
        answers = page.tables[f"Answers of {method.upper()} {path}"][1:]
        assert [row[0] for row in answers] == sorted(one["responses"])
        given = page.tables.get(f"Parameters of {method.upper()} {path}", [[]])[1:]
        assert [row[0].strip("{}?=") for row in given] == [p["name"] for p in one["parameters"]]


def test_the_page_is_one_to_move_about_in(client: Any) -> None:
    text = client.get("/docs").text
    page = Page(text)
    assert len(set(page.ids)) == len(page.ids)
    assert {one[1:] for one in page.links if one[0] == "#"} <= set(page.ids)
    assert {one for one in page.links if one[0] != "#"} == {"openapi.json"}
    assert page.levels[0] == 1 and page.levels.count(1) == 1
    assert all(later <= before + 1 for before, later in pairwise(page.levels))
    assert all(
        one["tabindex"] == "0" and one["role"] == "region" and one["aria-label"] for one in page.regions
    )
    labels = [one["aria-label"] for one in page.regions]
    assert len(set(labels)) == len(labels)
    assert "<html lang=en>" in text and "<main" in text and "<nav" in text


def test_examples_are_answered(client: Any) -> None:
    for method, path, one in listed():
        if "requestBody" in one and one["operationId"] != "reload":
            [about] = one["requestBody"]["content"].values()
            answer = client.request(method, path, json=about["example"])
            assert answer.status_code == {"events": 404, "rollback": 409}.get(one["operationId"], 200), path


@pytest.mark.parametrize("name", ["where", "q", "user_id", "item_id"])
def test_limits_are_told(name: str) -> None:
    found = [given for _, _, one in listed() for given in one["parameters"] if given["name"] == name]
    assert found and all("maxLength" in given["schema"] for given in found)
