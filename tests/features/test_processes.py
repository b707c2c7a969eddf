"""Processes against a dense solve for every row; what they may not see; whose ratings factors know."""

from __future__ import annotations

import json
from dataclasses import replace
from math import nan
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shortlist._typing import Columns
from shortlist.errors import DataError, SpecError
from shortlist.features.aggregates import Aggregates, Ready, fit_aggregates, fit_over
from shortlist.features.factors import GROUPS, groups, learn
from shortlist.features.log import Log, Standing
from shortlist.specs.aggregates import Process, columns_read
from shortlist.specs.features import AsOf

NUM_USERS, NUM_ITEMS = 6, 8
ITEMS: Columns = {
    "genres": np.array(
        [["a", "b"], ["b", ""], ["", ""], ["c", "a"], ["a", "a"], ["b", "c"], ["c", ""], ["a", ""]], object
    ),
    "year": np.array([1990.0, 1992.5, nan, 1990.0, 1999.0, 1970.0, nan, 1995.0]),
}
AS_OF = pytest.mark.parametrize("as_of", ["row", "leave-one-out"])
FORMS: list[dict[str, Any]] = [
    {"tags": "genres", "near": "year", "width": 5.0, "factors": 3},
    {"tags": "genres", "factors": 3, "time": False},
    {"near": "year", "width": 2.0, "factors": 0},
    {"factors": 3},
    {"factors": 0, "time": False},
    {"tags": "genres", "factors": 3, "most": 4, "spans": (0.0, 2.0), "span_weights": (0.3, 0.5)},
]

Event = tuple[int, int, int, float]
_dice = np.random.default_rng(5).integers(0, [NUM_USERS, NUM_ITEMS, 9, 5], (70, 4)).tolist()
FIXED: list[Event] = [(user, item, time * 400, 1.0 + rating) for user, item, time, rating in _dice]

event = st.tuples(
    st.integers(0, NUM_USERS - 1),
    st.integers(0, NUM_ITEMS - 1),
    st.integers(0, 8).map(lambda time: time * 400),
    st.integers(1, 5).map(float),
)
events = st.lists(event, max_size=14)


def forms(as_of: AsOf) -> list[Process]:
    return [Process(as_of=as_of, **fields) for fields in FORMS]


def log_of(rows: list[Event], num_users: int = NUM_USERS) -> tuple[Log, np.ndarray]:
    columns = list(zip(*rows, strict=True)) if rows else [[], [], [], []]
    user, item, time = (np.array(column, np.int64) for column in columns[:3])
    return Log.of(user, item, time, np.array(columns[3], np.float32), num_users)


def fit(as_of: AsOf) -> Aggregates:
    """With factors of one's own making: those of so few ratings are next to nothing."""
    fitted = fit_aggregates(forms(as_of), log_of(FIXED)[0], {}, ITEMS)
    dice = np.random.default_rng(1)
    table = dice.normal(0, 0.5, (GROUPS, NUM_ITEMS + 1, 3)).astype("<f4")
    table[:, -1] = 0
    return replace(fitted, factors=(replace(fitted.factors[0], data=table.tobytes()),))


FITTED: dict[AsOf, Aggregates] = {"row": fit("row"), "leave-one-out": fit("leave-one-out")}


def figures(fitted: Aggregates, rows: list[Event], more: list[tuple[int, int, int]] | None = None) -> Any:
    """Of the events of a log, and then of rows that are none of it."""
    log, places = log_of(rows)
    asked = [row[:3] for row in rows] + (more or [])
    at, items = standing(asked, [*places, *[-1] * len(more or [])])
    return fitted.over(log, {}, ITEMS).figures(at, items)


def standing(asked: list[tuple[int, int, int]], places: Any) -> tuple[Standing, np.ndarray]:
    table = np.array(asked, np.int64).reshape(-1, 3)
    return Standing.of(table[:, 0], table[:, 2], np.array(places, np.int64)), table[:, 1]


class Naive:
    """One dense solve in double precision for every row, from the definition."""

    def __init__(self, fitted: Aggregates, rows: list[Event]) -> None:
        self.events = [rows[k] for k in np.lexsort(([r[2] for r in rows], [r[0] for r in rows]))]
        self.fitted = fitted

    def others(self, spec: Process, item: int, time: int, user: int) -> list[Event]:
        seen = [e for e in self.events if e[1] == item and e[0] != user]
        return [e for e in seen if e[2] < time or spec.as_of == "leave-one-out"]

    def residual(self, spec: Process, e: Event) -> float:
        those = self.others(spec, e[1], e[2], e[0])
        return e[3] - self.fitted.mean - sum(o[3] - self.fitted.mean for o in those) / (len(those) + 5)

    def popularity(self, spec: Process, e: Any, own: bool) -> float:
        seen = [o for o in self.events if o[1] == e[1] and (o[2] < e[2] or spec.as_of == "leave-one-out")]
        return float(np.log1p(len(seen) - (own and spec.as_of == "leave-one-out")))

    def covariance(self, spec: Process, user: int, a: Any, b: Any, popular: tuple[float, float]) -> float:
        bell = lambda x, width: np.exp(-((x / width) ** 2) / 2)  # noqa: E731
        total = spec.constant + spec.popularity_weight * bell(popular[0] - popular[1], 0.7)
        gap, tags, inner = abs(a[2] - b[2]), 0.0, 0.0
        if spec.tags:
            left, right = (set(ITEMS["genres"][e[1]]) - {""} for e in (a, b))
            if left and right:
                tags = len(left & right) / np.sqrt(len(left) * len(right))
            total += spec.tags_weight * tags
        if spec.near:
            near = np.nan_to_num(bell(ITEMS["year"][a[1]] - ITEMS["year"][b[1]], spec.width))
            total += near * (spec.near_weight + spec.product_weight * tags)
        if spec.factors:
            factors = next(f for f in self.fitted.factors if f.size == spec.factors)
            table = factors.table[factors.groups[user]].astype(np.float64)
            inner = table[a[1]] @ table[b[1]]
            total += spec.factors_weight * inner
        if spec.time:
            for span, weight in zip(spec.spans, spec.span_weights, strict=True):
                total += weight * (np.exp(-gap / span) if span else gap == 0)
            about = spec.session_weights[0] * tags + spec.session_weights[1] * inner
            total += np.exp(-gap / 600) * about
        return float(total)

    def window(self, spec: Process, mine: list[int], row: Any, own: int) -> list[int]:
        """The user's events that the row sees, of at most `most`."""
        half, cut = spec.most // 2, sum(self.events[k][2] < row[2] for k in mine)
        if spec.as_of == "row":
            return mine[max(0, cut // half - 1) * half : cut]
        place = mine.index(own) if own >= 0 else cut
        first = max(0, min(max(0, place // half * half - half // 2), len(mine) - 2 * half))
        return [k for k in mine[first : first + 2 * half] if k != own]

    def figure(self, spec: Process, row: Any, own: int) -> float:
        mine = [k for k, e in enumerate(self.events) if e[0] == row[0]]
        seen = [self.events[k] for k in self.window(spec, mine, row, own)]
        if not seen:
            return 0.0
        points = [(e, self.popularity(spec, e, True)) for e in seen]
        here = (row, self.popularity(spec, row, own >= 0))

        def between(left: Any, right: Any) -> np.ndarray:
            return np.array(
                [[self.covariance(spec, row[0], a, b, (p, q)) for b, q in right] for a, p in left]
            )

        noisy = between(points, points) + spec.noise * np.eye(len(seen))
        residuals = np.array([self.residual(spec, e) for e in seen])
        return float((between([here], points) @ np.linalg.solve(noisy, residuals)).item())


@AS_OF
@settings(max_examples=5)
@given(rows=events)
@example(rows=FIXED)
def test_as_defined(as_of: AsOf, rows: list[Event]) -> None:
    fitted = FITTED[as_of]
    more = [(u, i, t) for u in range(-1, NUM_USERS + 2, 2) for i, t in ((0, 900), (3, 1600), (7, 5000))]
    found, naive = figures(fitted, rows, more), Naive(fitted, rows)
    asked = [*((row[:3], int(p)) for row, p in zip(rows, log_of(rows)[1], strict=True))]
    asked += [(row, -1) for row in more]
    for column, spec in enumerate(fitted.specs):
        assert isinstance(spec, Process)
        expected = [naive.figure(spec, row, own) for row, own in asked]
        np.testing.assert_allclose(found[:, column], expected, atol=2e-5, err_msg=spec.name)


@AS_OF
@settings(max_examples=8)
@given(rows=events.filter(bool), which=st.integers(0, 99), rating=st.integers(1, 5))
@example(rows=FIXED, which=3, rating=5)
def test_own_rating_unseen(as_of: AsOf, rows: list[Event], which: int, rating: int) -> None:
    k = which % len(rows)
    other = [(*e[:3], float(rating)) if j == k else e for j, e in enumerate(rows)]
    fitted = FITTED[as_of]
    np.testing.assert_allclose(figures(fitted, other)[k], figures(fitted, rows)[k], atol=1e-6)


@settings(max_examples=8)
@given(rows=events, now=st.integers(0, 8).map(lambda time: time * 400), changes=st.lists(event, max_size=5))
@example(rows=FIXED, now=1600, changes=FIXED[:5])
def test_row_sees_nothing_of_its_second_or_later(rows: list[Event], now: int, changes: list[Event]) -> None:
    past = [e for e in rows if e[2] < now]
    later = [e for e in rows if e[2] >= now]
    other = [(*e[:3], 6 - e[3]) for e in later[1:]]
    other += [(u, i, max(t, now), r) for u, i, t, r in changes]
    more = [(user, item, now) for user in range(-1, NUM_USERS) for item in range(NUM_ITEMS)]
    fitted = FITTED["row"]
    before = figures(fitted, past + later, more)[-len(more) :]
    np.testing.assert_allclose(figures(fitted, past + other, more)[-len(more) :], before, atol=1e-6)
    # and a row of the log is as it was when there was nothing else of its second
    e = (0, 1, now, 5.0)
    np.testing.assert_allclose(figures(fitted, [*past, *later, e])[-1], before[NUM_ITEMS + 1], atol=1e-6)


@AS_OF
def test_changes_are_seen(as_of: AsOf) -> None:
    before = figures(FITTED[as_of], FIXED)
    after = figures(FITTED[as_of], [(*e[:3], 6 - e[3]) for e in FIXED])
    assert (np.abs(before - after).max(axis=0) > 0.05).all()


def test_unknown_users_and_items() -> None:
    found = figures(FITTED["row"], FIXED, [(-1, 0, 9000), (NUM_USERS + 3, 0, 9000), (0, NUM_ITEMS + 5, 9000)])
    assert not found[-3:-1].any()
    assert (np.abs(found[-1]) > 1e-4).all()  # the user is known, and rates so in general


@AS_OF
def test_without_times(as_of: AsOf) -> None:
    log, places = Log.of(*(np.array(c) for c in zip(*FIXED, strict=True)), NUM_USERS)  # type: ignore[arg-type]
    timeless = replace(log, times=np.zeros_like(log.times))
    ready = fit_over([Process(as_of=as_of, factors=2)], timeless, {}, {})
    found = ready.figures(Standing.of(log.users, timeless.times, np.arange(len(log))), log.items)
    assert bool(np.abs(found).max() > 0.05) == (as_of == "leave-one-out")
    assert len(places) == len(found)


def test_factors_know_nothing_of_their_users() -> None:
    group = groups(NUM_USERS)
    before = learn(log_of(FIXED)[0], NUM_ITEMS, 3)
    for k in range(NUM_USERS):  # fewer than groups: each is alone in one
        changed = [(*e[:3], 6 - e[3]) if group[e[0]] == k else e for e in FIXED]
        after = learn(log_of(changed)[0], NUM_ITEMS, 3)
        same = [bool((before.table[g] == after.table[g]).all()) for g in range(GROUPS)]
        assert same == [g == k for g in range(GROUPS)]
    assert not before.table[:, -1].any()


def test_factors_find_tastes() -> None:
    """Two kinds of users, two kinds of items: what one kind agrees on is alike."""
    dice = np.random.default_rng(0)
    kinds = dice.integers(0, 2, 60), np.arange(10) % 2
    rows = [
        (user, item, 0, 3.0 + (1 if kinds[0][user] == kinds[1][item] else -1) + dice.normal(0, 0.5))
        for user in range(60)
        for item in dice.permutation(10)[:6].tolist()
    ]
    factors = learn(log_of(rows, 60)[0], 10, 2)
    inner = factors.table[0, :-1] @ factors.table[0, :-1].T
    alike = kinds[1][:, None] == kinds[1]
    assert inner[alike].min() > 0.05
    assert inner[~alike].max() < -0.05


def test_factors_of_little() -> None:
    assert not learn(log_of([])[0], NUM_ITEMS, 3).table.any()
    assert not learn(log_of([(0, 1, 0, 4.0), (1, 1, 0, 4.0)])[0], NUM_ITEMS, 3).table.any()
    assert fit_over([Process()], log_of([])[0], {}, {}).aggregates.factors[0].num_items == 0


@AS_OF
def test_plain_values_and_back(as_of: AsOf) -> None:
    fitted = FITTED[as_of]
    back = Aggregates.from_dict(json.loads(json.dumps(fitted.to_dict())))
    assert back == fitted
    np.testing.assert_array_equal(figures(back, FIXED), figures(fitted, FIXED))
    old = {name: value for name, value in fitted.to_dict().items() if name != "factors"}
    assert Aggregates.from_dict({**old, "specs": []}).factors == ()


@AS_OF
@settings(max_examples=4)
@given(theirs=events)
@example(theirs=FIXED[:30])
def test_extra_users(as_of: AsOf, theirs: list[Event]) -> None:
    """As in one log of all, but that their own ratings are no part of what an item has."""
    plain = [replace_popularity(spec) for spec in forms(as_of)]
    fitted = replace(FITTED[as_of], specs=tuple(plain))
    theirs = [(0, *e[1:]) for e in theirs]
    small, places = log_of(theirs, 1)
    asked = [*(e[:3] for e in theirs), *((0, item, 1500) for item in range(NUM_ITEMS))]
    at, items = standing(asked, [*places, *[-1] * NUM_ITEMS])
    found = fitted.over(log_of(FIXED)[0], {}, ITEMS).with_users(small, {}).figures(at, items)
    log, spots = log_of([*FIXED, *[(NUM_USERS, *e[1:]) for e in theirs]], NUM_USERS + 1)
    where = Standing.of(
        np.full(len(items), NUM_USERS), at.times, np.append(spots[len(FIXED) :], [-1] * NUM_ITEMS)
    )
    np.testing.assert_allclose(found, fitted.over(log, {}, ITEMS).figures(where, items), atol=1e-5)


def replace_popularity(spec: Process) -> Process:
    return Process(**{f: getattr(spec, f) for f in spec.__struct_fields__} | {"popularity_weight": 0.0})


def test_windows_are_kept_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    from shortlist.features import processes

    fitted, more = FITTED["row"], [(user, 2, 1700) for user in range(NUM_USERS)]
    ready = fitted.over(log_of(FIXED)[0], {}, ITEMS)
    at, items = standing(more, [-1] * NUM_USERS)
    before = ready.figures(at, items)
    np.testing.assert_array_equal(ready.figures(at, items), before)
    monkeypatch.setattr(processes, "KEPT", 400)
    fresh = fitted.over(log_of(FIXED)[0], {}, ITEMS)
    np.testing.assert_array_equal(fresh.figures(at, items), before)
    assert numbers_kept(fresh) <= 400 * len(FORMS) < numbers_kept(ready)


def numbers_kept(ready: Ready) -> int:
    kept = [value for key, value in ready.mine.cache.items() if key[0] == "windows"]
    return sum(window.size for windows in kept for window in windows.values())


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: Process(near="year"), "width 0.0"),
        (lambda: Process(width=2.0), "near is ''"),
        (lambda: Process(noise=0.0), "noise must be at least"),
        (lambda: Process(most=1), "most must be at least 2"),
        (lambda: Process(tags_weight=-1.0), "tags_weight must not be negative"),
        (lambda: Process(spans=(1.0,)), "1 spans and 4"),
        (lambda: Process(spans=(1.0,), span_weights=(-1.0,)), "must not be negative"),
        (lambda: fit_aggregates([Process(tags="year")], log_of(FIXED)[0], {}, ITEMS), "tags needs texts"),
        (lambda: fit_aggregates([Process(tags="gen")], log_of(FIXED)[0], {}, ITEMS), "no column 'gen'"),
    ],
)
def test_contradictions(made: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        made()


def test_names_and_columns() -> None:
    assert Process(tags="genres", spans=(0.0, 60.0), span_weights=(1.0, 0.5)).name == (
        "process tags=genres spans=0.0+60.0 span_weights=1.0+0.5"
    )
    assert columns_read([Process(tags="genres", near="year", width=1.0)]) == {"genres", "year"}
    with pytest.raises(DataError, match="needs ratings"):
        fit_aggregates([Process()], replace(log_of(FIXED)[0], ratings=None), {}, ITEMS)
