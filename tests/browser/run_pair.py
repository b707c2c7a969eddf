"""What the explorer says of weights, and what it leaves alone, with two bundles: `make test-browser`."""

from __future__ import annotations

import re
import urllib.request
from typing import Any

USER = "42"


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
