"""Two bundles: both lists beside each other, and what the explorer says of weights: `make test-browser`."""

from __future__ import annotations

import re
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from reading import listed, not_had, number, past, require_side

if TYPE_CHECKING:
    from collections.abc import Iterator

USER = "42"


@contextmanager
def both_asked(page: Any, settled: Any) -> Iterator[dict[str, dict[str, Any]]]:
    """What happens inside makes the page ask both bundles. Gives the requests by side, once answered."""
    found: dict[str, dict[str, Any]] = {}
    yield found
    page.wait_for_selector(".compare-table")
    settled(page)
    sent = [one.post_data_json for one in page.requests if one.url.endswith("/v1/recommend")]
    found.update({one["side"]: one for one in sent[-2:]})


def watched(page: Any) -> None:
    page.requests = []
    page.on("request", lambda one: page.requests.append(one))


def require_both(page: Any, pair: Any, bodies: dict[str, dict[str, Any]]) -> list[list[str]]:
    """Both lists are what direct calls answer; and so is what is said of them. Gives the ids of each."""
    answers = [pair.ask("/v1/recommend", bodies[side]) for side in "ab"]
    for n, answer in enumerate(answers):
        assert answer["variant"] == "ab"[n]
        require_side(page, n, answer)
    lists = [[item["item_id"] for item in answer["items"]] for answer in answers]
    for n, own in enumerate(lists):
        other = lists[1 - n]
        for place, row in enumerate(page.locator(".compare-table").nth(n).locator("tbody tr").all()):
            cell = row.locator("td").nth(1).inner_text()
            if own[place] not in other:
                assert cell == "only here"
            else:
                assert number(cell) == other.index(own[place]) + 1
                by = abs(other.index(own[place]) - place)
                up = other.index(own[place]) < place  # further up there than here
                assert (("▲" in cell) == up and f"{by}" in cell) if by else "=" in cell
    both = [item for item in lists[0] if item in lists[1]]
    said = page.locator(".compare-summary").inner_text()
    apart = [abs(lists[0].index(item) - lists[1].index(item)) for item in both]
    assert page.locator(".compare-line").count() == len(both)
    if not both:
        assert said.startswith("No item")
    else:
        assert said.startswith(f"{len(both)} of {max(map(len, lists))} items are in both lists")
        assert f"{apart.count(0)} of them at the same place" in said
        mean = number(said.split("place, ")[1])
        assert mean == pytest.approx(sum(apart) / len(apart), abs=0.0501)
    return lists


def test_two_bundles_side_by_side(visit: Any, pair: Any, settled: Any) -> None:
    """As they are at first: what each answers to a program that says no more than whom, and how many."""
    page = visit(pair, f"#/compare?user={USER}", before=watched)
    with both_asked(page, settled) as bodies:
        pass
    lists = require_both(page, pair, bodies)
    for side, own in zip("ab", lists, strict=True):
        asks = {"user_id": USER, "side": side, "k": 10}
        assert [item["item_id"] for item in pair.ask("/v1/recommend", asks)["items"]] == own


def test_settings_count_for_both(visit: Any, pair: Any, settled: Any) -> None:
    """How many, which, the weight and a changed history; each bundle is told what it reads."""
    had, put = [row["item_id"] for row in past(pair, USER)], not_had(pair, USER)
    place = f"#/compare?user={USER}&k=40&where=year%20%3C%201997&weight=3&without={had[0]}&with={put}"
    page = visit(pair, place, before=watched)
    with both_asked(page, settled) as bodies:
        pass
    assert [bodies[side]["utility"] for side in "ab"] == [{"rating_weight": 3}] * 2
    assert bodies["a"]["history"] == [put, *had[1:]]
    assert "history" not in bodies["b"] and set(bodies["b"]["exclude"]) == {put, *had[1:]}
    lists = require_both(page, pair, bodies)
    assert len(lists[0]) == len(lists[1]) == 40 and set(lists[0]) & set(lists[1])
    assert put not in {*lists[0], *lists[1]}
    said = page.locator(".compare-changed")
    assert "1 item put in, 1 item taken out" in said.inner_text()
    back = said.get_by_role("button", name="As it was")
    back.focus()
    with both_asked(page, settled) as bodies:
        page.keyboard.press("Enter")
        said.wait_for(state="detached")
    assert "history" not in bodies["a"] and "exclude" not in bodies["b"]
    assert page.evaluate("document.activeElement !== document.body")
    require_both(page, pair, bodies)


def test_somebody_new_is_given_a_history_elsewhere(visit: Any, pair: Any, settled: Any) -> None:
    page = visit(pair, "#/compare?k=12", before=watched)
    with both_asked(page, settled) as bodies:
        pass
    require_both(page, pair, bodies)
    page.get_by_role("link", name="Add items").click()
    page.get_by_role("button", name=re.compile("^Add ")).first.click()
    page.wait_for_selector(".history-entry")
    page.locator(".nav").get_by_role("link", name="Compare").click()
    with both_asked(page, settled) as bodies:
        page.get_by_text("1 item put in").wait_for()
    assert len(bodies["a"]["history"]) == 1 and bodies["a"]["k"] == 12
    require_both(page, pair, bodies)


def test_retrieval_alone_beside_two_stages(visit: Any, worlds: Any, serve: Any, settled: Any) -> None:
    """Columns and weights that only one has: each is offered as far as it has an effect."""
    running = serve(str(worlds / "odd"), "--against", str(worlds / "bare"))
    user = "u/1"
    page = visit(running, f"#/compare?user={user}&weight=2", before=watched)
    with both_asked(page, settled) as bodies:
        pass
    assert bodies["a"]["utility"] == {"rating_weight": 2} and "utility" not in bodies["b"]
    require_both(page, running, bodies)
    assert "of bundle a alone" in page.locator(".controls output").inner_text()
    assert page.get_by_label("Only where").count() == 0  # no column is in both
    page.goto(f"{running.url}/#/shortlist?user={user}&side=b")
    page.wait_for_selector(".list-row")
    settled(page)
    found = running.ask("/v1/recommend", {"user_id": user, "side": "b"})
    assert listed(page) == [item["item_id"] for item in found["items"]]
    assert page.get_by_label("Weight of the rating").count() == 0


def test_the_weight_of_two_bundles(visit: Any, pair: Any, settled: Any) -> None:
    """Each has its own until one is chosen for both; an address without one brings them back."""
    page = visit(pair, f"#/compare?user={USER}&weight=3")
    page.wait_for_selector(".compare-table")
    settled(page)
    slider, said = page.get_by_label("Weight of the rating"), page.locator(".controls output")
    assert slider.input_value() == "3" and said.inner_text().startswith("3.0 for both")
    slider.focus()
    page.evaluate(f"location.hash = '#/compare?user={USER}'")
    own = [one["utility"]["rating_weight"] for one in pair.ask("/v1/about")["sides"]]
    page.until("one => document.querySelector('.controls input[type=range]').value === one", f"{own[0]:g}")
    assert said.inner_text() == f"each bundle's own: a {own[0]:.1f}, b {own[1]:.1f}"


def test_what_has_no_effect_says_so(visit: Any, pair: Any, settled: Any) -> None:
    """A model that reads no history is not asked about somebody new."""
    page = visit(pair, "#/shortlist?side=b")
    settled(page)
    page.get_by_text("This model reads no history").wait_for()
    slider = page.get_by_label("Weight of the rating")
    assert slider.is_disabled() and "popular" in page.locator(".controls output").inner_text()
    page.locator(".who-facts button").first.click()
    page.until("!document.querySelector('.controls input[type=range]').disabled")
    assert slider.is_enabled() and "own" in page.locator(".controls output").inner_text()


def test_looking_is_no_impression(visit: Any, worlds: Any, tmp_path: Any, serve: Any, settled: Any) -> None:
    folders = [str(worlds / name) for name in ("histories", "ids")]
    words = (folders[0], "--against", folders[1], "--events", str(tmp_path / "events.db"), "--impressions")
    running = serve(*words)
    page = visit(running, f"#/compare?user={USER}")
    page.wait_for_selector(".compare-table")
    page.goto(f"{running.url}/#/shortlist?user={USER}")
    page.locator(".list-row").first.get_by_role("button", name=re.compile("^Why ")).click()
    page.wait_for_selector(".why[data-state=ready]")
    with urllib.request.urlopen(running.url + "/metrics", timeout=30) as answer:
        told = answer.read().decode()
    assert 'shortlist_variant_queries_total{variant="a"} 0.0' in told
    assert 'shortlist_variant_queries_total{variant="b"} 0.0' in told
