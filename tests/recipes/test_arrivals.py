"""What cold start is measured by: what is held out, what is asked, and that ranks are what is listed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

import shortlist as sl
from shortlist.data.dataset import Dataset
from shortlist.data.splits import Split
from shortlist.recipes import arrivals, visitors
from shortlist.recipes.accuracy import shipped
from shortlist.specs.features import Id

if TYPE_CHECKING:
    from shortlist.api.fitting import Fitted


def test_held_out_ones_are_drawn_once_and_leave_no_trace(small_data: Dataset, small_split: Split) -> None:
    people, things = visitors.held_users(small_data), arrivals.held_items(small_data)
    assert (len(people), len(things)) == (24, 20)
    assert people == visitors.held_users(small_data) != visitors.held_users(small_data, seed=1)
    others = arrivals.held_items(small_data, seed=7, apart=things)
    assert len(others) == 20 and not set(others) & set(things)
    for name, held, rest in (
        ("user_id", people, visitors.without_users(small_split, people)),
        ("item_id", things, arrivals.without_items(small_split, things)),
    ):
        for part in ("train", "validation", "test"):
            kept = set(getattr(rest, part)[name])
            assert kept == set(getattr(small_split, part)[name]) - set(held)
    assert rest.items.height == small_split.items.height - 20


def test_items_with_few_rows_are_not_held_out(small_data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = dict(small_data.interactions["item_id"].value_counts().iter_rows())
    monkeypatch.setattr(arrivals, "LEAST_ROWS", 60)
    assert min(counts[i] for i in arrivals.held_items(small_data, 0.5)) >= 60 > min(counts.values())


def test_a_request_tells_what_was_strictly_earlier(small_split: Split) -> None:
    rows = small_split.test.head(40)
    asked = visitors.requests_of(rows, small_split.train, small_split.users)
    for n, (user, time) in enumerate(rows.select("user_id", "timestamp").iter_rows()):
        past = small_split.train.filter((pl.col("user_id") == user) & (pl.col("timestamp") < time))
        told = zip(
            asked["history"][n], asked["history_timestamp"][n], asked["history_rating"][n], strict=True
        )
        assert set(told) == set(past.select("item_id", "timestamp", "rating").iter_rows())
        times = asked["history_timestamp"][n]
        assert times == sorted(times, reverse=True)
        assert asked["age"][n] == small_split.users.filter(user_id=user)["age"][0]
    assert any(asked["history"])


def test_ranks_are_what_is_listed(joint: Fitted, small_split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visitors, "K", 20)
    rec = joint.recommender()
    known = rec.users.vocabulary.values
    served = visitors.Served.of(small_split, small_split.test.filter(pl.col("user_id").is_in(known)).head(24))
    asked: Any = {name: served.rows[name].to_list() for name in ("user_id", "timestamp")}
    ranked = served.hits(rec, asked, block=7)
    assert 0 < ranked.sum() < 24
    # two stages list what retrieval ranks first where the rating does not weigh
    np.testing.assert_array_equal(served.listed(rec, asked, range(24)), ranked > 0)


def test_shares_are_means_over_rows_and_users_are_resampled() -> None:
    hits, users = np.array([1.0, 0, 1, 1, 0, 0] * 10), np.repeat(np.arange(20), 3)
    found = visitors.estimated(hits, users)
    assert found.value == hits.mean()
    assert found.low < found.value < found.high


def test_chance_and_popularity_are_of_what_the_user_did_not_have(joint: Fitted, small_split: Split) -> None:
    rec = joint.recommender()
    rows = small_split.test.filter(pl.col("user_id").is_in(rec.users.vocabulary.values)).head(50)
    had = {u: set(small_split.train.filter(user_id=u)["item_id"]) for u in rows["user_id"].unique()}
    chances = [100 / (200 - len(had[user])) for user in rows["user_id"]]
    np.testing.assert_allclose(arrivals.chance(rec, rows), chances)
    popularity = np.random.default_rng(0).permutation(200).astype(float)
    expected = []
    for user, item in rows.select("user_id", "item_id").iter_rows():
        free = [p for i, p in zip(rec.items.ids, popularity, strict=True) if i == item or i not in had[user]]
        own = popularity[rec.items.position(item)]
        expected.append(float(1 + sum(p > own for p in free) <= 100))
    assert arrivals.popularity_hits(rec, rows, popularity).tolist() == expected


def test_only_the_id_of_items_is_dropped() -> None:
    model = shipped(arrivals.RECIPE).model
    changed: Any = arrivals.with_id_dropout(model, 0.25)
    (first, *rest) = changed.candidate.features
    assert isinstance(first, Id) and first.id_dropout == 0.25
    assert (changed.query, tuple(rest)) == (model.query, model.candidate.features[1:])


@pytest.mark.slow
def test_the_rows_are_made(small_data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    model = sl.TwoTower(
        query=sl.Tower(
            [sl.History(dim=8, length=10), sl.Bag(dim=8), *(sl.Category(n, 8) for n in visitors.PROFILE)],
            combine="sum",
        ),
        candidate=sl.Tower([sl.Id("item_id", 8), sl.Tags("genres", 8)], combine="sum"),
        task=sl.Retrieval(loss="full", item_bias=True, seen="row"),
    )
    monkeypatch.setattr(arrivals, "SHARES", (0.2,))
    monkeypatch.setattr(visitors, "K", 30)
    monkeypatch.setattr(arrivals, "K", 30)

    def quick(split: Split, seed: int, id_dropout: float = 0.0) -> Fitted:
        changed: Any = arrivals.with_id_dropout(model, id_dropout)
        return sl.fit(changed, split, epochs=2, batch_size=512, seed=seed)

    monkeypatch.setattr(arrivals, "fitted", quick)
    users, items, choice = arrivals.reproduce_arrivals(seeds=1, data=small_data)
    assert (
        users["sample"]["rows"] == users["sample"]["listed as ranked"] == users["sample"]["bundle as Python"]
    )
    assert 0.5 < users["figures"]["held out / trained on"]["value"] < 1.5
    rates = {name: found["value"] for name, found in items["figures"].items()}
    assert rates["new, by popularity"] == 0 < rates["new, with id dropout"]
    assert rates["others, without, beside the new"] <= rates["others, without"]
    assert [row["id_dropout"] for row in choice["shares"]] == [0.2]
