"""Experiments: what led to what, intervals against a bootstrap and a known answer, and what warns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shortlist._typing import Doubles
from shortlist.errors import RequestError
from shortlist.evaluation.intervals import draws_of_users
from shortlist.server.attributing import DAY, Exposed, Success, credited, exposed
from shortlist.server.events.event import Event, Impression
from shortlist.server.events.opening import open_store
from shortlist.server.events.store import Batch
from shortlist.server.experiments import Report, compare, difference, mismatch, ratio


def shown(n: int, user: str, items: str, at: int, side: str, bundle: str = "v1") -> Impression:
    return Impression(
        request_id=f"r{n}", user_id=user, items=tuple(items), timestamp=at, bundle=bundle, variant=side
    )


def did(n: int, user: str, item: str, at: int, kind: str = "", rating: float | None = None) -> Event:
    return Event(event_id=f"e{n}", user_id=user, item_id=item, timestamp=at, event=kind, rating=rating)


def test_an_event_goes_to_the_last_time_its_item_was_shown(tmp_path: Path) -> None:
    store = open_store(tmp_path / "events.db")
    impressions = [
        shown(1, "u", "abc", 1_000, "A"),
        shown(2, "u", "ab", 2_000, "A", "v2"),
        shown(3, "v", "a", 1_000, "B"),
        shown(4, "w", "a", 1_000, "A"),
        shown(5, "w", "a", 1_500, "B"),  # who had both sides is in neither
        shown(6, "x", "a", 1_000, "B"),
    ]
    events = [
        did(1, "u", "a", 2_000, "buy"),  # of the second it was shown: the second impression
        did(2, "u", "a", 2_100, "view"),  # the same item of the same impression counts once
        did(3, "u", "c", 1_000 + DAY),  # just in time
        did(4, "u", "b", 500),  # before it was shown
        did(5, "v", "b", 1_001),  # not shown
        did(6, "x", "a", 1_001 + DAY),  # too late
        did(7, "w", "a", 1_600, "buy"),
        did(8, "nobody", "a", 1_600, "buy"),
    ]
    store.write([Batch(events, impressions)])
    found = exposed(store, Success())
    assert found.sides == ("A", "B") and found.crossed == 1 and found.counted == 8
    assert found.users.tolist() == [0, 1, -1, 1]
    assert found.impressions.tolist() == [2, 1, 2, 1] and found.shown.tolist() == [5, 1, 2, 1]
    assert found.successes.tolist() == [2, 0, 1, 0]
    assert found.versions == {"A": {"v1": 2, "v2": 1}, "B": {"v1": 3}}
    assert exposed(store, Success(("buy",))).successes.tolist() == [1, 0, 1, 0]
    assert exposed(store, Success(window=DAY - 1)).successes.tolist() == [1, 0, 1, 0]
    later = exposed(store, Success(), since=1_500, until=2_000)
    assert later.sides == ("B",) and later.users.tolist() == [0]
    with pytest.raises(RequestError, match="no impressions"):
        exposed(store, Success(), since=10**9)
    store.close()


def test_credit_is_that_of_the_plain_loop() -> None:
    rng = np.random.default_rng(5)
    for window in (1, 3, 50):
        rows = [rng.integers(0, most, 60) for most in (3, 4, 30)]
        acts = [rng.integers(0, most, 40) for most in (3, 4, 40)]
        expected = np.zeros(60, bool)
        for user, item, at in zip(*acts, strict=True):
            shown_before = [
                (then, n)
                for n, (u, i, then) in enumerate(zip(*rows, strict=True))
                if (u, i) == (user, item) and then <= at
            ]
            if shown_before and at - max(shown_before)[0] <= window:
                expected[max(shown_before)[1]] = True
        got = credited(rows, acts, window)
        assert got.tolist() == expected.tolist() and 0 < got.sum() < 40


def test_intervals_are_those_of_a_bootstrap() -> None:
    rng = np.random.default_rng(1)
    bottoms = (1 + rng.poisson(4, 800)).astype(np.float64)
    tops = rng.binomial(bottoms.astype(int), rng.beta(2, 18, 800)).astype(float)
    found = difference(ratio(tops, bottoms), ratio(tops[:1], bottoms[:1])._replace(value=0, variance=0), 800)
    drawn = np.concatenate([(w @ tops) / (w @ bottoms) for w in draws_of_users(800, 2_000, 3)])
    low, high = np.percentile(drawn, [2.5, 97.5])
    assert found.value == tops.sum() / bottoms.sum()
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.05 * (high - low))


def experiment(seed: int, rates: tuple[float, float], num: int = 400, spread: float = 40.0) -> Exposed:
    """Users whose own rates vary around those of their sides, who come 1 to 9 times."""
    rng = np.random.default_rng(seed)
    users = rng.integers(0, 2, num)
    impressions = rng.integers(1, 10, num)
    mean = np.where(users == 0, *rates)
    own = rng.beta(mean * spread, (1 - mean) * spread)
    successes = rng.binomial(impressions, own).astype(np.float64)
    counts: Doubles = impressions.astype(np.float64)
    return Exposed(("a", "b"), users, counts, counts * 10, successes, {"a": {}, "b": {}}, 0, 0)


def told(found: Exposed, **options: object) -> Report:
    return compare(found, "", **{"splits": 0, **options})  # type: ignore[arg-type]


def test_a_known_effect_is_found_and_lies_in_its_interval() -> None:
    inside = wins = false = 0
    for seed in range(150):
        [gap] = [one for one in told(experiment(seed, (0.10, 0.15))).compared if one.metric == "rate"]
        inside += gap.difference.low <= 0.05 <= gap.difference.high
        wins += gap.verdict == "wins"
        [none] = [
            one for one in told(experiment(1_000 + seed, (0.10, 0.10))).compared if one.metric == "rate"
        ]
        false += none.verdict != "no difference shown"
    assert 132 <= inside <= 149  # 142 of 150, four standard deviations
    assert wins > 120
    assert 1 <= false <= 18
    assert told(experiment(1, (0.15, 0.10))).compared[0].verdict == "loses"


def test_halves_of_one_side_differ_one_time_in_twenty() -> None:
    found = experiment(3, (0.1, 0.1))
    same = compare(found, "", splits=300).same
    assert same is not None and same.side == "a" and 0.01 < same.share < 0.09 and not same.suspicious
    heavy = found.successes.copy()
    heavy[np.flatnonzero(found.users == 0)[:1]] = 10_000  # one user of 200: intervals mean nothing
    odd = Exposed(found.sides, found.users, found.impressions, found.shown, heavy, found.versions, 0, 0)
    worse = compare(odd, "", splits=300, metric="per-user").same
    assert worse is not None and worse.share != same.share


def test_shares_that_were_not_planned_are_said() -> None:
    assert mismatch("b", "a", 500, 500, {"a": 1, "b": 1}).probability == 1.0
    found = mismatch("b", "a", 821_588, 815_482, {"a": 1, "b": 1})
    assert found.suspicious  # so little is no chance with so many
    assert found.probability == pytest.approx(1.8e-6, rel=0.05)
    assert not mismatch("b", "a", 110, 890, {"a": 9, "b": 1}).suspicious
    users = np.array([0] * 600 + [1] * 400)
    ones = np.ones(1_000)
    report = told(Exposed(("a", "b"), users, ones, ones, ones * 0, {"a": {}, "b": {}}, 3, 0))
    assert len(report.warnings) == 2 and "60.0%" not in report.warnings[0]
    assert (
        told(
            Exposed(("a", "b"), users, ones, ones, ones * 0, {"a": {}, "b": {}}, 0, 0),
            shares={"a": 6, "b": 4},
        ).warnings
        == ()
    )


def test_too_few_users_get_no_interval_and_wrong_names_are_named() -> None:
    users, ones = np.array([0, 0, 1]), np.ones(3)
    few = Exposed(("a", "b"), users, ones, ones, np.array([0.0, 0, 1]), {"a": {}, "b": {}}, 0, 0)
    report = told(few)
    assert [one.verdict for one in report.compared] == ["no difference shown"] * 3
    plain = report.to_dict()
    assert plain["compared"][0]["difference"] == {"value": 1.0, "low": None, "high": None}
    for options in ({"against": "c"}, {"metric": "clicks"}, {"shares": {"a": 1.0}}):
        with pytest.raises(RequestError):
            told(few, **options)
