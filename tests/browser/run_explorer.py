"""The shortlist of a person in a real browser, feature by feature: `make test-browser`.

What the page shows is compared with direct calls of the interface: with the request that the page sent, and
where a thing was taken away or put in, with a request that is made here.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from reading import asked, listed, past, require_list, told

USER = "42"


# -- who


def test_a_user_is_found_by_id(visit: Any, server: Any, settled: Any) -> None:
    page = visit(server)
    settled(page)
    field = page.get_by_role("combobox", name="User")
    field.fill(USER)
    option = page.get_by_role("option").first
    option.get_by_text(USER, exact=True).wait_for()  # itself before 142 and 420
    with asked(page, settled) as body:
        option.click()
    assert body["user_id"] == USER and f"user={USER}" in page.url
    items = require_list(page, server, body)
    assert len(items) == 10
    stored = server.ask(f"/v1/users/{USER}")
    assert stored["user"]["occupation"] in page.locator(".who-facts").inner_text()


def test_an_id_nobody_has_gets_what_is_popular(visit: Any, server: Any, settled: Any) -> None:
    page = visit(server)
    settled(page)
    field = page.get_by_role("combobox", name="User")
    field.fill("nobody/at all?")
    with asked(page, settled) as body:
        field.press("Enter")
    assert body["user_id"] == "nobody/at all?"
    assert "unknown" in page.locator(".who-facts").inner_text()
    assert listed(page) == [item["item_id"] for item in server.ask("/v1/recommend", body)["items"]]


def test_somebody_new_picks_films(visit: Any, server: Any, settled: Any) -> None:
    page = visit(server)
    settled(page)
    popular = server.ask("/v1/items?order=popular&limit=10")["rows"]
    shown = page.locator(".pick-name").all_inner_texts()
    assert [row["title"] in text for row, text in zip(popular, shown, strict=True)] == [True] * 10
    before = listed(page)
    with asked(page, settled) as body:
        page.get_by_role("button", name=f"Add {popular[3]['title']}").click()
    assert body["history"] == [popular[3]["item_id"]] and "user_id" not in body
    require_list(page, server, body)
    first = listed(page)
    with asked(page, settled) as body:
        page.get_by_role("combobox", name="Add an item").fill("scream")
        page.get_by_role("option", name=re.compile(r"^Scream \(1996\)")).click()
    assert body["history"][1:] == [popular[3]["item_id"]] and len(body["history"]) == 2
    require_list(page, server, body)
    assert len({tuple(before), tuple(first), tuple(listed(page))}) == 3
    with asked(page, settled) as body:
        page.get_by_label(f"Rating of {popular[3]['title']}").select_option("1")
    assert body["history_rating"][1] == 1
    require_list(page, server, body)


# -- the history


def test_the_history_is_a_time_line(visit: Any, server: Any, settled: Any) -> None:
    page = visit(server, f"#/shortlist?user={USER}")
    settled(page)
    history = past(server, USER)
    entries = page.locator(".history-entry")
    shown = [entry.get_attribute("data-id") for entry in entries.all()]
    assert shown == [row["item_id"] for row in history][: len(shown)] and len(shown) >= 20
    times = [entry.locator("time").get_attribute("datetime") for entry in entries.all()]
    assert times == sorted(times, reverse=True)
    assert page.locator(".history-day h3").first.inner_text()
    assert page.locator(".strip circle").count() == len(history)
    more = page.locator(".history-more")
    if more.count():
        more.click()
        assert entries.count() == min(len(history), len(shown) + 100)


def test_taking_an_item_out_and_back_changes_the_list(visit: Any, server: Any, settled: Any) -> None:
    page = visit(server, f"#/shortlist?user={USER}")
    settled(page)
    before = listed(page)
    history = past(server, USER)
    with asked(page, settled) as body:
        page.get_by_role("button", name=re.compile("^Take ")).first.click()
    assert {name: body[name] for name in told(history)} == told(history[1:])
    items = require_list(page, server, body)
    with asked(page, settled):
        page.get_by_role("button", name=re.compile("^Put back ")).click()
    assert listed(page) == before
    scores = {item["item_id"]: item["score"] for item in items}
    original = server.ask("/v1/recommend", {"user_id": USER, "k": 10})["items"]
    assert scores != {item["item_id"]: item["score"] for item in original}


def test_adding_an_item_changes_the_list(visit: Any, server: Any, settled: Any) -> None:
    page = visit(server, f"#/shortlist?user={USER}")
    settled(page)
    before = listed(page)
    with asked(page, settled) as body:
        page.get_by_role("combobox", name="Add an item").fill("alien")
        page.get_by_role("option", name=re.compile(r"^Alien \(1979\)")).click()
    history = past(server, USER)
    assert body["history"][1:] == [row["item_id"] for row in history]
    added = body["history"][0]
    assert server.ask(f"/v1/items/{added}")["title"] == "Alien (1979)"
    require_list(page, server, body)
    assert listed(page) != before and added not in listed(page)
    page.reload()
    settled(page)
    require_list(page, server, body)  # the change is in the address
    with asked(page, settled):
        page.get_by_role("button", name="As it was").click()
    assert listed(page) == before


def test_what_somebody_did_just_now_is_there(visit: Any, server: Any, settled: Any) -> None:
    page = visit(server, "#/shortlist?user=a-visitor")
    settled(page)
    assert "unknown" in page.locator(".who-facts").inner_text()
    had = listed(page)[:2]
    for n, (item, rating) in enumerate(zip(had, (None, 3.25), strict=True)):
        event = {
            "event_id": f"visit-{n}",
            "user_id": "a-visitor",
            "item_id": item,
            "timestamp": 893286638 + n,
            "rating": rating,
        }
        assert server.ask("/v1/events", event)["accepted"] == 1
    page.reload()
    settled(page)
    assert [row.get_attribute("data-id") for row in page.locator(".history-entry").all()] == had[::-1]
    assert page.locator(".history-rating").all_inner_texts() == ["rated\n3.3", ""]
    assert listed(page) and not set(had) & set(listed(page))
    with asked(page, settled) as body:  # the page tells the history: an event without a rating has none
        page.get_by_role("button", name=re.compile("^Take ")).first.click()
    assert (body["history"], body["history_rating"]) == (had[:1], [None])
    require_list(page, server, body)


# -- settings


def test_how_many(visit: Any, server: Any, settled: Any) -> None:
    page = visit(server, f"#/shortlist?user={USER}")
    settled(page)
    with asked(page, settled) as body:
        page.get_by_label("Items", exact=True).fill("25")
    assert body["k"] == 25
    assert len(require_list(page, server, body)) == 25


def test_a_filter(visit: Any, server: Any, settled: Any) -> None:
    page = visit(server, f"#/shortlist?user={USER}", expected=("422",))
    settled(page)
    field = page.get_by_label("Only where")
    with asked(page, settled) as body:
        field.fill("year < 1970")
    for item in require_list(page, server, {**body, "item_columns": ["title", "year"]}):
        assert item["year"] < 1970
    field.fill("yaer < 1970")
    page.locator(".field-error", has_text="yaer").wait_for()
    assert field.get_attribute("aria-invalid") == "true"
    with asked(page, settled):
        field.fill("year > 3000 or year < 1970")
    assert field.get_attribute("aria-invalid") is None
    field.fill("year > 3000")
    page.get_by_text("Nothing is left to recommend").wait_for()
    with asked(page, settled):
        page.get_by_role("button", name="Clear the filters").click()
    assert len(listed(page)) == 10


def test_leaving_an_item_out_and_having_the_seen_ones(visit: Any, server: Any, settled: Any) -> None:
    page = visit(server, f"#/shortlist?user={USER}")
    settled(page)
    first, second = listed(page)[:2]
    with asked(page, settled) as body:
        page.locator(".list-row").first.get_by_role("button", name=re.compile("Leave .* out")).click()
    assert body["exclude"] == [first] and listed(page)[0] == second
    with asked(page, settled) as body:
        page.get_by_label("Include items they had").check()
    assert body["filter_seen"] is False
    require_list(page, server, body)
    assert set(listed(page)) & {row["item_id"] for row in past(server, USER)}
    with asked(page, settled):
        page.get_by_role("button", name="Reset").click()
    assert listed(page)[0] == first


def test_the_time_of_day(visit: Any, server: Any, settled: Any) -> None:
    page = visit(server, f"#/shortlist?user={USER}")
    settled(page)
    answers = []
    for time in ("1998-04-20T04:00", "1998-04-20T16:00"):
        with asked(page, settled) as body:
            page.get_by_label("Date and time (UTC)").fill(time)
        assert body["timestamp"] == time
        answers.append(require_list(page, server, body))
    scores = [{item["item_id"]: item["score"] for item in items} for items in answers]
    assert scores[0] != scores[1]


def test_the_weight_of_the_rating(visit: Any, server: Any, settled: Any) -> None:
    page = visit(server, f"#/shortlist?user={USER}")
    settled(page)
    slider = page.get_by_label("Weight of the rating")
    with asked(page, settled) as body:
        slider.fill("0")
    assert body["utility"] == {"rating_weight": 0}
    items = require_list(page, server, body)
    # By retrieval alone nothing moves.
    assert [item["retrieval_rank"] for item in items] == [item["rank"] for item in items]
    with asked(page, settled) as body:
        slider.fill("5")
    items = require_list(page, server, body)
    for item in items:
        assert item["score"] == pytest.approx(item["retrieval_score"] + 5 * item["rating"], abs=1e-4)
    assert [item["retrieval_rank"] for item in items] != [item["rank"] for item in items]


def test_what_is_told_of_the_person(visit: Any, server: Any, settled: Any) -> None:
    page = visit(server, f"#/shortlist?user={USER}")
    settled(page)
    page.get_by_text("About the person").click()
    with asked(page, settled) as body:
        page.get_by_role("spinbutton", name="age").fill("9")
    assert body["context"] == {"age": 9}
    with asked(page, settled) as body:
        page.get_by_role("combobox", name="occupation").select_option("student")
    assert body["context"] == {"age": 9, "occupation": "student"}
    require_list(page, server, body)


# -- two bundles


def test_one_bundle_has_nothing_beside_it(visit: Any, server: Any, settled: Any) -> None:
    page = visit(server, "#/compare")
    settled(page)
    assert "--against" in page.locator("main").inner_text()


def test_the_side_can_be_chosen(visit: Any, pair: Any, settled: Any) -> None:
    page = visit(pair, f"#/shortlist?user={USER}")
    settled(page)
    for side in ("a", "b"):
        with asked(page, settled) as body:
            page.get_by_label("Which bundle answers").select_option(side)
        assert body["side"] == side
        answer = pair.ask("/v1/recommend", body)
        assert answer["variant"] == side
        assert listed(page) == [item["item_id"] for item in answer["items"]]


# -- the page as a whole


def test_links_go_where_they_say(visit: Any, server: Any, settled: Any) -> None:
    page = visit(server, f"#/shortlist?user={USER}&k=15")
    settled(page)
    name = page.locator(".list-row a").first.inner_text()
    page.locator(".list-row a").first.click()
    page.get_by_role("heading", name=name).wait_for()
    settled(page)
    page.go_back()
    page.wait_for_selector(".list-row")
    settled(page)
    assert len(listed(page)) == 15
    page.locator(".nav").get_by_role("link", name="Map").click()
    page.wait_for_selector(".map-canvas")
    page.locator(".nav").get_by_role("link", name="Shortlist").click()
    page.wait_for_selector(".list-row")
    settled(page)
    assert len(listed(page)) == 15 and f"user={USER}" in page.url  # the person is taken along


def test_the_page_runs_under_a_strict_policy(visit: Any, server: Any, settled: Any) -> None:
    page = visit(server, expected=("Content Security Policy", "Refused"))
    (policy,) = page.watch.policies
    rules = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert rules["default-src"] == "'none'" and rules["script-src"] == rules["style-src"] == "'self'"
    assert rules["connect-src"] == "'self'" and rules["frame-ancestors"] == "'none'"
    code = """() => {
      const script = document.createElement("script");
      script.textContent = "window.ran = true";
      document.head.append(script);
      return window.ran === true;
    }"""
    assert not page.evaluate(code)
    assert page.evaluate("localStorage.length + document.cookie.length") == 0


def test_a_key_is_asked_for_and_used(
    visit: Any, worlds: Any, tmp_path: Any, serve: Any, settled: Any
) -> None:
    """With keys, the page itself is for everybody and its figures are for those who have one."""
    keys = tmp_path / "keys.txt"
    secret = serve.key(keys)
    guarded = serve(str(worlds / "histories"), "--keys", str(keys))
    page = visit(guarded, "#/catalogue", expected=("401",))
    page.get_by_role("dialog", name="API key").wait_for()
    field = page.get_by_label("Key", exact=True)
    field.fill("not a key")
    page.keyboard.press("Enter")
    page.locator("dialog .field-error", has_text=re.compile("\\w")).wait_for()
    field.fill(secret)
    page.keyboard.press("Enter")
    page.wait_for_selector(".catalogue-table")
    assert secret not in page.url
