"""Why an item is in the shortlist, as the page tells it and as direct calls answer: `make test-browser`."""

from __future__ import annotations

import re
from typing import Any

import pytest
from reading import asked, not_had, number, past, rank_told, told

USER = "42"


def test_why_is_what_direct_calls_answer(visit: Any, server: Any, settled: Any) -> None:
    """Each figure is the answer's; and each history item's is that of a request told without it."""
    page = visit(server, f"#/shortlist?user={USER}")
    settled(page)
    changes, item = explained(page, server, settled)
    require_reasons(page, item)
    now = server.ask(f"/v1/users/{USER}")["user"]["timestamp"]
    require_recomputed(server, changes, item, past(server, USER), {"user_id": USER, "timestamp": now})


def test_why_of_a_changed_history_and_weight(visit: Any, server: Any, settled: Any) -> None:
    """An item taken out is no reason any more, one put in is; all is weighed as it was set."""
    history = past(server, USER)
    out, put = history[0]["item_id"], not_had(server, USER)
    page = visit(server, f"#/shortlist?user={USER}")
    settled(page)
    _, before = explained(page, server, settled)
    page = visit(server, f"#/shortlist?user={USER}&without={out}&with={put}&rated=2&weight=2.5")
    settled(page)
    changes, item = explained(page, server, settled)
    require_reasons(page, item)
    reasons = [one["item_id"] for one in changes if one["kind"] == "history" and one["item_id"]]
    assert reasons[0] == put and out not in reasons
    assert page.locator(".why-sum").inner_text().count("2.5 ×") == 1
    assert number(page.locator(".why-sum strong").inner_text()) == pytest.approx(
        item["retrieval_score"] + 2.5 * item["rating"], abs=0.0051
    )
    assert (before["item_id"], before["score"]) != (item["item_id"], item["score"])
    now = server.ask(f"/v1/users/{USER}")["user"]["timestamp"]
    kept = [{"item_id": put, "timestamp": history[0]["timestamp"], "rating": 2}, *history[1:]]
    more = {"user_id": USER, "timestamp": now, "utility": {"rating_weight": 2.5}}
    require_recomputed(server, changes, item, kept, more)


def test_why_of_somebody_new(visit: Any, server: Any, settled: Any) -> None:
    picked = ["50", "172", "181"]
    page = visit(server, "#/shortlist?" + "&".join(f"with={item}&rated=5" for item in picked))
    settled(page)
    changes, item = explained(page, server, settled)
    require_reasons(page, item)
    rows = [{"item_id": one, "rating": 5} for one in picked]
    assert [one["item_id"] for one in changes if one["kind"] == "history"][: len(picked)] == picked
    require_recomputed(server, changes, item, rows, {})


def test_why_of_retrieval_alone(visit: Any, bare: Any, settled: Any) -> None:
    """Without a second stage there is a score and nothing that it is the sum of."""
    user = bare.ask("/v1/users?limit=1")["rows"][0]["user_id"]
    page = visit(bare, f"#/shortlist?user={user}")
    settled(page)
    changes, item = explained(page, bare, settled)
    assert page.locator(".why-sum").count() == 0
    require_reasons(page, item)
    require_recomputed(bare, changes, item, past(bare, user), {"user_id": user})


def explained(page: Any, server: Any, settled: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Open the reasons of the second item. Returns what the same request answers: changes, and the item."""
    with asked(page, settled) as body:
        page.locator(".list-row").nth(1).get_by_role("button", name=re.compile("^Why ")).click()
    page.wait_for_selector(".why[data-state=ready]")
    answer = server.ask("/v1/recommend", body)
    item = answer["items"][1]
    assert body["explain"] == [item["item_id"]]
    return answer["explained"]["changes"], item


def require_reasons(page: Any, item: dict[str, Any]) -> None:
    """All figures of the page are an explained item's; bars are as long as what they stand for."""
    if page.locator(".why-sum").count():
        score = number(page.locator(".why-sum strong").inner_text())
        assert score == pytest.approx(item["score"], abs=0.0051)
    for button in page.locator(".why").get_by_role("button", name=re.compile("weaker")).all():
        button.click()
    shown: list[tuple[float, float, int | None]] = []
    drawn: list[tuple[float, float]] = []
    for table in page.locator(".why-bars table").all():
        lines = [line.locator("th, td").all_inner_texts() for line in table.locator("tbody tr").all()]
        own = [(number(line[2]), number(line[3]), rank_told(line[4])) for line in lines]
        assert [line[0] for line in own] == sorted((line[0] for line in own), reverse=True)
        # All bars have one scale, whatever they stand under.
        bars = table.locator("tbody .bars-track").all()
        drawn += [
            (bar.evaluate("one => Number(one.style.getPropertyValue('--length'))"), line[0])
            for bar, line in zip(bars, own, strict=True)
        ]
        apart = [line.locator("th, td").all_inner_texts() for line in table.locator("tfoot tr").all()]
        own += [(number(line[2]), number(line[3]), rank_told(line[4])) for line in apart]
        shown += own
    longest = max(abs(value) for _, value in drawn)
    for length, value in drawn:
        assert length * longest == pytest.approx(abs(value), abs=0.011)
    want = [
        (-one["score_change"], one["score"], one["rank"])
        for one in item["why"]
        if one["score"] is not None and (one["score_change"] != 0 or one["rank_change"])
    ]
    assert len(shown) == len(want) > 3
    for change, score, rank in want:
        n = next(
            n
            for n, one in enumerate(shown)
            if one[:2] == pytest.approx((change, score), abs=0.0051) and one[2] == rank
        )
        shown.pop(n)
    assert not shown


def require_recomputed(
    server: Any,
    changes: list[dict[str, Any]],
    item: dict[str, Any],
    history: list[dict[str, Any]],
    more: dict[str, Any],
) -> None:
    """Score and rank without a history item are those of a request that is told the rest of the history."""
    alone = [(n, one["item_id"]) for n, one in enumerate(changes) if one["kind"] == "history"]
    assert len(alone) >= 3
    for n, item_id in [one for one in alone if one[1]][:8]:
        kept = [row for row in history if row["item_id"] != item_id]
        # What was had stays left out: only what the model is told is changed.
        out = {"filter_seen": False, "exclude": [row["item_id"] for row in history]}
        direct = server.ask("/v1/recommend", {"k": 1_000, **out, **told(kept), **more})
        found = {one["item_id"]: one for one in direct["items"]}.get(item["item_id"])
        (why,) = (one for one in item["why"] if one["change"] == n)
        if found is None:
            assert why["rank"] is None
        else:
            assert found["score"] == pytest.approx(why["score"], abs=1e-4)
            assert found["rank"] == why["rank"]
