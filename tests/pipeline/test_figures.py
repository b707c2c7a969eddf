"""Aggregates of lists of candidates are those of their pairs one by one, whoever asks and whenever."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from shortlist._typing import Columns
from shortlist.features.aggregates import fit_aggregates
from shortlist.features.history import Events
from shortlist.features.listed import Listed, sort
from shortlist.features.log import Log, Standing
from shortlist.pipeline.figures import Figures, lists_of
from shortlist.pipeline.histories import Past, Told
from shortlist.specs.aggregates import Affinity, Aggregate, Context, Process
from shortlist.state.catalogue import Items
from shortlist.state.past import Past as Stored
from shortlist.state.seen import Seen
from shortlist.state.users import Users

NUM_USERS, NUM_ITEMS, LAST = 6, 11, 40
PEOPLE: Columns = {
    "sex": np.array(["F", "M", "F", "", "M", "F"], object),
    "age": np.array([20, 30, np.iinfo(np.int64).min, 45, 31, 20]),
    "likes": np.array([["x", "y"], ["y", ""], ["", ""], ["x", ""], ["x", "y"], ["y", ""]], object),
}
THINGS: Columns = {
    "genres": np.array([["a", "b"], ["b", ""], ["", ""], ["c", "a"], ["a", "a"]] * 2 + [["c", ""]], object),
    "year": np.array([1990.0, 1992.5, np.nan, 1990.0, 1999.0, 1980, 1981, 1990, np.nan, 1999, 1960]),
}


def by(*names: str, **fields: Any) -> Aggregate:
    return Aggregate(by=names, **fields)


QUICK = [
    *(
        by("user_id", statistic=s, of=o, shrink=h)
        for s, o, h in [("mean", "residual", 3.0), ("spread", "rating", 0.0)]
    ),
    by("user_id", statistic="count", window=9.0),
    by("user_id", window=5.0, last=2),
    by("user_id", last=1, shrink=0.0),
    by("item_id"),
    by("item_id", statistic="spread"),
    by("item_id", statistic="count"),
    by("item_id", of="rating", window=7.0),
    by("item_id", "sex"),
    by("item_id", "age", bins=2, statistic="spread"),
    by("item_id", "sex", "age", statistic="count"),
    by("user_id", "genres"),
    by("user_id", "genres", statistic="count"),
    by("user_id", "year", bins=3, statistic="spread"),
    by("user_id", "genres", "year", bins=2, of="rating"),
    by("user_id", "popularity"),
    by("popularity", of="rating"),
    by("activity", of="rating", window=20.0),
    by(window=8.0),
    by(last=3),
    Affinity(tags="genres"),
    Affinity(tags="genres", power=2.0, near="year", width=5.0, shrink=0.0),
    Affinity(near="popularity", width=0.7),
    Affinity(by="item_id", near="age", width=7.0),
    *(Context(what) for what in ("since_first", "gap", "position", "hour_sine", "hour_cosine", "time")),
    Context("gap", last=3),
    Context("column", column="year"),
    Context("column", column="age"),
    Context("column", column="sex", equals="F"),
    Context("column", column="genres", equals="a"),
]
REST = [
    by("item_id", last=2),
    by("item_id", "likes"),
    by("user_id", "genres", last=1),
    by("genres", "sex"),
    Affinity(by="item_id", tags="sex"),
    Affinity(tags="genres", near="popularity", width=1.0),
]


def figures_of(specs: list[Any], seed: int, *, rated: bool = True) -> Figures:
    """Over random events: seconds that meet, items that come again."""
    rng = np.random.default_rng(seed)
    users, items = rng.integers(0, NUM_USERS - 1, 70), rng.integers(0, NUM_ITEMS - 2, 70)
    ratings = rng.integers(1, 6, 70).astype(np.float32) if rated else None
    log, _ = Log.of(users, items, rng.integers(0, LAST, 70), ratings, NUM_USERS)
    fitted = fit_aggregates(specs, log, PEOPLE, THINGS)
    seen = Seen.from_pairs(users, items, NUM_USERS)
    known = Users.of([f"u{n}" for n in range(NUM_USERS)], PEOPLE, seen, LAST, Stored(log, 3.1, True))
    ids = np.array([f"i{n}" for n in range(NUM_ITEMS)], object)
    return Figures.of({"rating": fitted}, known, THINGS, Events(log, ids, 3.1))


def asked(seed: int, told: bool) -> tuple[Standing, Told | None, Columns]:
    """Nine rows: users known and not, at seconds before, among and after all events."""
    rng = np.random.default_rng(seed)
    users = np.array([0, 1, 2, 3, 4, 5, -1, 0, 2])
    times = rng.integers(-3, LAST + 9, 9)
    if not told:
        return Standing.of(users, times), None, {}

    def past(n: int, rated: bool) -> Past:
        ratings = rng.integers(1, 6, n).astype(np.float32) if rated else None
        return Past(
            rng.integers(0, NUM_ITEMS, n).astype(np.int32), np.sort(rng.integers(0, LAST, n)), ratings
        )

    pasts = [
        past(5, True),
        None,
        past(3, False),
        None,
        past(1, True),
        past(4, True),
        past(7, True),
        None,
        None,
    ]
    times = np.array(
        [t if p is None else int(p.times[-1]) + 1 + t % 3 for t, p in zip(times, pasts, strict=True)]
    )  # type: ignore[index]
    given: Columns = {"sex": np.array(["M", "", "", "", "", "", "F", "", "M"], object)}
    return (
        Standing.of(users, times),
        Told.of({}, Items.of([f"i{n}" for n in range(NUM_ITEMS)], {}, np.ones(NUM_ITEMS)), times, pasts),
        given,
    )


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("seed", range(2))
def test_lists_have_the_figures_of_their_pairs(seed: int, told: bool) -> None:
    figures = figures_of([*QUICK, *REST], seed)
    listed = figures.listed("rating")
    assert listed is not None and listed.rest is not None
    assert [spec for _, spec in listed.sorted.rest] == REST
    at, history, given = asked(seed + 10, told)
    rng = np.random.default_rng(seed)
    lists = np.stack([rng.permutation(NUM_ITEMS)[:9] for _ in range(9)])
    rows = np.repeat(np.arange(9), 9)
    numbers = figures.aggregator(at, history, given, {"age": np.arange(9) == 6})
    for again in range(2):  # the second time from what was kept
        found = numbers(rows, lists.reshape(-1))["rating"]
        for row in range(9):
            own = numbers(np.full(5, row), lists[row, :5])["rating"]  # too few for a list
            np.testing.assert_allclose(
                found.reshape(9, 9, -1)[row, :5], own, atol=1e-5, err_msg=f"{row} {again}"
            )


def test_a_value_of_zero_is_not_an_unknown_one() -> None:
    """What is kept of one question must not answer another whose values compare as equal."""
    figures = figures_of(QUICK, 0)
    at, history, given = asked(10, told=True)
    rows, flat = np.repeat(np.arange(9), 9), np.tile(np.arange(9), 9)
    unknown = {"age": np.ones(9, np.bool_)}
    first = figures.aggregator(at, history, given, unknown)(rows, flat)["rating"]
    zero: Columns = {**given, "age": np.zeros(9, np.float32)}
    found = figures.aggregator(at, history, zero, {})(rows, flat)["rating"]
    alone = figures_of(QUICK, 0).aggregator(at, history, zero, {})(rows, flat)["rating"]
    np.testing.assert_array_equal(found, alone)
    assert not np.allclose(found, first)


def test_what_is_kept_of_people_counts_their_tastes() -> None:
    figures = figures_of(QUICK, 0)
    listed = figures.listed("rating")
    assert listed is not None
    at, history, given = asked(10, told=True)
    figures.aggregator(at, history, given, {})(np.repeat(np.arange(9), 9), np.tile(np.arange(9), 9))
    people = [person for person, _ in listed._persons._things.values()]
    assert people and listed._persons.held >= sum(
        p.figures.size + p.heights.size + p.taste.size for p in people
    )


def test_later_events_change_nothing() -> None:
    at, _, _ = asked(3, False)
    rows, items = np.repeat(np.arange(9), NUM_ITEMS), np.tile(np.arange(NUM_ITEMS), 9)
    whole = figures_of(QUICK, 1)
    fitted, log = whole.over["rating"].aggregates, whole.over["rating"].mine.log
    middle = Standing.of(at.users, np.full(9, LAST // 2))
    kept = log.times < LAST // 2  # nothing of the second itself, or later
    past, _ = Log.of(log.users[kept], log.items[kept], log.times[kept], log.ratings[kept], NUM_USERS)  # type: ignore[index]
    cut = Figures({"rating": fitted.over(past, PEOPLE, THINGS)}, whole.users, None)
    found = [f.aggregator(middle, None, {}, {})(rows, items)["rating"] for f in (whole, cut)]
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_an_event_added_is_as_all_of_them_anew(seed: int) -> None:
    grows, rng = figures_of(QUICK, seed), np.random.default_rng(seed)
    catalogue = Items.of([f"i{n}" for n in range(NUM_ITEMS)], {}, np.ones(NUM_ITEMS))
    items, ratings = rng.integers(0, NUM_ITEMS, 70).astype(np.int32), rng.integers(1, 6, 70)
    seconds = np.sort(rng.integers(0, LAST, 70))
    users, lists = np.array([2, -1]), np.tile(np.arange(NUM_ITEMS), 2)
    for count in range(1, 71):  # more often than sums are added to
        past = Past(items[:count], seconds[:count], ratings[:count].astype(np.float32))
        times = np.full(2, seconds[count - 1] + 1)
        at, told = Standing.of(users, times), Told.of({}, catalogue, times, [past, past])
        rows = np.repeat(np.arange(2), NUM_ITEMS)
        found = grows.aggregator(at, told, {}, {})(rows, lists)["rating"]
        if count % 9 and count < 64:
            continue
        anew = figures_of(QUICK, seed).aggregator(at, told, {}, {})(rows, lists)["rating"]
        np.testing.assert_allclose(found, anew, atol=1e-6, err_msg=str(count))


def test_without_ratings_and_with_a_process() -> None:
    counts = [
        spec for spec in QUICK if isinstance(spec, Context) or getattr(spec, "statistic", "") == "count"
    ]
    ready = figures_of(counts, 2, rated=False)
    at, rows = asked(2, False)[0], np.repeat(np.arange(9), 10)
    items = np.tile(np.arange(10), 9)
    found = ready.aggregator(at, None, {}, {})(rows, items)["rating"]
    np.testing.assert_allclose(found, ready.over["rating"].values(at.rows(rows), items), atol=1e-5)
    mixed = figures_of([Process(time=True), by("item_id"), by("user_id")], 2)
    found = mixed.aggregator(at, None, {}, {})(rows, items)["rating"]
    np.testing.assert_allclose(found, mixed.over["rating"].values(at.rows(rows), items), atol=1e-5)


def test_where_little_is_gained_pairs_are_made_as_ever() -> None:
    assert Listed.of(figures_of([*REST, by("item_id")], 0).over["rating"]) is None
    ready = figures_of([by("item_id", as_of="leave-one-out"), by("user_id", as_of="leave-one-out")], 0).over[
        "rating"
    ]
    assert len(sort(ready).rest) == 2 and Listed.of(ready) is None


@pytest.mark.parametrize(
    "rows, count",
    [
        ([], 0),
        ([4], 1),
        ([0, 0, 1, 1], 2),
        ([0, 1, 2], 1),
        ([2, 2, 0, 0], 2),
        ([0, 0, 1], 0),
        ([0, 0, 1, 0], 0),
    ],
)
def test_lists_are_told_by_their_rows(rows: list[int], count: int) -> None:
    assert lists_of(np.array(rows, np.int64)) == count
