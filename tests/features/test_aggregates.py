"""Aggregates against their definition, row by row; what they may not see; what they cost a request."""

from __future__ import annotations

import json
from dataclasses import replace
from math import cos, exp, isnan, log1p, log2, nan, pi, sin, sqrt
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shortlist._typing import Columns
from shortlist.data.coded import Coded
from shortlist.errors import DataError, ShortlistError, SpecError
from shortlist.features.aggregates import Aggregates, fit_aggregates, fit_over
from shortlist.features.log import Log, Standing
from shortlist.specs.aggregates import Affinity, Aggregate, AggregateSpec, Context
from shortlist.specs.features import AsOf

USERS: Columns = {
    "sex": np.array(["F", "M", "F", ""], object),
    "age": np.array([20, 30, np.iinfo(np.int64).min, 45]),
}
ITEMS: Columns = {
    "genres": np.array([["a", "b"], ["b", ""], ["", ""], ["c", "a"], ["a", "a"]], object),
    "year": np.array([1990.0, 1992.5, nan, 1990.0, 1999.0]),
}
NUM_USERS, NUM_ITEMS = 4, 5


class Event(NamedTuple):
    user: int
    item: int
    time: int
    rating: float


def specs(as_of: AsOf) -> list[AggregateSpec]:
    def some(*by: str, **fields: Any) -> Aggregate:
        return Aggregate(by=by, as_of=as_of, **fields)

    def like(**fields: Any) -> Affinity:
        return Affinity(as_of=as_of, **fields)

    return [
        some("user_id"),
        some("user_id", statistic="spread", shrink=0.0),
        some("user_id", statistic="count"),
        some("user_id", of="rating", window=2.0),
        some("user_id", last=2),
        some("user_id", last=3, window=1.0, shrink=0.5),
        some("item_id"),
        some("item_id", statistic="spread", window=3.0),
        some("item_id", last=1, statistic="count"),
        some("item_id", "user_id"),
        some("item_id", "sex", shrink=0.0),
        some("item_id", "age", bins=2),
        some("user_id", "genres"),
        some("user_id", "genres", last=1),
        some("user_id", "genres", statistic="spread"),
        some("user_id", "genres", "year", bins=2, statistic="count"),
        some("user_id", "year"),
        some("user_id", "popularity"),
        some("user_id", "popularity", last=2),
        some("item_id", "activity", window=2.0),
        some("popularity", "activity"),
        some("genres", "sex"),
        some("genres", "age", bins=2, statistic="spread", window=3.0),
        some("genres", of="rating", last=3),
        some(),
        some(window=2.0, statistic="spread"),
        some(statistic="count", last=2),
        Context("since_first", as_of=as_of),
        Context("gap", as_of=as_of),
        Context("gap", last=3, as_of=as_of),
        Context("position", as_of=as_of),
        Context("hour_sine", as_of=as_of),
        Context("hour_cosine", as_of=as_of),
        Context("time", as_of=as_of),
        Context("column", column="year", as_of=as_of),
        Context("column", column="age", as_of=as_of),
        Context("column", column="sex", equals="F", as_of=as_of),
        Context("column", column="genres", equals="a", as_of=as_of),
        like(tags="genres"),
        like(tags="genres", power=2.0, near="year", width=5.0, shrink=1.0),
        like(near="popularity", width=0.7, shrink=0.0),
        like(by="item_id", tags="sex"),
        like(by="item_id", near="age", width=7.0),
        like(by="item_id", near="activity", width=0.5),
    ]


SPECS: dict[AsOf, list[AggregateSpec]] = {
    "row": [*specs("row"), Aggregate(by=("genres",), last=2)],
    "leave-one-out": [*specs("leave-one-out"), Aggregate(window=0.5, as_of="leave-one-out")],
}
AS_OF = pytest.mark.parametrize("as_of", ["row", "leave-one-out"])

event = st.builds(
    Event,
    st.integers(0, NUM_USERS - 1),
    st.integers(0, NUM_ITEMS - 1),
    st.integers(0, 8),
    st.integers(1, 5).map(float),
)
events = st.lists(event, max_size=14)
strange = st.lists(
    st.tuples(st.integers(-1, NUM_USERS + 1), st.integers(0, NUM_ITEMS - 1), st.integers(-2, 10)), max_size=4
)


def log_of(rows: list[Event], num_users: int = NUM_USERS) -> tuple[Log, np.ndarray]:
    columns = list(zip(*rows, strict=True)) if rows else [[], [], [], []]
    user, item, time = (np.array(column, np.int64) for column in columns[:3])
    return Log.of(user, item, time, np.array(columns[3], np.float32), num_users)


class Naive:
    """The definition, event by event. Events are in the order of the log."""

    def __init__(self, fitted: Aggregates, rows: list[Event], as_of: AsOf) -> None:
        self.events = [
            rows[k] for k in sorted(range(len(rows)), key=lambda k: (rows[k].user, rows[k].time, k))
        ]
        self.mean = fitted.mean
        self.edges = {(name, bins): cuts for name, bins, cuts in fitted.edges}
        self.as_of = as_of
        self.known: dict[Any, float] = {}

    def earlier(self, other: Event, than: int) -> bool:
        return other.time < than or self.as_of == "leave-one-out"

    def item_mean(self, e: Event) -> float:
        those = [o for o in self.events if o.item == e.item and o.user != e.user and self.earlier(o, e.time)]
        return sum(o.rating - self.mean for o in those) / (len(those) + 5)

    def user_mean(self, e: Event, plain: bool) -> float:
        those = [o for o in self.events if o.user == e.user and o.item != e.item and self.earlier(o, e.time)]
        above = [o.rating - self.mean - (0 if plain else self.item_mean(o)) for o in those]
        return sum(above) / (len(those) + 5)

    def residual(self, e: Event, by: tuple[str, ...], of: str) -> float:
        key = e, "user_id" in by, "item_id" in by, of
        if key not in self.known:
            self.known[key] = self.worked_out(e, by, of)
        return self.known[key]

    def worked_out(self, e: Event, by: tuple[str, ...], of: str) -> float:
        value = e.rating - self.mean
        if of == "rating":
            return value
        neither = "user_id" not in by and "item_id" not in by
        if "user_id" in by or neither:
            value -= self.item_mean(e)
        if "user_id" not in by:
            value -= self.user_mean(e, plain=neither and self.as_of == "leave-one-out")
        return value

    def count_of(self, name: str, user: int, item: int, time: int) -> int:
        field, value = ("item", item) if name == "popularity" else ("user", user)
        return sum(getattr(o, field) == value and self.earlier(o, time) for o in self.events)

    def values(self, name: str, bins: int, user: int, item: int, counts: dict[str, int]) -> set[Any]:
        if name in ("user_id", "item_id"):
            return {user if name == "user_id" else item} - {-1}
        if name in counts:
            return {int(2 * log2(1 + counts[name]) + 1e-9)}
        table, row = (USERS, user) if name in USERS else (ITEMS, item)
        if not 0 <= row < len(table[name]):
            return set()
        found = np.atleast_1d(table[name][row]).tolist()
        kept = {v for v in found if v not in ("", np.iinfo(np.int64).min) and v == v}
        cuts = self.edges.get((name, bins))
        return kept if cuts is None else {sum(v >= cut for cut in cuts) for v in kept}

    def shared(self, spec: Aggregate, e: Event, user: int, item: int, time: int, own: int) -> int:
        """How many combinations of values an event shares with a row."""
        less = own >= 0 and self.as_of == "leave-one-out"
        row = {k: self.count_of(k, user, item, time) - less for k in ("popularity", "activity")}
        theirs = {k: self.count_of(k, e.user, e.item, e.time) for k in ("popularity", "activity")}
        number = 1
        for name in spec.by:
            ours = self.values(name, spec.bins, user, item, row)
            number *= len(ours & self.values(name, spec.bins, e.user, e.item, theirs))
        return number

    def in_reach(self, k: int, time: int, own: int, window: float) -> bool:
        away = time - self.events[k].time
        if self.as_of == "row":
            return away > 0 and (not window or away <= window)
        return k != own and (not window or abs(away) <= window)

    def aggregate(self, spec: Aggregate, user: int, item: int, time: int, own: int) -> float:
        values = []  # one list a combination of values, for `last` holds within each
        for only in self.combinations(spec, user, item, time, own):
            sought = [k for k in range(len(self.events)) if only(self.events[k])]
            near = [k for k in sought if self.in_reach(k, time, own, spec.window)]
            if spec.last:
                near = self.nearest(sought, near, time, own)[: spec.last]
            values += near
        if spec.apart:
            values = [k for k in values if self.events[k].user != user and self.events[k].item != item]
        if spec.statistic == "count":
            return log1p(len(values)) / 3
        above = [self.residual(self.events[k], spec.by, spec.of) for k in values]
        weight = len(above) + spec.shrink
        if spec.statistic == "mean":
            return sum(above) / weight if weight else 0.0
        return sqrt((sum(x * x for x in above) + spec.shrink) / weight) if weight else 0.0

    def combinations(self, spec: Aggregate, user: int, item: int, time: int, own: int) -> list[Any]:
        """A test for events for every combination of the row's values of the key."""
        if "genres" not in spec.by:
            return [lambda e: self.shared(spec, e, user, item, time, own) > 0]

        def test(value: str) -> Any:
            def same(e: Event) -> bool:
                others = [n for n in spec.by if n != "genres"]
                agree = all(
                    self.values(n, spec.bins, user, item, {}) & self.values(n, spec.bins, e.user, e.item, {})
                    for n in others
                )
                return agree and value in self.values("genres", 0, e.user, e.item, {})

            return same

        return [test(value) for value in sorted(self.values("genres", 0, user, item, {}))]

    def nearest(self, sought: list[int], near: list[int], time: int, own: int) -> list[int]:
        """Those in reach, nearest first: by seconds, then steps in the order of (time, place), then left."""
        ordered = sorted(sought, key=lambda k: (self.events[k].time, k))
        if self.as_of == "row":
            return [k for k in reversed(ordered) if k in near]
        centre = ordered.index(own) if own in ordered else sum(self.events[k].time < time for k in ordered)
        steps = {k: abs(place - centre) for place, k in enumerate(ordered)}
        away = {k: abs(time - self.events[k].time) for k in ordered}
        ranked = sorted(ordered, key=lambda k: (away[k], steps[k], ordered.index(k)))
        return [k for k in ranked if k in near]

    def context(self, spec: Context, user: int, item: int, time: int, own: int) -> float:
        mine = [k for k, e in enumerate(self.events) if e.user == user]
        past = [k for k in mine if self.events[k].time < time]
        if spec.what == "since_first":
            return log1p(time - self.events[past[0]].time) / 10 if past else 0.0
        if spec.what == "position":
            return log1p(len(past)) / 5
        if spec.what == "gap":
            near = [k for k in mine if self.in_reach(k, time, own, 0)]
            gaps = sorted(abs(time - self.events[k].time) for k in near)
            return log1p(gaps[spec.last - 1]) / 5 if len(gaps) >= spec.last else 0.0
        if spec.what == "column":
            found = self.values(spec.column, 0, user, item, {})
            return float(spec.equals in found) if spec.equals else float(next(iter(found), nan))
        angle = 2 * pi * (time % 86_400) / 86_400
        return {"time": float(time), "hour_sine": sin(angle), "hour_cosine": cos(angle)}[spec.what]

    def affinity(self, spec: Affinity, user: int, item: int, time: int, own: int) -> float:
        above = weights = 0.0
        for k, e in enumerate(self.events):
            same = e.user == user if spec.by == "user_id" else e.item == item
            if same and self.in_reach(k, time, own, 0):
                weight = self.likeness(spec, e, user, item, time, own)
                above += weight * self.residual(e, (spec.by,), "residual")
                weights += weight
        return above / (weights + spec.shrink) if weights + spec.shrink > 0 else 0.0

    def likeness(self, spec: Affinity, e: Event, user: int, item: int, time: int, own: int) -> float:
        weight = 1.0
        if spec.tags:
            a = self.values(spec.tags, 0, user, item, {})
            b = self.values(spec.tags, 0, e.user, e.item, {})
            weight *= (len(a & b) / sqrt(len(a) * len(b)) if a and b else 0.0) ** spec.power
        if spec.near in ("popularity", "activity"):
            less = own >= 0 and self.as_of == "leave-one-out"
            one = log1p(self.count_of(spec.near, user, item, time) - less)
            other = log1p(self.count_of(spec.near, e.user, e.item, e.time))
            return weight * exp(-(((one - other) / spec.width) ** 2) / 2)
        if spec.near:
            a = self.values(spec.near, 0, user, item, {})
            b = self.values(spec.near, 0, e.user, e.item, {})
            weight *= exp(-(((min(a) - min(b)) / spec.width) ** 2) / 2) if a and b else 0.0
        return weight

    def figure(self, spec: AggregateSpec, user: int, item: int, time: int, own: int) -> float:
        kind = {Aggregate: self.aggregate, Context: self.context, Affinity: self.affinity}[type(spec)]
        return kind(spec, user if user < NUM_USERS else -1, item, time, own)  # type: ignore[operator]


def standing(rows: list[Event], places: np.ndarray, more: Any = ()) -> tuple[Standing, np.ndarray]:
    """Where the events of a log stand, and then rows that are none of it."""
    users = np.array([e.user for e in rows] + [u for u, _, _ in more], np.int64)
    items = np.array([e.item for e in rows] + [i for _, i, _ in more], np.int64)
    times = np.array([e.time for e in rows] + [t for _, _, t in more], np.int64)
    return Standing.of(users, times, np.append(places, [-1] * len(more))), items


def same_bits(fitted: Aggregates, found: np.ndarray, expected: np.ndarray, rounding: float = 0.0) -> None:
    """Equal to the last bit, affinities to float32's rounding."""
    loose = [isinstance(spec, Affinity) for spec in fitted.specs]
    np.testing.assert_allclose(found[..., loose], expected[..., loose], atol=1e-5)
    tight = np.logical_not(loose)
    np.testing.assert_allclose(found[..., tight], expected[..., tight], rtol=0, atol=rounding)


def figures(fitted: Aggregates, rows: list[Event], more: Any = ()) -> np.ndarray:
    log, places = log_of(rows)
    at, items = standing(rows, places, more)
    return fitted.over(log, USERS, ITEMS).figures(at, items)


def fit(chosen: list[AggregateSpec], rows: list[Event] | None = None) -> Aggregates:
    return fit_aggregates(chosen, log_of(FIXED if rows is None else rows)[0], USERS, ITEMS)


_dice = np.random.default_rng(3).integers(0, [4, 5, 9, 5], (40, 4)).tolist()
FIXED = [Event(user, item, time, 1.0 + rating) for user, item, time, rating in _dice]
FITTED: dict[AsOf, Aggregates] = {as_of: fit(chosen) for as_of, chosen in SPECS.items()}


@AS_OF
@settings(max_examples=25)
@given(rows=events, more=strange)
@example(rows=FIXED, more=[(1, 2, 4), (-1, 0, 3)])
def test_as_defined(as_of: AsOf, rows: list[Event], more: list[tuple[int, int, int]]) -> None:
    fitted = FITTED[as_of]
    found = figures(fitted, rows, more)
    naive = Naive(fitted, rows, as_of)
    _, places = log_of(rows)
    asked = [(e.user, e.item, e.time, int(p)) for e, p in zip(rows, places, strict=True)]
    asked += [(*row, -1) for row in more]
    for k, (user, item, time, own) in enumerate(asked):
        for column, spec in enumerate(fitted.specs):
            expected = naive.figure(spec, user, item, time, own)
            close = np.isclose(found[k, column], expected, atol=1e-5, equal_nan=True)
            assert close, (spec.name, asked[k], found[k, column], expected)


@settings(max_examples=25)
@given(rows=events, now=st.integers(0, 8), changes=st.lists(event, max_size=4), drop=st.integers(0, 3))
def test_row_sees_nothing_of_its_second_or_later(
    rows: list[Event], now: int, changes: list[Event], drop: int
) -> None:
    """Later events altered, added or gone: the rows of this second have the figures they had."""
    past = [e for e in rows if e.time < now]
    later = [e for e in rows if e.time >= now]
    other = [e._replace(rating=6 - e.rating) for e in later[drop:]]
    other += [e._replace(time=max(e.time, now)) for e in changes]
    more = [(user, item, now) for user in range(-1, NUM_USERS) for item in range(NUM_ITEMS)]
    fitted = FITTED["row"]
    before = figures(fitted, past + later, more)[-len(more) :]
    same_bits(fitted, figures(fitted, past + other, more)[-len(more) :], before)
    same_bits(fitted, figures(fitted, past, more)[-len(more) :], before)


@settings(max_examples=15)
@given(rows=events)
def test_row_replays(rows: list[Event]) -> None:
    """A training row's figures are those of the log as it was before the row's second."""
    fitted = FITTED["row"]
    found = figures(fitted, rows)
    for k, e in enumerate(rows):
        cut = [o for o in rows if o.time < e.time]
        served = figures(fitted, cut, [(e.user, e.item, e.time)])[-1]
        same_bits(fitted, served, found[k])


@AS_OF
@settings(max_examples=25)
@given(rows=events.filter(bool), which=st.integers(0, 99), rating=st.integers(1, 5))
def test_own_rating_unseen(as_of: AsOf, rows: list[Event], which: int, rating: int) -> None:
    k = which % len(rows)
    other = [e._replace(rating=float(rating)) if j == k else e for j, e in enumerate(rows)]
    fitted = FITTED[as_of]
    same_bits(fitted, figures(fitted, other)[k], figures(fitted, rows)[k])


@AS_OF
def test_changes_are_seen(as_of: AsOf) -> None:
    """The properties above are not kept by figures that never change."""
    fitted = FITTED[as_of]
    before, after = figures(fitted, FIXED), figures(fitted, [e._replace(rating=1.0) for e in FIXED])
    rated = [not isinstance(s, Context) and getattr(s, "statistic", "") != "count" for s in fitted.specs]
    assert (np.nanmax(np.abs(before - after), axis=0) > 1e-3).tolist() == rated


def test_foreign_rows_exclude_nothing() -> None:
    fitted = fit([Aggregate(as_of="leave-one-out", statistic="count")])
    e = FIXED[0]
    found = figures(fitted, FIXED, [(e.user, e.item, e.time)])[:, 0]
    held = sum(o.user == e.user for o in FIXED)
    assert found[-1] == pytest.approx(log1p(held) / 3)
    assert found[0] == pytest.approx(log1p(held - 1) / 3)


@AS_OF
@settings(max_examples=10)
@given(rows=events, theirs=events)
def test_extra_users(as_of: AsOf, rows: list[Event], theirs: list[Event]) -> None:
    """What is by user comes out as in one log of all, what is by item as for a user without events."""
    fitted = FITTED[as_of]
    theirs = [e._replace(user=0) for e in theirs]
    small, places = log_of(theirs, 1)
    columns = {"sex": np.array(["M"], object), "age": np.array([30])}
    extra = fitted.over(log_of(rows)[0], USERS, ITEMS).with_users(small, columns)
    at, items = standing(theirs, places, [(0, item, 5) for item in range(NUM_ITEMS)])
    found = extra.figures(at, items)
    log, spots = log_of([*rows, *[e._replace(user=NUM_USERS) for e in theirs]], NUM_USERS + 1)
    everyone = {name: np.append(USERS[name], columns[name]) for name in USERS}
    where = Standing.of(
        np.full(len(items), NUM_USERS), at.times, np.append(spots[len(rows) :], [-1] * NUM_ITEMS)
    )
    joint = fitted.over(log, everyone, ITEMS).figures(where, items)
    without, _ = log_of(rows, NUM_USERS + 1)
    alone = fitted.over(without, everyone, ITEMS)
    alone_found = alone.figures(Standing.of(where.users, at.times), items)
    for column, spec in enumerate(fitted.specs):
        by = getattr(spec, "by", ())
        if {"popularity", "activity"} & {*by, getattr(spec, "near", "")}:
            continue  # their own events count towards popularity in the one log only
        same = joint if "user_id" in by or isinstance(spec, Context) else alone_found
        np.testing.assert_allclose(found[:, column], same[:, column], atol=1e-5, err_msg=spec.name)


def test_extra_users_popularity_and_activity() -> None:
    """The items' events by all, the user's own by their own log."""
    chosen = [Aggregate(("item_id", "activity"), "count"), Aggregate(("user_id", "popularity"), "count")]
    fitted = fit([*chosen])  # type: ignore[arg-type]
    theirs = [Event(0, item, 20 + item, 3.0) for item in range(NUM_ITEMS)]
    extra = fitted.over(log_of(FIXED)[0], USERS, ITEMS).with_users(
        log_of(theirs, 1)[0], {"sex": np.array([""], object), "age": np.array([1])}
    )
    found = extra.figures(Standing.of(np.zeros(NUM_ITEMS), np.full(NUM_ITEMS, 30)), np.arange(NUM_ITEMS))
    log = sorted(FIXED, key=lambda e: e.time)

    def half_steps(count: int) -> int:
        return int(2 * log2(1 + count) + 1e-9)

    def past(**sought: int) -> int:
        [(field, value)] = sought.items()
        return sum(getattr(e, field) == value for e in log)

    for item in range(NUM_ITEMS):
        active = [
            e
            for e in log
            if e.item == item
            and half_steps(sum(o.user == e.user and o.time < e.time for o in log)) == half_steps(NUM_ITEMS)
        ]
        popular = [e for e in theirs if half_steps(past(item=e.item)) == half_steps(past(item=item))]
        np.testing.assert_allclose(found[item], [log1p(len(active)) / 3, log1p(len(popular)) / 3])


def test_standardised_on_training_rows() -> None:
    fitted = FITTED["row"]
    log, places = log_of(FIXED)
    at, items = standing(FIXED, places)
    ready = fitted.over(log, USERS, ITEMS)
    raw, values = ready.figures(at, items), ready.values(at, items)
    deviation = np.nanstd(raw, axis=0)
    expected = (raw - np.nanmean(raw, axis=0)) / np.where(deviation > 1e-9, deviation, 1)
    expected = np.nan_to_num(np.clip(expected, -5, 5))
    np.testing.assert_allclose(values, expected, atol=1e-5)
    np.testing.assert_array_equal(fit_over(SPECS["row"], log, USERS, ITEMS).values(at, items), values)
    assert values.dtype == np.float32 and values.shape == (len(FIXED), fitted.width)
    far = ready.values(Standing.of(np.zeros(1), np.array([10**9])), np.zeros(1, np.int64))
    assert far.max() == 5.0


def test_plain_values_and_back() -> None:
    for fitted in FITTED.values():
        again = Aggregates.from_dict(json.loads(json.dumps(fitted.to_dict())))
        assert again == fitted and hash(again) == hash(fitted)
        np.testing.assert_array_equal(figures(again, FIXED), figures(fitted, FIXED))
        assert len(set(fitted.names)) == fitted.width
    assert FITTED["leave-one-out"].foresees and not FITTED["row"].foresees


@AS_OF
def test_large_keys_are_ranked(as_of: AsOf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that do not fit beside a second give the same figures."""
    from shortlist.features import running

    expected = figures(FITTED[as_of], FIXED, [(-1, 0, 3), (2, 1, 3)])
    monkeypatch.setattr(running, "LARGEST", 0)
    np.testing.assert_array_equal(figures(FITTED[as_of], FIXED, [(-1, 0, 3), (2, 1, 3)]), expected)


@AS_OF
@pytest.mark.parametrize(("crowd", "block", "pairs"), [(0, 3, 1), (10**6, 1, 7)])
def test_affinities_in_pieces(
    as_of: AsOf, crowd: int, block: int, pairs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weighing all of a key's events for all its rows, or each row's own, comes to the same."""
    from shortlist.features import affinities

    fitted = fit([spec for spec in SPECS[as_of] if isinstance(spec, Affinity)])
    expected = figures(fitted, FIXED, [(-1, 0, 3), (2, 1, 3)])
    for name, value in (("CROWD", crowd), ("BLOCK", block), ("PAIRS", pairs)):
        monkeypatch.setattr(affinities, name, value)
    np.testing.assert_allclose(figures(fitted, FIXED, [(-1, 0, 3), (2, 1, 3)]), expected, atol=1e-5)


@AS_OF
def test_coded_columns(as_of: AsOf) -> None:
    """Texts in coded form are the texts."""
    users = USERS | {"sex": Coded(np.array([0, 2, 0, -1], np.int32), np.array(["F", "G", "M"], object))}
    letters = np.array(["a", "b", "c"], object)
    genres = np.array([[0, 1], [1, -1], [-1, -1], [2, 0], [0, 0]], np.int32)
    log, places = log_of(FIXED)
    at, items = standing(FIXED, places)
    things = ITEMS | {"genres": Coded(genres, letters)}
    found = FITTED[as_of].over(log, users, things).figures(at, items)  # type: ignore[arg-type]
    np.testing.assert_array_equal(found, figures(FITTED[as_of], FIXED))


def test_empty_and_unrated_logs() -> None:
    empty, _ = log_of([])
    at = Standing.of(np.array([0, -1]), np.array([3, 3]))
    for chosen in SPECS.values():
        ready = fit_aggregates(chosen, empty, USERS, ITEMS).over(empty, USERS, ITEMS)
        assert np.isfinite(ready.values(at, np.array([0, 1]))).all()
    unrated = replace(log_of(FIXED)[0], ratings=None)
    chosen = [Aggregate(("user_id",), "count"), Aggregate(("item_id", "popularity"), "count"), Context("gap")]
    ready = fit_aggregates(chosen, unrated, USERS, ITEMS).over(unrated, USERS, ITEMS)
    assert ready.figures(at, np.array([0, 1]))[0, 0] > 0


@pytest.mark.parametrize(
    ("spec", "message", "hint"),
    [
        (Aggregate(("genre",)), "no column 'genre'", "did you mean 'genres'"),
        (Aggregate(("user",)), "no column 'user'", "did you mean 'user_id'"),
        (Aggregate(("sex",), bins=3), "no column of .* is numeric", ""),
        (Context("column", column="yaer"), "no column 'yaer'", "did you mean 'year'"),
        (Context("column", column="sex"), "has texts", "say which value"),
        (Context("column", column="age", equals="3"), "has numbers", "leave out equals"),
        (Affinity(tags="sex"), "is of the users", ""),
        (Affinity(near="genres", width=1.0), "near needs numbers", ""),
        (Affinity(tags="year"), "tags needs texts", ""),
    ],
)
def test_unknown_columns(spec: AggregateSpec, message: str, hint: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        fit([spec])
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: Aggregate(window=-1.0), "window must not be negative"),
        (lambda: Aggregate(last=-1), "last must not be negative"),
        (lambda: Aggregate(window=0.5), "no second is earlier"),
        (lambda: Aggregate(("user_id", "user_id")), "distinct names"),
        (lambda: Aggregate(bins=4), "can be cut"),
        (lambda: Aggregate(("year",), bins=1), "at least 2"),
        (lambda: Aggregate((), last=3, as_of="leave-one-out"), "cannot be had leave-one-out"),
        (lambda: Context("gap", column="year"), "column is 'year'"),
        (lambda: Context("column"), "column is ''"),
        (lambda: Context("time", last=2), "only a gap"),
        (lambda: Affinity(near="year"), "width 0.0"),
        (lambda: Affinity(near="activity", width=1.0), "'activity' by 'user_id'"),
        (lambda: fit([Context(), Context()]), "twice"),
    ],
)
def test_contradictions(made: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        made()


def test_bad_data() -> None:
    log, _ = log_of(FIXED)
    both = {**USERS, "year": USERS["age"]}
    with pytest.raises(SpecError, match="both tables"):
        fit_aggregates([Aggregate(("year",))], log, both, ITEMS)
    with pytest.raises(DataError, match="needs ratings") as caught:
        fit_aggregates([Aggregate()], replace(log, ratings=None), USERS, ITEMS)
    assert "count" in caught.value.hint
    broken = replace(log, ratings=np.where(np.arange(len(log)) == 3, nan, 1).astype(np.float32))
    with pytest.raises(DataError, match=r"rating of the log is nan \(event 3\)"):
        fit_aggregates([Aggregate()], broken, USERS, ITEMS)
    ready = FITTED["row"].over(log, USERS, ITEMS)
    with pytest.raises(ShortlistError, match="2 rows"):
        ready.values(Standing.of(np.zeros(2), np.zeros(2)), np.zeros(3, np.int64))
    with pytest.raises(DataError, match="no column 'age'"):
        ready.with_users(log, {"sex": USERS["sex"]})
    assert isnan(ready.figures(Standing.of(np.array([2]), np.zeros(1)), np.zeros(1, np.int64))[0, 35])
