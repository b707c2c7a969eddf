"""The catalogue, one item, the map and the evaluation in a real browser: `make test-browser`.

What a page shows is compared with what the interface answers to a program. The files are not named test_*, so
that only a command which names them runs them.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page


def names(page: Page) -> list[str]:
    """The items of the catalogue's table."""
    return page.locator(".catalogue-table tbody th").all_inner_texts()


def rows(table: Locator) -> list[list[str]]:
    """Every row of a table, as texts."""
    return [row.locator("th, td").all_inner_texts() for row in table.locator("tbody tr").all()]


def test_the_catalogue_is_searched_and_filtered(visit: Any, server: Any, settled: Any) -> None:
    page = visit(server, "#/catalogue")
    settled(page)
    assert names(page) == [row["title"] for row in server.ask("/v1/items?limit=20")["rows"]]
    page.get_by_label("Search by id or name").fill("star trek")
    page.until("document.querySelectorAll('.catalogue-table tbody tr').length < 20")
    settled(page)
    found = server.ask("/v1/items?q=star%20trek&limit=20")["rows"]
    assert names(page) == [row["title"] for row in found] and len(found) > 3
    page.get_by_label("Filter by columns").fill("year >= 1990 and 'Action' in genres")
    page.keyboard.press("Enter")
    page.until(f"document.querySelectorAll('.catalogue-table tbody tr').length < {len(found)}")
    settled(page)
    kept = [row for row in found if row["year"] >= 1990 and "Action" in row["genres"]]
    assert names(page) == [row["title"] for row in kept] and kept
    page.reload()
    settled(page)
    assert names(page) == [row["title"] for row in kept]  # the view is in its address


def test_a_filter_that_cannot_be_read_is_said_at_its_field(visit: Any, server: Any, settled: Any) -> None:
    page = visit(server, "#/catalogue", expected=("422",))
    settled(page)
    field = page.get_by_label("Filter by columns")
    field.fill("yaer > 1990")
    page.keyboard.press("Enter")
    trouble = page.locator("main .field-error:not([hidden])")
    trouble.wait_for()
    said = trouble.inner_text()
    assert "yaer" in said and "year" in said
    assert field.get_attribute("aria-invalid") == "true"
    assert page.locator(f"#{field.get_attribute('aria-describedby').split()[-1]}").inner_text() == said
    field.fill("year > 1990")
    page.keyboard.press("Enter")
    page.wait_for_selector(".catalogue-table")
    assert field.get_attribute("aria-invalid") == "false" and not trouble.count()


def test_pages_follow_each_other(visit: Any, server: Any, settled: Any) -> None:
    page = visit(server, "#/catalogue?catOrder=popular")
    settled(page)
    first = names(page)
    assert first == [row["title"] for row in server.ask("/v1/items?order=popular&limit=20")["rows"]]
    assert page.get_by_role("button", name="Previous page").is_disabled()
    page.get_by_role("button", name="Next page").click()
    page.get_by_text("Page 2", exact=True).wait_for()
    settled(page)
    second = names(page)
    assert len(second) == 20 and not set(first) & set(second)
    page.reload()
    settled(page)
    assert names(page) == second  # the page is in the address
    page.get_by_role("button", name="Previous page").click()
    page.get_by_text("Page 1", exact=True).wait_for()
    settled(page)
    assert names(page) == first
    page.go_back()
    page.get_by_text("Page 2", exact=True).wait_for()
    settled(page)
    assert names(page) == second
    page.get_by_label("A page has").select_option("50")
    page.until("document.querySelectorAll('.catalogue-table tbody tr').length === 50")
    page.get_by_text("Page 1", exact=True).wait_for()  # another list begins with its first page


def test_a_cleared_search_is_cleared(visit: Any, server: Any, settled: Any) -> None:
    page = visit(server, "#/catalogue?catQ=star%20trek")
    settled(page)
    page.get_by_label("Search by id or name").fill("")
    page.get_by_label("Filter by columns").fill("year >= 1990")
    page.keyboard.press("Enter")
    page.until("document.querySelectorAll('.catalogue-table tbody tr').length === 20")
    settled(page)
    kept = server.ask("/v1/items?where=year%20%3E%3D%201990&limit=20")["rows"]
    assert names(page) == [row["title"] for row in kept] and "catQ" not in page.url


def test_columns_can_be_hidden(visit: Any, server: Any, settled: Any) -> None:
    page = visit(server, "#/catalogue")
    settled(page)
    heads = page.locator(".catalogue-table thead th")
    assert heads.all_inner_texts()[:2] == ["title", "item_id"] and "genres" in heads.all_inner_texts()
    page.get_by_role("checkbox", name="genres").uncheck()
    assert "genres" not in heads.all_inner_texts()
    assert page.evaluate("document.activeElement.type") == "checkbox"  # the keyboard stays where it was


def test_an_item_and_what_is_like_it(visit: Any, server: Any, settled: Any) -> None:
    page = visit(server, "#/catalogue")
    settled(page)
    page.get_by_role("link", name="Toy Story (1995)").click()
    page.wait_for_selector(".item-similar")
    settled(page)
    about = dict(
        zip(
            page.locator(".item-columns dt").all_inner_texts(),
            page.locator(".item-columns dd").all(),
            strict=True,
        )
    )
    stored = server.ask("/v1/items/1")
    assert about["item_id"].inner_text() == "1" and about["year"].inner_text() == "1995"
    assert about["genres"].locator("li").all_inner_texts() == stored["genres"]
    # How popular it is, in one line: a share and a place.
    assert set(about) == set(stored) - {"title", "popularity_rank"}
    said = about["popularity"].inner_text()
    assert said.startswith(f"{100 * stored['popularity']:.2f} %")
    assert said.endswith(f"rank {stored['popularity_rank']} of 1,682")
    page.get_by_label("How many").select_option("20")
    page.until("document.querySelectorAll('.item-similar tbody tr').length === 20")
    near = server.ask("/v1/items/1/similar?k=20&item_columns=title")["items"]
    for shown, row in zip(rows(page.locator(".item-similar")), near, strict=True):
        assert shown[0] == str(row["rank"]) and row["title"] in shown[1]
        assert shown[2].strip() == f"{row['score']:.3f}"
    page.get_by_role("link", name=near[0]["title"]).click()
    page.get_by_role("heading", name=near[0]["title"]).wait_for()
    page.go_back()
    page.get_by_role("heading", name="Toy Story (1995)").wait_for()


def test_an_item_is_found_and_unknown_ones_are_said(visit: Any, server: Any, settled: Any) -> None:
    page = visit(server, "#/item", expected=("404",))
    assert page.get_by_text("No item is chosen").is_visible()
    field = page.get_by_role("combobox", name="Find an item")
    field.fill("fargo")
    page.get_by_role("option", name=re.compile("Fargo")).wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Fargo (1996)").wait_for()
    page.goto(f"{server.url}/#/item?item=no%2Fsuch%3Fitem")
    page.get_by_text("The catalogue has no such item").wait_for()


# -- the map


def test_the_map_is_coloured_by_a_column(visit: Any, server: Any, settled: Any) -> None:
    page = visit(server, "#/map?mapBy=genres")
    page.wait_for_selector(".map-canvas")
    settled(page)
    found = server.ask("/v1/map?by=genres&limit=2000")
    assert found["total"] == len(found["ids"]) == 1682
    labels = page.locator(".map-legend .map-label").all_inner_texts()
    counts = [int(text.replace(",", "")) for text in page.locator(".map-entry .muted").all_inner_texts()]
    assert sum(counts) == 1682 and labels[0] == "Drama" and labels[-1] in ("other", "none")
    painted = colours(page)
    assert len(painted) > 8
    page.get_by_label("Colour by").select_option("year")
    page.locator(".map-legend h2", has_text="year").wait_for()
    settled(page)
    assert colours(page) != painted
    page.get_by_label("Colour by").select_option("nothing")
    page.locator(".map-legend").wait_for(state="detached")
    settled(page)
    assert len(colours(page)) < len(painted)


def colours(page: Page) -> set[str]:
    """The colours of a canvas that it has many pixels of."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    code = """canvas => {
      const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      const counts = {};
      for (let n = 0; n < data.length; n += 4) if (data[n + 3] > 200) {
        const key = [data[n] >> 3, data[n + 1] >> 3, data[n + 2] >> 3].join();
        counts[key] = (counts[key] || 0) + 1;
      }
      return Object.keys(counts).filter(key => counts[key] > 40);
    }"""
    return set(page.locator(".map-canvas").evaluate(code))


def test_a_group_can_be_hidden(visit: Any, server: Any, settled: Any) -> None:
    page = visit(server, "#/map?mapBy=genres")
    page.wait_for_selector(".map-canvas")
    settled(page)
    caption = page.locator(".map-list caption")
    assert "of 1,682 items in view" in caption.inner_text()
    entry = page.locator(".map-entry").first
    hidden = int(entry.locator(".muted").inner_text())
    entry.click()
    assert entry.get_attribute("aria-pressed") == "false"
    page.locator(".map-list caption", has_text=f"of {1682 - hidden:,} items in view").wait_for()


def test_the_map_by_pointer(visit: Any, server: Any, settled: Any) -> None:
    page = visit(server, "#/map?item=50")
    page.wait_for_selector(".map-canvas")
    settled(page)
    page.locator(".map-looked a").wait_for()
    assert page.locator(".map-looked a").inner_text() == "Star Wars (1977)"
    box = page.locator(".map-canvas").bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.move(box["x"] + 3, box["y"] + 3)
    page.mouse.move(*middle)  # the item of the link lies in the middle
    page.locator(".map-tip", has_text="Star Wars (1977)").wait_for()
    before = page.locator(".map-list caption").inner_text()
    page.get_by_role("button", name="Show all of the map").click()
    page.locator(".map-list caption", has_text="of 1,682 items").wait_for()
    assert before != page.locator(".map-list caption").inner_text()
    page.get_by_role("button", name="Nearer").click()
    page.until("!document.querySelector('.map-list caption').textContent.includes('of 1,682')")
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + 120, middle[1] + 60, steps=4)
    page.mouse.up()
    page.locator(".map-list th a").first.wait_for()


def test_the_map_by_keyboard(visit: Any, server: Any, settled: Any) -> None:
    page = visit(server, "#/map")
    page.wait_for_selector(".map-canvas")
    settled(page)
    page.locator(".map-canvas").focus()
    page.keyboard.press("ArrowRight")
    page.locator(".map-looked a").wait_for()
    seen = [page.locator(".map-looked a").inner_text()]
    for key in ("ArrowRight", "ArrowUp", "+", "ArrowLeft"):
        page.keyboard.press(key)
        for _ in range(20):  # "+" leaves it where it is
            page.wait_for_timeout(50)
            if page.locator(".map-looked a").inner_text() != seen[-1]:
                break
        seen.append(page.locator(".map-looked a").inner_text())
    assert len(set(seen)) >= 3, seen
    page.until("name => document.getElementById('announcements').textContent.includes(name)", seen[-1])
    page.keyboard.press("Enter")
    page.wait_for_selector("main[data-route=item]")
    page.get_by_role("heading", name=seen[-1]).wait_for()


def test_an_item_is_found_on_the_map(visit: Any, server: Any, settled: Any) -> None:
    page = visit(server, "#/map")
    page.wait_for_selector(".map-canvas")
    page.get_by_role("combobox", name="Find an item").fill("toy story")
    page.get_by_role("option", name=re.compile("Toy Story")).first.click()
    page.locator(".map-looked a", has_text="Toy Story (1995)").wait_for()
    # The view is led to it: it is the nearest to the middle.
    page.locator(".map-list tbody tr:first-child th", has_text="Toy Story (1995)").wait_for()


# -- the evaluation


def test_the_evaluation_shows_the_report(visit: Any, server: Any, settled: Any) -> None:
    page = visit(server, "#/evaluation")
    page.wait_for_selector(".evaluation-intervals")
    settled(page)
    report = server.ask("/v1/evaluation")
    said = page.locator(".evaluation-verdicts li").all_inner_texts()
    assert len(said) == len(report["verdicts"]) > 0
    for text, verdict in zip(said, report["verdicts"], strict=True):
        assert verdict["sentence"] in text
    page.get_by_label("Figure", exact=True).select_option("rmse")
    page.locator(".evaluation-chart caption", has_text="rmse, less is better").wait_for()
    require_figures(page.locator(".evaluation-chart table"), "rmse", report, falling=False)
    name = report["headline"][0]
    page.get_by_label("Figure", exact=True).select_option(name)
    require_figures(page.locator(".evaluation-chart table"), name, report, falling=True)
    assert page.locator(".evaluation-slices h3").all_inner_texts() == [
        one["name"] for one in report["slices"]
    ]
    drawn = page.locator(".evaluation-curves figcaption").all_inner_texts()
    assert drawn == list(report["history"]) and "validation ndcg@10" in drawn
    figure = page.locator(".evaluation-curves figure").first
    figure.locator("summary").click()
    shown = [float(row[1]) for row in rows(figure.locator("table"))]
    assert shown == [round(value, 4) for value in report["history"][drawn[0]]]
    protocol = page.locator(".evaluation-protocol").inner_text()
    assert all(str(value) in protocol for value in report["protocol"].values())


def require_figures(table: Locator, name: str, report: Any, *, falling: bool) -> None:
    """Every entry's value and interval, the best first, the drawn line from the one end to the other."""
    figures = {one["name"]: one["figures"][name] for one in report["entries"] if name in one["figures"]}
    order = sorted(figures, key=lambda entry: figures[entry]["value"], reverse=falling)
    shown = rows(table)
    assert [row[0].split("\n")[0] for row in shown] == order
    for row, entry in zip(shown, order, strict=True):
        numbers = [float(text) for text in re.findall(r"-?\d+\.\d+", row[2])]
        assert numbers == [round(figures[entry][end], 4) for end in ("value", "low", "high")]
    for line, entry in zip(table.locator(".evaluation-span").all(), order, strict=True):
        left, right = (float(line.get_attribute(end).rstrip("%")) for end in ("x1", "x2"))
        assert 0 <= left <= right <= 100
        dot = line.locator("xpath=following-sibling::*[name()='circle']")
        at = float(dot.get_attribute("cx").rstrip("%"))
        figure = figures[entry]
        if figure["high"] > figure["low"]:
            part = (figure["value"] - figure["low"]) / (figure["high"] - figure["low"])
            assert at == pytest.approx(left + part * (right - left), abs=0.05)


def test_a_bundle_without_figures_says_so(visit: Any, large: Any, settled: Any) -> None:
    page = visit(large, "#/evaluation", expected=("404",))
    settled(page)
    told = page.locator("main").inner_text()
    assert "The verdict" in told or "This bundle has no report" in told


# -- a million items


def test_a_million_items_a_page_at_a_time(visit: Any, large: Any, settled: Any) -> None:
    page = visit(large, "#/catalogue")
    settled(page)
    assert "1,000,000" in page.locator(".catalogue-table caption").inner_text()
    page.get_by_label("A page has").select_option("100")
    page.until("document.querySelectorAll('.catalogue-table tbody tr').length === 100")
    for number in range(2, 6):
        page.get_by_role("button", name="Next page").click()
        page.get_by_text(f"Page {number}", exact=True).wait_for()
    settled(page)
    page.get_by_label("Search by id or name").fill("film 98765")
    page.get_by_role("link", name=re.compile(r"Made film 98765 \(")).wait_for()
    settled(page)
    page.get_by_label("Filter by columns").fill("year == 1950 and 'Drama' in genres")
    page.keyboard.press("Enter")
    page.get_by_text("Page 1", exact=True).wait_for()
    settled(page)
    assert all("(1950)" in name for name in names(page))
    for place in ("#/map", "#/shortlist?user=42", "#/item?item=made-77777", "#/catalogue?catOrder=popular"):
        page.goto(f"{large.url}/{place}")
        page.wait_for_selector(f"main[data-route={place[2:].split('?')[0]}]")
        settled(page)
        assert page.evaluate("document.querySelectorAll('*').length") < 4_000
    require_pages(page.watch.asked)
    assert page.evaluate("performance.memory.usedJSHeapSize") < 80e6


def require_pages(asked: list[str]) -> None:
    """No request asks for more than a page (the map: than it draws)."""
    lists = [url for url in asked if re.search(r"/v1/(items|users|map)(\?|$)", url)]
    assert len(lists) > 8
    for url in lists:
        query = parse_qs(urlsplit(url).query)
        most = 2_000 if "/v1/map" in url else 200
        assert "ids" in query or int(query["limit"][0]) <= most, url


def test_a_map_of_a_part_says_so(visit: Any, large: Any, settled: Any) -> None:
    page = visit(large, "#/map?item=made-5")
    page.wait_for_selector(".map-canvas")
    settled(page)
    assert re.search(r"The 2,00\d most popular of 1,000,000 items", page.locator("main").inner_text())
    assert "Made film 5 " in page.locator(".map-looked").inner_text()


def test_names_are_text_whatever_they_hold(visit: Any, server: Any, settled: Any) -> None:
    """A title that is markup stays a title."""
    evil = "<img src=x onerror=alert(1)><script>alert(1)</script>"

    def change(page: Page) -> None:
        def answer(route: Any) -> None:
            response = route.fetch()
            body = json.loads(response.text().replace("Toy Story (1995)", evil))
            route.fulfill(response=response, json=body)

        page.route("**/v1/**", answer)

    for place, selector in (
        ("#/catalogue", ".catalogue-table"),
        ("#/item?item=1", ".item-name"),
        ("#/map?item=1", ".map-looked a"),
    ):
        page = visit(server, place, before=change)
        page.wait_for_selector(selector)
        settled(page)
        assert evil in page.locator("main").inner_text()
        assert page.evaluate("document.images.length") == 0
