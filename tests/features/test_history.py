"""A row's own past against lists of events, and what must never reach it."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist._typing import MISSING_INT
from shortlist.data.coded import expanded
from shortlist.features.fitted import fit_feature
from shortlist.features.history import NUMBERS, PAUSE, Events, Recent, Total, gap_buckets
from shortlist.features.log import NOWHERE, Log, Standing
from shortlist.features.residuals import SHRINK
from shortlist.specs.features import Bag, History
from shortlist.specs.gaps import GAPS

NUM_USERS, NUM_ITEMS, MEAN, LONG = 3, 4, 3.25, 50
IDS = np.array(["item b", "item d", "item a", "item c"], object)  # not in the order of the alphabet
EARLIER = ["history", "history_timestamp", "seen", "seen_residual"]
OTHERS = ["nearest", "nearest_timestamp", "others", "others_residual"]
LISTS = [*EARLIER, *OTHERS]
STEP = PAUSE // 2  # two steps are no pause yet, three are


class Event(NamedTuple):
    user: int
    item: int
    time: int
    rating: float


class Row(NamedTuple):
    """Who asks when; which of the given events it is, if any."""

    user: int
    time: int
    own: int = NOWHERE


times = st.integers(0, 7).map(lambda t: t * STEP)
event = st.builds(
    Event, st.integers(0, NUM_USERS - 1), st.integers(0, NUM_ITEMS - 1), times, st.integers(1, 5).map(float)
)
events = st.lists(event, max_size=12)
askers = st.builds(lambda user, time: Row(user, time), st.integers(-1, NUM_USERS), times)
strangers = st.lists(askers, max_size=4)


def made(given: list[Event], *, timed: bool = True) -> tuple[Events, np.ndarray]:
    columns = [np.array([e[k] for e in given], kind) for k, kind in enumerate([int, int, int, float])]
    clock = columns[2] if timed else None
    log, places = Log.of(columns[0], columns[1], clock, columns[3], NUM_USERS)
    return Events(log, IDS, MEAN, timed), places


def columns(
    given: list[Event], rows: list[Row], names: list[str], length: int = LONG, *, timed: bool = True
) -> dict[str, list[Any]]:
    """Each named column of the rows; of lists what they hold before their padding."""
    told, places = made(given, timed=timed)
    own = [NOWHERE if row.own == NOWHERE else places[row.own] for row in rows]
    at = Standing.of(np.array([r.user for r in rows]), np.array([r.time for r in rows]), np.array(own))
    found = told.columns(dict.fromkeys(names, length), at)
    return {name: [plain(value) for value in expanded(column)] for name, column in found.items()}


def plain(value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        return int(value)
    gone = {"O": value == "", "i": value == MISSING_INT}.get(value.dtype.kind)
    gone = np.isnan(value) if gone is None else gone
    kept = value[~gone].tolist()
    assert not gone[: len(kept)].any(), "what is missing stands at the end"
    return kept


class Naive:
    """The same, event by event."""

    def __init__(self, given: list[Event]) -> None:
        self.order = sorted(range(len(given)), key=lambda k: (given[k].user, given[k].time, k))
        self.events = [given[k] for k in self.order]

    def firsts(self, user: int) -> list[int]:
        mine = [p for p, e in enumerate(self.events) if e.user == user]
        items = [self.events[p].item for p in mine]
        return [p for k, p in enumerate(mine) if items[k] not in items[:k]]

    def residual(self, place: int, *, earlier: bool) -> float:
        event = self.events[place]
        same = [e.rating - MEAN for e in self.events if e.item == event.item]
        if earlier:
            same = [e.rating - MEAN for e in self.events if e.item == event.item and e.time < event.time]
        return event.rating - MEAN - sum(same) / (len(same) + SHRINK)

    def row(self, row: Row, length: int) -> dict[str, Any]:
        own = NOWHERE if row.own == NOWHERE else self.order.index(row.own)
        mine = [p for p, e in enumerate(self.events) if e.user == row.user]
        past = [p for p in mine if self.events[p].time < row.time]
        stands = own if own >= 0 else min(mine, default=0) + len(past)
        near = sorted(
            (p for p in mine if p != own),
            key=lambda p: (abs(self.events[p].time - row.time), abs(p - stands), p),
        )[:length]
        taken = self.events[own].item if own >= 0 else None
        seen = [p for p in self.firsts(row.user) if self.events[p].time < row.time][::-1][:length]
        others = [p for p in self.firsts(row.user) if self.events[p].item != taken][::-1][:length]
        recent = past[::-1][:length]
        return {
            "history": [IDS[self.events[p].item] for p in recent],
            "history_timestamp": [self.events[p].time for p in recent],
            "nearest": [IDS[self.events[p].item] for p in near],
            "nearest_timestamp": [self.events[p].time for p in near],
            "seen": [IDS[self.events[p].item] for p in seen],
            "seen_residual": pytest.approx([self.residual(p, earlier=True) for p in seen], abs=1e-6),
            "others": [IDS[self.events[p].item] for p in others],
            "others_residual": pytest.approx([self.residual(p, earlier=False) for p in others], abs=1e-6),
        } | self.numbers([self.events[p].time for p in past], row.time)

    def numbers(self, past: list[int], now: int) -> dict[str, int]:
        session, last = 0, now
        for time in past[::-1]:
            if last - time > PAUSE:
                break
            session, last = session + 1, time
        return {
            "past_count": len(past),
            "past_gap": now - past[-1] if past else MISSING_INT,
            "past_span": now - past[0] if past else MISSING_INT,
            "session_count": session,
        }


@given(told=events, more=strangers, length=st.sampled_from([1, 3, LONG]))
def test_what_a_row_is_told(told: list[Event], more: list[Row], length: int) -> None:
    rows = [*(Row(e.user, e.time, k) for k, e in enumerate(told)), *more, Row(-1, 0)]
    found, naive = columns(told, rows, [*LISTS, *NUMBERS], length), Naive(told)
    for k, row in enumerate(rows):
        assert {name: column[k] for name, column in found.items()} == naive.row(row, length)


@given(told=events, anew=events, row=askers, mine=st.booleans())
def test_nothing_of_a_rows_second_or_later_reaches_it(
    told: list[Event], anew: list[Event], row: Row, mine: bool
) -> None:
    """Events of its second and later changed, added, removed, its own one too: it is told the same."""
    before = [e for e in told if e.time < row.time]
    later = [e for e in told if e.time >= row.time]
    other = [e for e in anew if e.time >= row.time]
    own = [Event(row.user, 0, row.time, 1.0)] if mine and 0 <= row.user < NUM_USERS else []
    names = [*EARLIER, *NUMBERS]
    place = len(before) + len(later) if own else NOWHERE
    first = columns([*before, *later, *own], [row._replace(own=place)], names)
    assert columns([*other, *before], [row], names) == first
    assert columns(before, [row], names) == first
    assert encoded([*before, *later], row, "row") == encoded([*other, *before], row, "row")


def encoded(told: list[Event], row: Row, as_of: Any) -> list[Any]:
    """What features make of a row's past."""
    source, places = made(told)
    place = NOWHERE if row.own == NOWHERE else int(places[row.own])
    at = Standing.of(np.array([row.user]), np.array([row.time]), np.array([place]))
    out = []
    for spec in (History(length=3, as_of=as_of), Bag(as_of=as_of), Bag(as_of=as_of, rated=True, length=2)):
        feature = fit_feature(spec, IDS)
        assert isinstance(feature, Recent | Total)
        if isinstance(feature, Recent):
            feature = Recent(feature.spec, feature.vocabulary, timed=True)
        table: dict[str, Any] = {"timestamp": np.array([row.time])} | source.columns(feature.lengths, at)
        for key, array in feature.encode(table).items():
            kept = array[0][: len(np.trim_zeros(array[0] + 1, "b"))] if array.dtype.kind == "i" else array[0]
            out.append((key, kept.tolist()))
    return out


@given(told=events.filter(bool), which=st.integers(0, 11), rating=st.integers(1, 5).map(float))
def test_a_row_never_sees_itself(told: list[Event], which: int, rating: float) -> None:
    own = which % len(told)
    me, row = told[own], Row(told[own].user, told[own].time, own)
    found = {name: column[0] for name, column in columns(told, [row], OTHERS).items()}
    rest = [e for k, e in enumerate(told) if e.user == me.user and k != own]
    shown = zip(found["nearest"], found["nearest_timestamp"], strict=True)
    assert Counter(shown) == Counter((IDS[e.item], e.time) for e in rest)
    assert IDS[me.item] not in found["others"]
    assert set(found["others"]) == {IDS[e.item] for e in rest if e.item != me.item}

    changed = [*told[:own], me._replace(rating=rating), *told[own + 1 :]]
    assert {name: column[0] for name, column in columns(changed, [row], OTHERS).items()} == found
    assert encoded(changed, row, "leave-one-out") == encoded(told, row, "leave-one-out")

    # A row that is no event of the log leaves nothing out.
    every = {name: column[0] for name, column in columns(told, [row._replace(own=NOWHERE)], OTHERS).items()}
    assert Counter(every["nearest"]) == Counter(IDS[e.item] for e in [*rest, me])
    assert set(every["others"]) == {IDS[e.item] for e in [*rest, me]}
    if me.item not in {e.item for e in rest}:
        without = columns([*told[:own], *told[own + 1 :]], [row._replace(own=NOWHERE)], OTHERS)
        assert without["others"][0] == found["others"]
        assert without["others_residual"][0] == pytest.approx(found["others_residual"], abs=1e-6)


def test_without_times_nothing_is_earlier_and_neighbours_are_near() -> None:
    told = [Event(0, 0, 9, 5.0), Event(1, 1, 9, 1.0), Event(0, 2, 5, 2.0), Event(0, 3, 7, 4.0)]
    found = columns(told, [Row(0, 0, 2), Row(0, 0), Row(2, 0)], [*LISTS, *NUMBERS], timed=False)
    assert all(found[name] == [[]] * 3 for name in EARLIER)
    assert found["past_count"] == found["session_count"] == [0] * 3
    assert found["past_gap"] == found["past_span"] == [MISSING_INT] * 3
    assert found["nearest"] == [["item b", "item c"], ["item b", "item a", "item c"], []]
    assert found["others"] == [["item c", "item b"], ["item c", "item a", "item b"], []]


def test_a_log_of_nobody_tells_nothing() -> None:
    for found in columns([], [Row(0, 5), Row(-1, 5)], LISTS).values():
        assert found == [[], []]


@given(
    now=st.lists(st.sampled_from([0, 1, -1, MISSING_INT, 10**9, 2**40]), min_size=1, max_size=4),
    gap=st.sampled_from([0, 1, -1, *GAPS, *(g - 1 for g in GAPS), *(-g for g in GAPS), 2**45]),
)
def test_gap_buckets(now: list[int], gap: int) -> None:
    then = np.array([[n - gap if n != MISSING_INT else 0, MISSING_INT] for n in now])
    found = gap_buckets(np.array(now), then)
    known = 1 + sum(abs(gap) >= bound for bound in GAPS)
    assert found.tolist() == [[0 if n == MISSING_INT else known, 0] for n in now]


def test_unknown_items_have_the_unknown_row_and_padding_none() -> None:
    feature = fit_feature(Bag(), IDS)
    assert isinstance(feature, Total)
    given = np.array([["item b", "never", ""], ["", "", ""]], object)
    slots = feature.encode({"seen": given})["item_id.bag"]
    assert slots.tolist() == [[feature.vocabulary.lookup(IDS[:1])[0], 0, -1], [-1, -1, -1]]
