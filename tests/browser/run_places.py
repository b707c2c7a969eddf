"""Addresses, and where a person is on a page: back, reload, links of another time, the keyboard's place.

Whatever stands in an address, the page is whole and says what it did not understand: `make test-browser`.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

import pytest
from reading import asked, listed, number, past

USER = "42"
ADDRESSES = {
    "k=abc": "A whole number from 1 to 1000",
    "k=5000": "A whole number from 1 to 1000",
    "at=yesterday": "yesterday",
    "about=age%3Dold": "old",
    "where=%27": "no closing quote",
    "weight=much": "",
    "about=%25%3D1": "",
    "about=nothing%3D1": "",
    "side=q": "",
    "with=50&rated=9": "",
    "with=no-such&without=no-such&exclude=no-such&why=no-such": "",
}
"""Settings nobody can make by hand, and what is said at the field; "": the rest of it counts."""
FOCUSED = "document.activeElement !== document.body"


@pytest.mark.parametrize("settings", ADDRESSES)
def test_an_address_that_is_not_understood(visit: Any, server: Any, settled: Any, settings: str) -> None:
    page = visit(server, f"#/shortlist?user={USER}&{settings}", expected=("422",))
    settled(page)
    assert page.locator(".history-entry").count() >= 20
    if said := ADDRESSES[settings]:
        error = page.locator(".field-error:not([hidden])", has_text=re.compile("."))
        assert said in error.inner_text()
        page.get_by_role("button", name="Reset").click()
        page.wait_for_selector(".list-row")
        settled(page)
    assert len(listed(page)) == 10


def test_there_is_no_view_of_such_a_name(visit: Any, server: Any) -> None:
    page = visit(server, "")
    for name in ("nowhere", "constructor", "__proto__"):
        page.goto(f"{server.url}/#/{name}")
        page.get_by_role("heading", name="Nothing here").wait_for()
        page.get_by_role("link", name="Go to the shortlist").click()
        page.wait_for_selector(".list-row")


def test_the_weight_of_an_address_is_the_one_that_is_said(visit: Any, server: Any, settled: Any) -> None:
    """Beyond the slider's ends too."""
    for weight, told in (("99", "99.0"), ("-2", "−2.0"), ("2.55", "2.55")):
        page = visit(server, f"#/shortlist?user={USER}&weight={weight}")
        settled(page)
        slider = page.get_by_label("Weight of the rating")
        assert float(slider.input_value()) == pytest.approx(float(weight), abs=0.0501)
        assert page.locator(".controls output").inner_text().startswith(f"{told} (")
        for row in page.locator(".list-row").all()[:4]:
            rated, score, found = (
                number(row.locator(f".list-{name}").text_content())
                for name in ("rated", "score", "retrieval")
            )
            assert score == pytest.approx(
                found + float(weight) * rated, abs=0.01 + 0.006 * abs(float(weight))
            )


def test_back_and_forward(visit: Any, server: Any, settled: Any) -> None:
    """From person to person: the field says whose list it is, though the keyboard is still in it."""
    page = visit(server, "")
    settled(page)
    field = page.get_by_role("combobox", name="User")
    for user in (USER, "7"):
        field.fill(user)
        with asked(page, settled):
            field.press("Enter")
    for step, user in ((page.go_back, USER), (page.go_back, ""), (page.go_forward, USER)):
        with asked(page, settled) as body:
            step()
        assert field.input_value() == user and body.get("user_id", "") == user
    page.locator(".nav").get_by_role("link", name="Map").click()
    page.wait_for_selector(".map-canvas")
    page.go_back()
    page.wait_for_selector(".list-row")
    settled(page)
    assert field.input_value() == USER
    items = server.ask("/v1/recommend", {"user_id": USER})["items"]
    assert listed(page) == [item["item_id"] for item in items]


def test_what_was_typed_and_not_chosen(visit: Any, server: Any, settled: Any) -> None:
    """It is not what the page shows, and does not stay as if it were."""
    page = visit(server, f"#/shortlist?user={USER}")
    settled(page)
    field = page.get_by_role("combobox", name="User")
    field.fill("1234")
    page.keyboard.press("Tab")
    assert field.input_value() == USER
    many = page.get_by_label("Items", exact=True)
    for text in ("", "0", "5000"):
        many.fill(text)
        page.locator(".field-error", has_text="A whole number").wait_for()
        page.keyboard.press("Tab")
        assert many.input_value() == "10" and many.get_attribute("aria-invalid") is None
    assert len(listed(page)) == 10


def test_a_link_of_two_bundles_on_a_server_of_one(visit: Any, server: Any, settled: Any) -> None:
    for place in ("#/evaluation?side=b", "#/item?item=50&side=b"):
        page = visit(server, place)
        settled(page)
        assert not page.locator("[data-state=error]").count() and "side=" not in page.url


def test_the_catalogue_of_an_odd_address(visit: Any, server: Any, settled: Any) -> None:
    page = visit(server, "#/catalogue?catOrder=odd&catSize=7")
    settled(page)
    assert page.locator(".catalogue-table tbody tr").count() == 20
    page = visit(server, "#/catalogue?catPages=9999")
    page.get_by_text("The list ends before this page").wait_for()
    page.get_by_role("button", name="First page").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".catalogue-table")
    settled(page)
    assert page.locator(".catalogue-table tbody tr").count() == 20 and page.evaluate(FOCUSED)


def test_the_map_without_its_item(visit: Any, server: Any, settled: Any) -> None:
    page = visit(server, f"#/map?item={quote('no/such', safe='')}")
    page.wait_for_selector(".map-canvas")
    settled(page)
    page.get_by_text("There is no item no/such on this map.").wait_for()


def test_figures_of_slices_are_in_the_address(visit: Any, server: Any, settled: Any) -> None:
    page = visit(server, "#/evaluation")
    settled(page)
    select = page.get_by_label("Figure of each slice")
    name = select.locator("option").nth(1).inner_text()
    select.select_option(name)
    page.locator(".evaluation-slices caption", has_text=name).first.wait_for()
    page.reload()
    settled(page)
    assert select.input_value() == name
    assert page.locator(".evaluation-slices caption", has_text=name).count() > 0


def test_from_item_to_item(visit: Any, server: Any, settled: Any) -> None:
    """A link at the end of a page leads to the top of the next, for eyes and for ears."""
    page = visit(server, "#/item?item=50", height=500)
    settled(page)
    last = page.locator(".item-similar a").last
    name = last.inner_text()
    last.click()
    page.get_by_role("heading", name=name).wait_for()
    settled(page)
    assert page.evaluate("scrollY") == 0 and page.title().startswith(name)
    assert page.evaluate("document.activeElement.textContent") == name
    field = page.get_by_role("combobox", name="Find an item")
    field.fill("fargo")
    page.locator(".combobox-option", has_text="Fargo").first.wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Fargo (1996)").wait_for()
    assert page.evaluate("document.activeElement.id") == field.get_attribute("id")  # to search on


def test_the_keyboard_keeps_a_place(visit: Any, server: Any, settled: Any) -> None:
    """What was pressed may be gone: whoever pressed it is still about where it was."""
    page = visit(server, "")
    settled(page)

    def press(button: Any) -> None:
        button.focus()
        with asked(page, settled):
            page.keyboard.press("Enter")
        assert page.evaluate(FOCUSED)

    press(page.locator(".who-facts button").first)
    page = visit(server, f"#/shortlist?user={USER}")
    settled(page)
    press(page.locator(".list-row").first.get_by_role("button", name=re.compile("Leave .* out")))
    press(page.get_by_role("button", name=re.compile("^Allow ")))
    press(page.get_by_role("button", name=re.compile("^Take ")).first)
    press(page.get_by_role("button", name="As it was"))
    with asked(page, settled):
        page.get_by_label("Items", exact=True).fill("12")
    press(page.get_by_role("button", name="Reset"))
    page.get_by_label("Only where").fill("year > 3000")
    page.get_by_text("Nothing is left to recommend").wait_for()
    press(page.get_by_role("button", name="Clear the filters"))
    page.locator(".history-more").focus()
    page.keyboard.press("Enter")
    entry = page.locator(".history-entry", has=page.locator("a:focus"))
    assert entry.get_attribute("data-id") == past(server, USER)[25]["item_id"]
    with asked(page, settled):
        page.get_by_role("button", name=re.compile("^Why ")).first.click()
    page.get_by_role("button", name=re.compile("weaker")).first.focus()
    page.keyboard.press("Enter")
    assert page.evaluate(FOCUSED)


def test_nothing_jumps(visit: Any, server: Any, settled: Any) -> None:
    """What comes later has the room it needs: the sum of layout shifts is one that browsers call good."""
    code = """new PerformanceObserver(list => {
      const own = list.getEntries().filter(one => !one.hadRecentInput);
      window.shifted = own.reduce((sum, one) => sum + one.value, window.shifted ?? 0);
    }).observe({type: "layout-shift", buffered: true})"""
    for place in ("shortlist", f"shortlist?user={USER}", "catalogue", "item?item=50", "map", "evaluation"):
        page = visit(server, f"#/{place}", width=390, before=lambda page: page.add_init_script(code))
        settled(page)
        page.wait_for_timeout(100)
        assert page.evaluate("window.shifted ?? 0") < 0.1, place
