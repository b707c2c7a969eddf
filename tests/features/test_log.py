"""The log against lists of events, event by event."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.features.log import NOWHERE, Log, Standing
from shortlist.specs.features import AsOf

NUM_USERS = 3
AS_OF = pytest.mark.parametrize("as_of", ["row", "leave-one-out"])


class Event(NamedTuple):
    user: int
    item: int
    time: int
    rating: float


event = st.builds(
    Event, st.integers(0, NUM_USERS - 1), st.integers(0, 4), st.integers(0, 6), st.integers(1, 5).map(float)
)
events = st.lists(event, max_size=12)
strangers = st.lists(st.tuples(st.integers(-1, NUM_USERS + 1), st.integers(-1, 8)), max_size=4)
lengths = st.integers(1, 5)


def made(rows: list[Event]) -> tuple[Log, np.ndarray, list[Event]]:
    """A log, its rows' places, and its events as they should lie in it."""
    columns = [np.array([e[k] for e in rows], kind) for k, kind in enumerate([int, int, int, float])]
    log, places = Log.of(*columns, NUM_USERS)
    order = sorted(range(len(rows)), key=lambda k: (rows[k].user, rows[k].time, k))
    return log, places, [rows[k] for k in order]


def asked(rows: list[Event], places: np.ndarray, more: list[tuple[int, int]]) -> tuple[Standing, list[tuple]]:
    """Rows of the log and others, as arrays and as (user, time, place)."""
    plain = [(e.user, e.time, int(place)) for e, place in zip(rows, places, strict=True)]
    plain += [(user, time, NOWHERE) for user, time in more]
    users, times, own = (np.array([row[k] for row in plain], np.int64) for k in range(3))
    return Standing.of(users, times, own), plain


def visible(ordered: list[Event], row: tuple[int, int, int], as_of: AsOf) -> list[int]:
    user, time, own = row
    places = [p for p, e in enumerate(ordered) if e.user == user]
    if as_of == "row":
        return [p for p in places if ordered[p].time < time]
    return [p for p in places if p != own]


def nearest(ordered: list[Event], row: tuple[int, int, int], as_of: AsOf) -> list[int]:
    """Places a row sees, nearest first: by seconds, by steps from where it stands, and the earlier."""
    user, time, own = row
    places = visible(ordered, row, as_of)
    if as_of == "row":
        return places[::-1]
    mine = [p for p, e in enumerate(ordered) if e.user == user]
    stands = own if own >= 0 else min(mine, default=0) + sum(ordered[p].time < time for p in mine)
    return sorted(places, key=lambda p: (abs(ordered[p].time - time), abs(p - stands), p))


@given(rows=events)
def test_of(rows: list[Event]) -> None:
    log, places, ordered = made(rows)
    assert log.users.tolist() == [e.user for e in ordered]
    assert log.items.tolist() == [e.item for e in ordered]
    assert log.times.tolist() == [e.time for e in ordered]
    assert log.ratings is not None and log.ratings.tolist() == [e.rating for e in ordered]
    assert [ordered[place] for place in places] == rows
    assert (len(log), log.num_users) == (len(rows), NUM_USERS)
    assert log.items.dtype == np.int32 and log.ratings.dtype == np.float32
    assert {a.dtype for a in (log.indptr, log.times, places)} == {np.dtype(np.int64)}
    assert log.repeats == (len({(e.user, e.item) for e in rows}) < len(rows))


def test_of_without_times_and_ratings() -> None:
    log, places = Log.of(np.array([1, 0, 1]), np.array([5, 6, 7]), None, None, 2)
    assert log.items.tolist() == [6, 5, 7]
    assert places.tolist() == [1, 0, 2]
    assert log.times.tolist() == [0, 0, 0] and log.ratings is None


@AS_OF
@given(rows=events, more=strangers, length=lengths)
def test_what_a_row_sees(as_of: AsOf, rows: list[Event], more: list[tuple[int, int]], length: int) -> None:
    log, places, ordered = made(rows)
    at, plain = asked(rows, places, more)
    start, stop = log.ranges(at, as_of)
    counted, past, every = log.counted(at, as_of), log.past(at, as_of, length), log.every(at, as_of, length)
    assert past.shape == (len(plain), length)
    for k, row in enumerate(plain):
        seen = visible(ordered, row, as_of)
        assert [p for p in range(start[k], stop[k]) if p != row[2]] == seen
        assert counted[k] == len(seen)
        expected = nearest(ordered, row, as_of)[:length]
        assert past[k].tolist() == expected + [NOWHERE] * (length - len(expected))
        last = seen[::-1][:length]
        assert every[k].tolist() == last + [NOWHERE] * (every.shape[1] - len(last))


@given(rows=events, sought=st.lists(event, max_size=4))
def test_find(rows: list[Event], sought: list[Event]) -> None:
    log, _, ordered = made(rows)
    wanted = [*rows, *sought, Event(-1, 0, 0, 0.0), Event(NUM_USERS, 0, 0, 0.0)]
    users, items, times = (np.array([e[k] for e in wanted], np.int64) for k in range(3))
    keys = [e[:3] for e in ordered]
    expected = [keys.index(e[:3]) if e[:3] in keys else NOWHERE for e in wanted]
    assert log.find(users, items, times).tolist() == expected


@given(rows=events)
def test_firsts(rows: list[Event]) -> None:
    log, _, ordered = made(rows)
    pairs = [e[:2] for e in ordered]
    kept = [p for p, pair in enumerate(pairs) if pair not in pairs[:p]]
    assert log.first_places().tolist() == kept
    firsts = log.firsts()
    assert firsts.ratings is not None and firsts.num_users == NUM_USERS
    columns = firsts.users, firsts.items, firsts.times, firsts.ratings
    assert [Event(*e) for e in zip(*(c.tolist() for c in columns), strict=True)] == [ordered[p] for p in kept]
    assert not firsts.repeats


@AS_OF
def test_a_log_of_nobody(as_of: AsOf) -> None:
    none = np.zeros(0, np.int64)
    log, _ = Log.of(none, none, none, none, 0)
    at = Standing.of(np.array([-1, 0, 3]), np.array([5, 5, 5]))
    assert log.counted(at, as_of).tolist() == [0, 0, 0]
    assert log.past(at, as_of, 2).tolist() == [[NOWHERE] * 2] * 3
    assert log.find(at.users, np.zeros(3, np.int64), at.times).tolist() == [NOWHERE] * 3
    assert not log.repeats


def test_distant_seconds() -> None:
    """Milliseconds since 1970 and a long look keep the order of nearness."""
    base = 1_700_000_000_000
    log, places = Log.of(
        np.zeros(4, np.int64), np.arange(4), np.array([0, base, base + 1, base * 2]), None, 1
    )
    at = Standing.of(np.zeros(4), log.times, places)
    assert log.past(at, "leave-one-out", 500)[1, :3].tolist() == [2, 0, 3]


def test_rows_of_a_standing() -> None:
    at = Standing.of(np.array([3, 4, 5]), np.array([7, 8, 9]))
    picked = at.rows(np.array([2, 0]))
    assert picked.users.tolist() == [5, 3] and picked.times.tolist() == [9, 7]
    assert picked.places.tolist() == [NOWHERE, NOWHERE]
