"""Whoever looks, on whatever: accessibility rules, keyboard alone, narrow and wide, states of panels."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

VIEWS = {
    "shortlist": "#/shortlist?user=42",
    "shortlist of somebody new": "#/shortlist",
    "shortlist with a reason": "#/shortlist?user=42&why=FIRST",
    "catalogue": "#/catalogue",
    "item": "#/item?item=50",
    "map": "#/map?mapBy=genres&item=50",
    "map of numbers": "#/map?mapBy=year",
    "evaluation": "#/evaluation",
    "compare": "#/compare?user=42",
    "no such view": "#/nowhere",
}
NARROW_AND_WIDE = (320, 768, 1600)
PARTS = {
    "shortlist": ("#/shortlist?user=42", "**/v1/recommend", ".list-body", {"items": []}),
    "history": ("#/shortlist?user=42", "**/v1/users/42*", ".history-body", {"history": [], "total": 0}),
    "catalogue": ("#/catalogue", "**/v1/items?*", ".catalogue-rows", {"rows": [], "next": None}),
    "similar items": ("#/item?item=50", "**/v1/items/50/similar*", ".item-near", {"items": []}),
    "map": ("#/map", "**/v1/map*", ".map-place", {"ids": []}),
    "evaluation": ("#/evaluation", "**/v1/evaluation*", ".evaluation-body", {"entries": []}),
}
"""Of each panel: a view that shows it, what it asks for, where it stands, and what makes it empty."""


NAME = """(() => {
  const one = document.activeElement;
  const text = one.textContent.length < 100 ? one.textContent : "";
  const told = [one.getAttribute("aria-label"), one.labels?.[0]?.textContent, text, one.id];
  return told.filter(Boolean).join(" | ").trim();
})()"""
FOCUS = """(() => {
  const one = document.activeElement;
  if (one === document.body) return null;
  const [style, box] = [getComputedStyle(one), one.getBoundingClientRect()];
  // The browser itself marks the parts of a field for dates.
  const parts = one.type === "datetime-local";
  const marked = parts || style.outlineStyle !== "none" || style.boxShadow !== "none";
  return {name: one.outerHTML.slice(0, 90), marked, there: box.width > 0 && box.height > 0};
})()"""


def opened(visit: Any, server: Any, place: str, settled: Any, **options: Any) -> Page:
    if "FIRST" in place:
        first = server.ask("/v1/recommend", {"user_id": "42", "k": 1})["items"][0]["item_id"]
        place = place.replace("FIRST", first)
    page = visit(server, place, **options)
    settled(page)
    return page


@pytest.mark.parametrize("name", VIEWS)
def test_no_rule_of_accessibility_is_broken(visit: Any, pair: Any, axe: Any, settled: Any, name: str) -> None:
    page = opened(visit, pair, VIEWS[name], settled)
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        assert not axe(page), theme
    page.evaluate("for (const one of document.querySelectorAll('main details')) one.open = true")
    assert not axe(page)


@pytest.mark.parametrize("name", VIEWS)
def test_nothing_goes_beyond_the_page(visit: Any, pair: Any, axe: Any, settled: Any, name: str) -> None:
    page = opened(visit, pair, VIEWS[name], settled, width=NARROW_AND_WIDE[0])
    for width in NARROW_AND_WIDE:
        page.set_viewport_size({"width": width, "height": 900})
        settled(page)
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, f"{wide} pixels of {width}"
        if width == NARROW_AND_WIDE[0]:
            assert not axe(page)


def test_a_theme_can_be_chosen(visit: Any, server: Any, settled: Any) -> None:
    page = visit(server, "#/map?mapBy=genres", theme="light")
    settled(page)
    shade = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(shade)
    page.get_by_role("button", name=re.compile("theme|dark", re.IGNORECASE)).click()
    page.until(f"{shade} !== '{light}'")
    page.reload()
    page.wait_for_selector("html[data-ready]")
    assert page.evaluate(shade) != light  # it is remembered


# -- by keyboard alone


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def tab_to(page: Page, what: str, most: int = 60) -> None:
    """Tab until the focused element has a name or a text that holds something."""
    seen = []
    for _ in range(most):
        page.keyboard.press("Tab")
        told = page.evaluate(NAME)
        seen.append(told[:40])
        if what in told:
            return
    raise AssertionError(f"{what!r} is not reached: {seen}")


def test_a_walk_by_keyboard_alone(visit: Any, server: Any, settled: Any) -> None:
    page = visit(server, "")
    settled(page)
    press(page, "Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    press(page, "Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    tab_to(page, "User")
    page.keyboard.type("42")
    page.get_by_role("option").first.wait_for()
    press(page, "ArrowDown", "Enter")
    page.until("location.hash.includes('user=42')")
    page.wait_for_selector(".list-row")
    settled(page)
    tab_to(page, "Why ", 120)
    press(page, "Enter")
    page.wait_for_selector(".why[data-state=ready]")
    assert page.evaluate("document.activeElement.getAttribute('aria-expanded')") == "true"
    press(page, "Enter")
    page.wait_for_selector(".why", state="detached")
    tab_to(page, "Leave ")
    before = page.locator(".list-row").first.get_attribute("data-id")
    press(page, "Enter")
    page.until("location.hash.includes('exclude=')")
    page.until(f"document.querySelector('.list-row').dataset.id !== '{before}'")
    assert page.evaluate("document.activeElement !== document.body")


def test_the_views_by_keyboard_alone(visit: Any, server: Any, settled: Any) -> None:
    page = visit(server, "")
    settled(page)
    for name, heading in (
        ("Catalogue", "Catalogue"),
        ("Map", "Map of the items"),
        ("Evaluation", "Evaluation"),
    ):
        press(page, "Home")
        page.locator(".brand").focus()
        tab_to(page, name)
        press(page, "Enter")
        page.wait_for_selector(f"main[data-route={name.lower()}]")
        page.until("text => document.activeElement.textContent === text", heading)
        settled(page)
    page.goto(f"{server.url}/#/catalogue")
    page.wait_for_selector("main[data-route=catalogue]")
    settled(page)
    tab_to(page, "Search by id or name")
    page.keyboard.type("godfather")
    page.until("location.hash.includes('catQ=godfather')")
    settled(page)
    tab_to(page, "Godfather")
    press(page, "Enter")
    page.wait_for_selector("main[data-route=item]")
    settled(page)
    tab_to(page, "Show on the map")
    press(page, "Enter")
    page.wait_for_selector(".map-canvas")
    page.locator(".map-looked a", has_text="Godfather").wait_for()


def test_what_has_the_focus_is_seen(visit: Any, server: Any, settled: Any) -> None:
    """Every stop of the tabulator is visible and marked."""
    for place in ("#/shortlist?user=42", "#/catalogue", "#/map"):
        page = visit(server, place)
        settled(page)
        for _ in range(25):
            press(page, "Tab")
            told = page.evaluate(FOCUS)
            assert told is None or (told["marked"] and told["there"]), told


# -- states


@pytest.mark.parametrize("name", PARTS)
def test_a_panel_that_waits_says_so(visit: Any, server: Any, settled: Any, name: str) -> None:
    place, asked, where, _ = PARTS[name]
    held: list[Route] = []
    page = visit(server, place, before=lambda page: page.route(asked, lambda route: held.append(route)))
    page.wait_for_selector(f"{where}[data-state=loading]")
    part = page.locator(where)
    assert part.get_attribute("aria-busy") == "true"
    assert part.locator(".skeleton").first.is_visible()
    assert part.locator(".visually-hidden", has_text="Loading").count()
    page.unroute(asked)  # what was held goes on
    settled(page)
    assert part.get_attribute("data-state") == "ready"


@pytest.mark.parametrize("name", PARTS)
def test_a_panel_that_failed_says_why_and_tries_again(
    visit: Any, server: Any, settled: Any, axe: Any, name: str
) -> None:
    place, asked, where, _ = PARTS[name]
    problem = {
        "type": "about:blank",
        "title": "Too much to do",
        "status": 503,
        "detail": "more requests than this server takes",
        "hint": "come again in a second",
        "request_id": "abc123",
    }
    page = visit(
        server,
        place,
        before=lambda page: page.route(
            asked,
            lambda route: route.fulfill(status=503, json=problem, content_type="application/problem+json"),
        ),
        expected=("503",),
    )
    part = page.locator(where)
    alert = part.get_by_role("alert").first
    alert.wait_for()
    told = alert.inner_text()
    assert all(problem[key] in told for key in ("title", "detail", "hint", "request_id"))
    assert not axe(page)
    page.unroute(asked)
    part.get_by_role("button", name="Try again").click()
    page.wait_for_selector(f"{where}[data-state=ready]")


@pytest.mark.parametrize("name", PARTS)
def test_a_panel_with_nothing_in_it_says_so(
    visit: Any, server: Any, settled: Any, axe: Any, name: str
) -> None:
    place, asked, where, empty = PARTS[name]

    def answer(route: Route) -> None:
        response = route.fetch()
        route.fulfill(response=response, json={**response.json(), **empty})

    page = visit(server, place, before=lambda page: page.route(asked, answer))
    settled(page)
    part = page.locator(where)
    if name == "history":  # there it is the place to begin
        assert part.get_by_text("Add items to see what it would change.").is_visible()
    else:
        assert part.get_attribute("data-state") == "empty"
        assert part.locator(".state-title").inner_text()
    assert not axe(page)


def test_a_server_that_is_gone_is_said(visit: Any, server: Any, settled: Any) -> None:
    page = visit(server, "#/catalogue", expected=("ERR_CONNECTION_REFUSED", "ERR_FAILED"))
    settled(page)
    page.route("**/v1/**", lambda route: route.abort("connectionrefused"))
    page.get_by_role("button", name="Next page").click()
    page.get_by_text("No connection").wait_for()
    page.unroute("**/v1/**")
    page.get_by_role("button", name="Try again").click()
    page.get_by_text("Page 2", exact=True).wait_for()


def test_the_whole_page_fails_and_comes_back(visit: Any, server: Any, settled: Any) -> None:
    """What answers is not known: no view can be shown, until it is."""
    paths = ("**/v1/about*", "**/v1/bundles*")

    def refuse(page: Page) -> None:
        for path in paths:
            page.route(path, lambda route: route.fulfill(status=500, json={"title": "Broken", "status": 500}))

    page = visit(server, "#/map", before=refuse, expected=("500",))
    page.get_by_text("Broken").first.wait_for()
    for path in paths:
        page.unroute(path)
    page.get_by_role("button", name="Try again").click()
    page.wait_for_selector(".map-canvas")
