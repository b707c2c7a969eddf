"""Events in a caller's words: what is read, and how each bad one is named."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.server.events.event import Event, Impression, Refused
from shortlist.server.events.reading import read_events, read_impression
from shortlist.server.events.store import Outcome, Rejected

NOW = 1_700_000_000.5
WHOLE: dict[str, Any] = {"event_id": "e", "user_id": "u", "item_id": "i"}


def test_what_is_left_out_and_what_is_meant() -> None:
    read = read_events(
        [
            {**WHOLE, "user_id": 42, "item_id": 7, "rating": 3, "context": {"n": 1}},
            {**WHOLE, "timestamp": "2020-01-01T00:00:00", "rating": None, "event": "view"},
            {**WHOLE, "timestamp": "2020-01-01T01:00:00+01:00"},
            {**WHOLE, "timestamp": 12.0},
        ],
        now=NOW,
    )
    ids = {"event_id": "e", "user_id": "u", "item_id": "i"}
    assert read.events == (
        Event(event_id="e", user_id="42", item_id="7", rating=3.0, timestamp=1_700_000_000, context={"n": 1}),
        Event(**ids, timestamp=1_577_836_800, event="view"),
        Event(**ids, timestamp=1_577_836_800),
        Event(**ids, timestamp=12),
    )
    assert read.places == (0, 1, 2, 3)
    assert not read.rejected


@pytest.mark.parametrize(
    ("raw", "field", "why"),
    [
        (5, "", "expected an object with event_id, user_id, item_id, got 5 (int)"),
        ({}, "event_id", "this field is needed"),
        ({**WHOLE, "user_id": None}, "user_id", "this field is needed"),
        ({**WHOLE, "user_id": ""}, "user_id", "expected an id, got an empty text"),
        ({**WHOLE, "user_id": True}, "user_id", "expected text or a whole number, got True (bool)"),
        ({**WHOLE, "item_id": 1.5}, "item_id", "expected text or a whole number, got 1.5 (float)"),
        ({**WHOLE, "item_id": "x" * 513}, "item_id", "expected at most 512 characters, got 513"),
        (
            {**WHOLE, "item_id": "a\ud800"},
            "item_id",
            "expected text, got half a character ('\\ud800') at index 1",
        ),
        ({**WHOLE, "itemid": "x"}, "itemid", "no such field; did you mean 'item_id'"),
        ({**WHOLE, "event": 3}, "event", "expected text, got 3 (int)"),
        ({**WHOLE, "rating": "5"}, "rating", "expected a number, got '5' (str)"),
        ({**WHOLE, "rating": float("nan")}, "rating", "expected a finite number, got nan"),
        ({**WHOLE, "rating": 10**400}, "rating", "expected a number, got 1000"),
        ({**WHOLE, "rating": 9}, "rating", "expected 1 to 5, got 9"),
        ({**WHOLE, "weight": -1}, "weight", "expected a finite number of at least 0, got -1.0"),
        ({**WHOLE, "timestamp": 1.5}, "timestamp", "expected whole seconds since 1970"),
        ({**WHOLE, "timestamp": "yesterday"}, "timestamp", "or ISO 8601 text, got 'yesterday' (str)"),
        ({**WHOLE, "timestamp": int(NOW) * 1000}, "timestamp", "divide milliseconds by 1000"),
        ({**WHOLE, "timestamp": int(NOW) + 90_000}, "timestamp", "90,000 s ahead of this server's clock"),
        ({**WHOLE, "context": [1]}, "context", "expected an object of columns and values, got [1] (list)"),
        ({**WHOLE, "context": {"a": [1]}}, "context.a", "expected text, a number, true, false or null"),
        ({**WHOLE, "context": {"item_id": "x"}}, "context.item_id", "this name is that of another column"),
        ({**WHOLE, "context": {"": 1}}, "context", "a column's name: expected an id"),
        ({**WHOLE, "context": {"x": "y" * 5000}}, "context", "expected at most 4,096 bytes of JSON"),
        ({**WHOLE, "context": {"x": float("inf")}}, "context.x", "expected a finite number, got inf"),
        ({**WHOLE, "context": {"x": 2**64}}, "context.x", "expected a whole number of 64 bits"),
        ({**WHOLE, "context": {f"c{n}": n for n in range(40)}}, "context", "at most 32 columns, got 40"),
        ({**WHOLE, "event": "purchas"}, "event", "unknown type 'purchas'; did you mean 'purchase'"),
    ],
)
def test_a_bad_event_is_named(raw: Any, field: str, why: str) -> None:
    good = {**WHOLE, "event": "view"}
    read = read_events(
        [good, raw if not isinstance(raw, dict) else {"event": "view", **raw}, good],
        now=NOW,
        scale=(1.0, 5.0),
        kinds=("view", "purchase"),
    )
    assert read.places == (0, 2)
    ((index, at, said),) = [(r.index, r.field, r.why) for r in read.rejected]
    assert (index, at) == (1, field)
    assert why in said


def test_outcomes_are_told_in_the_callers_indices() -> None:
    read = read_events([{}, WHOLE, 3, WHOLE], now=NOW)
    written = Outcome(1, 0, (Rejected(1, "event_id", "taken"),))
    found = read.outcome(written)
    assert (found.accepted, [r.index for r in found.rejected]) == (1, [0, 2, 3])
    assert found.rejected[2] == Rejected(3, "event_id", "taken")


VALUES = st.sampled_from(
    [None, True, 0, -(2**70), 1.5, float("nan"), "", "x", "\ud800", [], [1], {}, {"a": []}]
)
FIELDS = st.sampled_from([*Event.__struct_fields__, "other"])


@settings(max_examples=30)
@given(st.lists(st.one_of(VALUES, st.dictionaries(FIELDS, VALUES, max_size=4), st.just(WHOLE)), max_size=4))
def test_whatever_json_gives_is_read_or_named(batch: list[Any]) -> None:
    batch = json.loads(json.dumps(batch))  # as JSON gives it
    read = read_events(batch, now=NOW)
    assert sorted([*read.places, *(r.index for r in read.rejected)]) == list(range(len(batch)))
    assert all(r.why for r in read.rejected)


def test_impressions_are_read() -> None:
    raw = {"request_id": "r", "user_id": 5, "items": ["a", 2], "propensity": [1, 0.5], "bundle": "b"}
    assert read_impression(raw, now=NOW) == Impression(
        request_id="r",
        user_id="5",
        items=("a", "2"),
        timestamp=1_700_000_000,
        bundle="b",
        propensity=(1.0, 0.5),
    )


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"items": "a"}, "items"),
        ({"items": ["a", ""]}, "items[1]"),
        ({"items": [None]}, "items[0]"),
        ({"items": ["a"] * 1001}, "items"),
        ({"propensity": [1.0]}, "propensity"),
        ({"propensity": [1.0, 0.0]}, "propensity[1]"),
        ({"propensity": [1.0, 1.5]}, "propensity[1]"),
        ({"timestamp": 10**12}, "timestamp"),
        ({"variant": "x" * 600}, "variant"),
        ({"request_id": ""}, "request_id"),
        ({"who": 1}, "who"),
    ],
)
def test_a_bad_impression_is_named(changes: dict[str, Any], field: str) -> None:
    raw = {"request_id": "r", "user_id": "u", "items": ["a", "b"], **changes}
    with pytest.raises(Refused) as refused:
        read_impression(raw, now=NOW)
    assert refused.value.fault.field == field
