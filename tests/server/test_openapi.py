"""The document that describes the interface says all of it, and so does its page, without asking anybody."""

from __future__ import annotations

import json
import re
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
        assert {"200", "400", "408", "414", "431", "503"} <= set(answers), (method, path)
        for status, answer in answers.items():
            if status != "200":
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
    assert "default-src 'none'" in policy and "script-src" not in policy
    assert "<script" not in page.text and not re.search(r"""(src|href)=['"]?(https?:)?//""", page.text)
    for method, path, one in listed():
        assert f"{method.upper()} {path}" in page.text
        for given in one["parameters"]:
            assert given["name"] in page.text
    described = client.get("/openapi.json")
    assert described.headers["content-type"] == "application/json" and described.json() == document()


@pytest.mark.parametrize("name", ["where", "q", "user_id", "item_id"])
def test_limits_are_told(name: str) -> None:
    found = [given for _, _, one in listed() for given in one["parameters"] if given["name"] == name]
    assert found and all("maxLength" in given["schema"] for given in found)
