"""Whoever looks, on whatever: accessibility rules, keyboard alone, narrow and wide, states of panels."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

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


class Part(NamedTuple):
    """What a panel shows: a view that has it, what it asks for, where it stands, what makes it empty.

    empty: None where nothing makes it so. telling: the key of a body by which its requests are told apart.
    two: of two bundles.
    """

    view: str
    asks: str
    where: str
    empty: dict[str, Any] | None
    telling: str = ""
    two: bool = False


PARTS = {
    "shortlist": Part("#/shortlist?user=42", "**/v1/recommend", ".list-body", {"items": []}),
    "reasons": Part("#/shortlist?user=42&why=FIRST", "**/v1/recommend", ".why", {"items": []}, "explain"),
    "history": Part("#/shortlist?user=42", "**/v1/users/42*", ".history-body", {"history": [], "total": 0}),
    "popular items": Part("#/shortlist", "**/v1/items?*", ".pick-body", {"rows": [], "next": None}),
    "catalogue": Part("#/catalogue", "**/v1/items?*", ".catalogue-rows", {"rows": [], "next": None}),
    "item": Part("#/item?item=50", "**/v1/items/50", ".item-about", None),
    "similar items": Part("#/item?item=50", "**/v1/items/50/similar*", ".item-near", {"items": []}),
    "map": Part("#/map", "**/v1/map*", ".map-place", {"ids": []}),
    "evaluation": Part("#/evaluation", "**/v1/evaluation*", ".evaluation-body", {"entries": []}),
    "compare": Part("#/compare?user=42", "**/v1/recommend", ".compare-body", {"items": []}, two=True),
}
STATES = [
    (name, state)
    for name, part in PARTS.items()
    for state in ("loading", "error", "empty")
    if part.empty or state != "empty"
]


PAINTED = """want => {
  const pen = document.createElement("canvas").getContext("2d");
  pen.fillStyle = want;
  pen.fillRect(0, 0, 1, 1);
  const rgb = pen.getImageData(0, 0, 1, 1).data;
  const canvas = document.querySelector(".map-canvas");
  const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let count = 0;
  for (let n = 0; n < data.length; n += 4) {
    if (data[n + 3] > 200 && [0, 1, 2].every(at => Math.abs(data[n + at] - rgb[at]) < 3)) count += 1;
  }
  return count > 40;
}"""
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


def first_of(server: Any, place: str) -> str:
    """A place, with the first item of the user's shortlist where it says FIRST."""
    if "FIRST" not in place:
        return place
    return place.replace(
        "FIRST", server.ask("/v1/recommend", {"user_id": "42", "k": 1})["items"][0]["item_id"]
    )


def opened(visit: Any, server: Any, place: str, settled: Any, **options: Any) -> Page:
    page = visit(server, first_of(server, place), **options)
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


def test_the_interface_page_can_be_read_by_all(visit: Any, server: Any, axe: Any) -> None:
    """The page of the interface, which the foot links to: in both themes, and on a phone."""
    page = visit(server, "")
    page.get_by_role("link", name="Interface").click()
    page.wait_for_url("**/docs")
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        assert not axe(page), theme
    page.set_viewport_size({"width": 320, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
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
    dark = page.evaluate(shade)
    page.reload()
    page.wait_for_selector("html[data-ready]")
    assert page.evaluate(shade) == dark  # it is remembered
    page.emulate_media(color_scheme="dark")
    page.get_by_role("button", name="Light theme").click()
    page.until(f"{shade} === '{light}'")  # in a dark system too
    page = visit(server, "", theme="dark")
    assert page.evaluate(shade) == dark  # chosen or the system's, it is one theme


def test_a_picture_is_drawn_in_the_theme(visit: Any, server: Any, settled: Any) -> None:
    """A canvas knows no style sheet: it is told its colours, and told again when they change."""
    page = visit(server, "#/map?mapBy=genres", theme="light", expected=("willReadFrequently",))
    page.wait_for_selector(".map-canvas")
    settled(page)
    found = []
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        want = page.evaluate("getComputedStyle(document.querySelector('.map-mark path')).fill")
        found.append(page.evaluate(PAINTED, want))
    assert all(found), found


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


PROBLEM = {
    "type": "about:blank",
    "title": "Too much to do",
    "status": 503,
    "detail": "more requests than this server takes",
    "hint": "come again in a second",
    "request_id": "abc123",
}


@pytest.mark.parametrize(("name", "state"), STATES)
def test_a_part_has_its_states(
    visit: Any, server: Any, pair: Any, settled: Any, axe: Any, name: str, state: str
) -> None:
    """It waits and says so; it says what went wrong, and tries again; it says that there is nothing."""
    part = PARTS[name]
    held: list[Route] = []

    def answer(route: Route) -> None:
        if part.telling not in (route.request.post_data or ""):
            route.continue_()
        elif state == "loading":
            held.append(route)
        elif state == "error":
            route.fulfill(status=503, json=PROBLEM, content_type="application/problem+json")
        else:
            response = route.fetch()
            route.fulfill(response=response, json={**response.json(), **(part.empty or {})})

    page = visit(
        pair if part.two else server,
        first_of(server, part.view),
        before=lambda page: page.route(part.asks, answer),
        expected=("503",),
    )
    shown = page.locator(part.where)
    if state == "loading":
        page.wait_for_selector(f"{part.where}[data-state=loading]")
        assert shown.get_attribute("aria-busy") == "true"
        assert shown.locator(".skeleton").first.is_visible()
        assert shown.locator(".visually-hidden", has_text="Loading").count()
        page.unroute(part.asks)  # what was held goes on
        settled(page)
        assert shown.get_attribute("data-state") == "ready"
    elif state == "error":
        alert = shown.get_by_role("alert").first
        alert.wait_for()
        told = alert.inner_text()
        assert all(str(PROBLEM[key]) in told for key in ("title", "detail", "hint", "request_id"))
        assert not (part.two and axe(page))  # they all look the same
        page.unroute(part.asks)
        again = shown.get_by_role("button", name="Try again")
        again.focus()
        page.keyboard.press("Enter")
        page.wait_for_selector(f"{part.where}[data-state=ready]")
        assert page.evaluate("document.activeElement !== document.body")  # the keyboard goes on from there
    else:
        page.wait_for_selector(part.where)
        settled(page)
        if name == "history":  # there it is the place to begin
            assert shown.get_by_text("Add items to see what it would change.").is_visible()
        else:
            assert shown.get_attribute("data-state") == "empty"
            assert shown.locator(".state-title").inner_text()
        assert not (part.two and axe(page))


def test_a_search_has_its_states(visit: Any, server: Any, settled: Any) -> None:
    """A field that searches: it says that it does, what it found nothing for, and what went wrong."""
    page = visit(server, "", expected=("503",))
    settled(page)
    field, said = page.get_by_role("combobox", name="User"), page.locator(".who .combobox-said")
    held: list[Route] = []
    page.route("**/v1/users?*", lambda route: held.append(route))
    field.fill("zzz")
    said.get_by_text("Searching").wait_for()
    page.unroute("**/v1/users?*")
    said.get_by_text("Nothing holds “zzz”.").wait_for()
    page.route("**/v1/users?*", lambda route: route.fulfill(status=503, json=PROBLEM))
    field.fill("4")
    said.get_by_text("more requests than this server takes").wait_for()
    page.unroute("**/v1/users?*")
    field.fill("42")
    page.locator(".combobox-option").first.wait_for()
    page.keyboard.press("Escape")
    assert field.get_attribute("aria-expanded") == "false"


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
