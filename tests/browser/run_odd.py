"""Retrieval alone, no columns, ids and titles of any characters: `make test-browser`."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

import pytest
from make_worlds import LONG, NAMES, USERS
from reading import asked, listed, number, past

BARE = {
    "shortlist": ("#/shortlist?user=u1", ".list-body"),
    "shortlist of somebody new": ("#/shortlist", ".list-body"),
    "catalogue": ("#/catalogue", ".catalogue-rows"),
    "item": ("#/item?item=i7", ".item-near"),
    "map": ("#/map?item=i7", ".map-place"),
    "evaluation": ("#/evaluation", ".evaluation-body"),
    "compare": ("#/compare", "[data-panel=compare] .panel"),
}
LONGEST = max(NAMES, key=len)


def place(view: str, **state: str) -> str:
    """An address with values of any characters."""
    return f"#/{view}?" + "&".join(f"{name}={quote(value, safe='')}" for name, value in state.items())


def require_room(page: Any, settled: Any) -> None:
    """Nothing goes beyond the page, on a phone or beside it."""
    for width in (320, 768, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        settled(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("name", BARE)
def test_every_view_of_a_bundle_of_ids_alone(
    visit: Any, bare: Any, settled: Any, axe: Any, name: str
) -> None:
    """Nothing is offered that has no effect, nothing is shown that is not there."""
    address, part = BARE[name]
    page = visit(bare, address)
    settled(page)
    assert page.locator(part).get_attribute("data-state") == ("empty" if name == "compare" else "ready")
    assert not page.locator("[data-state=error]").count()
    told = page.locator("main").inner_text()
    assert not re.search(r"undefined|NaN|\bnull\b(?! ?×)|\[object", told.replace("\nnull\n", ""))
    for label in ("Only where", "Filter by columns", "Weight of the rating"):
        assert not page.get_by_label(label).count()
    assert not page.get_by_text("About the person").count()
    if name == "evaluation":
        assert "No verdict: the run has no baselines" in told
    require_room(page, settled)
    if name in ("shortlist", "catalogue", "map"):
        assert not axe(page)


def test_the_shortlist_of_retrieval_alone(visit: Any, bare: Any, settled: Any) -> None:
    page = visit(bare, "#/shortlist?user=u1")
    settled(page)
    items = bare.ask("/v1/recommend", {"user_id": "u1"})["items"]
    assert listed(page) == [item["item_id"] for item in items]
    for row, item in zip(page.locator(".list-row").all(), items, strict=True):
        assert number(row.locator(".list-score").inner_text()) == pytest.approx(item["score"], abs=0.0051)
    assert page.locator(".list-move, .list-rated, .list-retrieval").count() == 0  # all that is the score
    with asked(page, settled) as body:
        page.get_by_role("button", name=re.compile("^Take ")).first.click()
    assert body["history"] == [row["item_id"] for row in past(bare, "u1")][1:]
    assert listed(page) == [item["item_id"] for item in bare.ask("/v1/recommend", body)["items"]]


def test_the_catalogue_and_the_map_of_ids_alone(visit: Any, bare: Any, settled: Any) -> None:
    page = visit(bare, "#/catalogue")
    settled(page)
    rows = bare.ask("/v1/items?limit=20")["rows"]
    assert page.locator(".catalogue-table tbody th").all_inner_texts() == [row["item_id"] for row in rows]
    shares = page.locator(".catalogue-table tbody td").all_inner_texts()
    assert shares == [f"{100 * row['popularity']:.2f} %" for row in rows]
    page.goto(f"{bare.url}/#/map")
    page.wait_for_selector(".map-canvas")
    settled(page)
    assert page.get_by_label("Colour by").locator("option").all_inner_texts() == ["nothing"]
    assert page.locator(".map-legend").count() == 0
    total = bare.ask("/v1/map")["total"]
    page.locator(".map-list caption", has_text=f"of {total} items in view").wait_for()


def test_users_of_any_characters(visit: Any, odd: Any, settled: Any) -> None:
    page = visit(odd, "")
    settled(page)
    for user in USERS:
        field = page.get_by_role("combobox", name="User")
        field.fill(user)
        page.locator(".combobox-option").first.get_by_text(user, exact=True).wait_for()
        with asked(page, settled) as body:
            page.keyboard.press("ArrowDown")
            page.keyboard.press("Enter")
        assert body["user_id"] == user
        assert listed(page) == [item["item_id"] for item in odd.ask("/v1/recommend", body)["items"]]
        had = [row["item_id"] for row in past(odd, user)]
        assert [one.get_attribute("data-id") for one in page.locator(".history-entry").all()] == had
        address = page.url
        page.reload()
        settled(page)
        assert page.url == address and field.input_value() == user


def test_items_of_any_characters(visit: Any, odd: Any, settled: Any) -> None:
    """By a link of the catalogue, with what is like them, left out of a list and put into a history."""
    page = visit(odd, "#/catalogue?catSize=100")
    settled(page)
    links = {
        link.inner_text(): link.get_attribute("href")
        for link in page.locator(".catalogue-table tbody a").all()
    }
    for item, title in NAMES.items():
        name = re.sub(" +", " ", title) or item  # as it is laid out
        page.goto(f"{odd.url}/{links[name]}")
        page.locator(".item-name").get_by_text(name, exact=True).wait_for()
        settled(page)
        assert page.locator(".item-columns dd").first.text_content() == item
        near = odd.ask(f"/v1/items/{quote(item, safe='')}/similar?k=10")["items"]
        assert page.locator(".item-similar tbody tr").count() == len(near) == 10
    many = {"with": LONGEST, "exclude": "שלום", "where": "`list price` >= 5", "why": "#hash"}
    page.goto(f"{odd.url}/{place('shortlist', **many)}")
    page.wait_for_selector(".list-row")
    settled(page)
    assert page.locator(".controls-excluded").inner_text().startswith("Left out\nשלום לכולם")
    assert [one.get_attribute("data-id") for one in page.locator(".history-entry").all()] == [LONGEST]
    assert "שלום" not in listed(page)


def test_an_item_without_a_title_has_its_id(visit: Any, odd: Any, settled: Any) -> None:
    page = visit(odd, place("map", item="#hash"))
    page.locator(".map-looked a", has_text="#hash").wait_for()
    settled(page)
    page.locator(".map-list tbody th").first.wait_for()
    texts = page.locator(".map-list tbody th").all_inner_texts()
    assert all(texts) and "#hash" in texts


def test_long_names_have_room(visit: Any, odd: Any, settled: Any) -> None:
    """In the list and its reasons, the history, the catalogue, an item, the map."""
    page = visit(odd, place("shortlist", user=USERS[-1], k="50", seen="1", why=LONGEST))
    page.wait_for_selector(".why[data-state=ready]")
    require_room(page, settled)
    page.set_viewport_size({"width": 1280, "height": 900})
    # What is cut short in a narrow column is told whole.
    link = page.locator(".list-row .item-cell-name", has_text=LONG[:20])
    assert link.get_attribute("title") == LONG
    for address in (place("item", item=LONGEST), place("map", item=LONGEST), "#/catalogue?catSize=100"):
        page.goto(f"{odd.url}/{address}")
        page.wait_for_selector(f"main[data-route={address[2:].split('?')[0]}]")
        settled(page)
        require_room(page, settled)
    region = page.get_by_role("region", name="Items, as a table")
    assert region.evaluate("one => one.scrollWidth <= one.clientWidth")  # all columns are seen


def test_figures_do_not_run_into_each_other(visit: Any, server: Any, settled: Any) -> None:
    """The reasons on a phone: a change, and the ranks beside it."""
    page = visit(server, "#/shortlist?user=42", width=320)
    settled(page)
    page.get_by_role("button", name=re.compile("^Why ")).first.click()
    page.wait_for_selector(".why[data-state=ready]")
    code = """() => [...document.querySelectorAll(".why .bars tr")].every(row => {
      const ends = [...row.cells].filter(cell => cell.offsetParent).map(cell => {
        const range = document.createRange();
        range.selectNodeContents(cell);
        return range.getBoundingClientRect();
      }).filter(box => box.width > 0);
      return ends.every((box, n) => n === 0 || box.left >= ends[n - 1].right);
    })"""
    assert page.evaluate(code)


def test_what_is_written_from_right_to_left_turns_nothing_else(visit: Any, odd: Any, settled: Any) -> None:
    """Columns of an item stand in their order, whichever way each is written."""
    page = visit(odd, place("shortlist", user="u/1", k="50", where="genre == 'דרמה' and `list price` > 0"))
    settled(page)
    lines = page.locator(".list-row .item-cell-below").all()
    assert lines
    for line in lines:
        assert line.inner_text().startswith("דרמה · ")
        left = [one.bounding_box()["x"] for one in line.locator("bdi").all()]
        assert len(left) == 2 and left == sorted(left)
