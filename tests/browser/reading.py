"""What tests read from the explorer's pages, and ask the interface for beside them."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


def number(text: str) -> float:
    """A figure as the page writes it: a true minus, a sign, whatever stands behind it."""
    found = re.search(r"-?\d+(\.\d+)?", text.replace("−", "-").replace(",", ""))
    assert found, text
    return float(found[0])


def rank_told(text: str) -> int | None:
    return None if "gone" in text else int(number(text))


def listed(page: Any) -> list[str]:
    return [row.get_attribute("data-id") for row in page.locator(".list-row").all()]


@contextmanager
def asked(page: Any, settled: Any) -> Iterator[dict[str, Any]]:
    """What happens inside makes the page ask for a shortlist. Gives the request, once it is answered."""
    found: dict[str, Any] = {}
    with page.expect_response(lambda one: one.url.endswith("/v1/recommend") and one.ok) as answer:
        yield found
    found.update(answer.value.request.post_data_json)
    settled(page)


def require_list(page: Any, server: Any, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The page's table is the answer to a request, in all its figures."""
    items = server.ask("/v1/recommend", body)["items"]
    assert listed(page) == [item["item_id"] for item in items]
    for row, item in zip(page.locator(".list-row").all(), items, strict=True):
        cell = {name: row.locator(f".list-{name}") for name in ("rank", "item", "move", "rated", "score")}
        assert cell["rank"].inner_text().strip() == str(item["rank"])
        assert item["title"] in cell["item"].inner_text()
        assert number(cell["move"].inner_text()) == item["retrieval_rank"]
        assert number(cell["rated"].inner_text()) == pytest.approx(item["rating"], abs=0.0051)
        assert number(cell["score"].inner_text()) == pytest.approx(item["score"], abs=0.0051)
        found = row.locator(".list-retrieval").text_content()
        assert number(found) == pytest.approx(item["retrieval_score"], abs=0.0051)
        assert row.locator(".list-source").text_content() == item["source"]
    return items


def past(server: Any, user: str) -> list[dict[str, Any]]:
    return server.ask(f"/v1/users/{quote(user, safe='')}?limit=2000")["history"]


def not_had(server: Any, user: str) -> str:
    """The most popular item that is not in a user's history."""
    had = {row["item_id"] for row in past(server, user)}
    rows = server.ask("/v1/items?order=popular&limit=200")["rows"]
    return next(row["item_id"] for row in rows if row["item_id"] not in had)


def told(history: list[dict[str, Any]]) -> dict[str, Any]:
    """A history as a request tells it; times and ratings where its rows have them."""
    found: dict[str, Any] = {"history": [row["item_id"] for row in history]}
    for name in ("timestamp", "rating"):
        if history and all(name in row for row in history):
            found[f"history_{name}"] = [row[name] for row in history]
    return found


def require_side(page: Any, n: int, answer: dict[str, Any], head: str = "rating") -> None:
    """The n-th list of two is an answer, in all its figures."""
    table = page.locator(".compare-table").nth(n)
    assert answer["bundle"] in table.locator("caption").inner_text()
    for row, item in zip(table.locator("tbody tr").all(), answer["items"], strict=True):
        assert row.get_attribute("data-id") == item["item_id"]
        rank, _, score = row.locator("td").all_inner_texts()
        assert rank == str(item["rank"])
        assert number(score) == pytest.approx(item["score"], abs=0.0051)
        shown = row.locator(".compare-rated")
        assert shown.count() == (head in item)
        if head in item:
            assert number(shown.inner_text()) == pytest.approx(item[head], abs=0.0051)
