"""Pictures for the documentation: `make test-browser PICTURES=1` writes them into docs/images/explorer."""

from __future__ import annotations

import re
from typing import Any

import pytest

SIZE = {"width": 1180, "height": 760}
SMALLER = {"width": 1000, "height": 640}
PLACES = {
    "shortlist": ("#/shortlist?user=42", "light"),
    "map": ("#/map?mapBy=genres&item=50", "dark"),
    "evaluation": ("#/evaluation", "light"),
    "catalogue": ("#/catalogue?catQ=star&catWhere=year%20%3E%3D%201970", "light"),
    "item": ("#/item?item=50", "light"),
}


@pytest.mark.parametrize("name", PLACES)
def test_a_view(visit: Any, server: Any, settled: Any, picture: Any, name: str) -> None:
    place, theme = PLACES[name]
    page = visit(server, place, theme=theme, **SIZE)
    settled(page)
    picture(page, name)


def test_why(visit: Any, server: Any, settled: Any, picture: Any) -> None:
    page = visit(server, "#/shortlist?user=42", **SMALLER)
    settled(page)
    page.locator(".list-row").first.get_by_role("button", name=re.compile("^Why ")).click()
    page.wait_for_selector(".why[data-state=ready]")
    settled(page)
    page.locator(".list").evaluate("one => one.scrollIntoView({block: 'start'})")
    picture(page, "why")


def test_two_bundles(visit: Any, pair: Any, settled: Any, picture: Any) -> None:
    """For the one of some users to whom they recommend most alike: there is most to see."""
    users = [row["user_id"] for row in pair.ask("/v1/users?limit=50")["rows"]]
    queries = [{"user_id": user, "k": 10} for user in users]
    found = [
        pair.ask("/v1/recommend", {"queries": [{**one, "side": side} for one in queries]}) for side in "ab"
    ]
    alike = [
        len({item["item_id"] for item in one["items"]} & {item["item_id"] for item in other["items"]})
        for one, other in zip(found[0]["results"], found[1]["results"], strict=True)
    ]
    user = users[alike.index(max(alike))]
    page = visit(pair, f"#/compare?user={user}", **SMALLER)
    page.wait_for_selector(".compare-table")
    settled(page)
    page.locator(".compare").evaluate("one => one.scrollIntoView({block: 'start'})")
    picture(page, "compare")


def test_a_phone(visit: Any, server: Any, settled: Any, picture: Any) -> None:
    page = visit(server, "#/shortlist?user=42", width=390, height=780, theme="dark")
    settled(page)
    picture(page, "phone")
