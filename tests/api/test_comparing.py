"""Two recommenders side by side: known answers, leaks that are told, and what cannot be compared."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from shortlist.api.comparing import _rows, _Side, _trained_on, compare
from shortlist.data.splits import Split
from shortlist.errors import DataError
from shortlist.features.schema import Schema
from shortlist.pipeline.recommender import Recommender
from shortlist.state.catalogue import Items
from shortlist.state.seen import Seen
from shortlist.state.users import Users

NUM_USERS, NUM_ITEMS, EACH = 40, 12, 3
USERS = [f"u{k}" for k in range(NUM_USERS)]
ITEMS = [f"i{k}" for k in range(NUM_ITEMS)]
SCHEMA = Schema({"user_id": "string"}, {"item_id": "string"})


@dataclass(frozen=True)
class Stub:
    """Users and items on a circle; a user's next items lie `off` places after the user's own."""

    off: int = 0

    def _vectors(self, places: Any) -> Any:
        angle = 2 * np.pi * np.asarray(places) / NUM_ITEMS
        return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)

    def encode_query(self, columns: Any) -> Any:
        vectors = self._vectors([int(u[1:]) % NUM_ITEMS + self.off for u in columns["user_id"]])
        return vectors, vectors

    def encode_candidate(self, columns: Any) -> Any:
        vectors = self._vectors([int(i[1:]) for i in columns["item_id"]])
        return vectors, vectors

    def predict(self, query: Any, candidate: Any, aggregates: Any = None, rows: Any = None) -> Any:
        if rows is not None:
            query, candidate = query[:, None], candidate[rows]
        return {"rating": (query * candidate).sum(-1)}


def recommender(off: int = 0, items: list[str] = ITEMS, seen: Any = ((), ()), **options: Any) -> Recommender:
    users = Users.of(USERS, {}, Seen.from_pairs(*seen, NUM_USERS))
    stub = Stub(off)
    roles = {"retriever": stub, "ranker": stub} | options
    return Recommender.of(Items.of(items, {}, np.ones(len(items))), users, SCHEMA, **roles)


def split(clock: int = 1000) -> Split:
    """Each user's test rows are the items at and around the user's own place, rated by how near they are."""
    rows = [
        (user, f"i{(at + step) % NUM_ITEMS}", float(np.cos(2 * np.pi * step / NUM_ITEMS)), clock + at)
        for at, user in enumerate(USERS)
        for step in range(-1, EACH - 1)
    ]
    test = pl.DataFrame(rows, schema=["user_id", "item_id", "rating", "timestamp"], orient="row")
    users = pl.DataFrame({"user_id": USERS})
    return Split(test.clear(), test.clear(), test, users, pl.DataFrame({"item_id": ITEMS}), "by hand")


def test_against_itself_nothing_differs() -> None:
    found = compare(recommender(2), recommender(2), split(), k=(3,), resamples=50)
    assert found.differences
    for row in found.differences:
        assert (row.gap.value, row.gap.low, row.gap.high) == (0, 0, 0)
        assert row.verdict == "no difference shown"


def test_the_better_one_is_found_whichever_side_it_is_on() -> None:
    good, bad = recommender(0), recommender(5)
    found = compare(bad, good, split(), names=("bad", "good"), k=(3,), resamples=200)
    for name in ("filtered hit_rate@3 (row)", "filtered ndcg@3 (user)", "rmse"):
        assert found.figure(name).verdict == "wins", name
    assert found.figure("filtered hit_rate@3 (row)").b.value == 1
    assert any("good is better than bad" in sentence for sentence in found.verdicts)
    turned = compare(good, bad, split(), k=(3,), resamples=200)
    for row in found.differences:
        assert turned.figure(row.figure).gap.value == pytest.approx(-row.gap.value)
        assert turned.figure(row.figure).verdict != "wins" or row.verdict == "loses"


def test_lists_of_two_stages_are_judged_beside_those_of_one() -> None:
    one, two = recommender(5, ranker=None), recommender(5)
    ranked = replace(two, ranker=Stub(0), utility=replace(two.utility, rating_weight=50.0))
    ranked = replace(ranked, item_representations=Stub(0).encode_candidate({"item_id": ITEMS})[0])
    found = compare(one, ranked, split(), k=(3,), resamples=50)
    assert found.figure("filtered ndcg@3 (user)").gap.value == 0  # the same retrieval
    assert found.figure("recommend(): filtered ndcg@3 (user)").verdict == "wins"


def test_rows_that_were_trained_on_are_told() -> None:
    test = split().test
    leaked = ([USERS.index(u) for u in test["user_id"]], [ITEMS.index(i) for i in test["item_id"]])
    found = compare(recommender(), recommender(seen=leaked), split(), k=(3,), resamples=20)
    assert len(found.warnings) == 1
    assert (
        f"{test.height} of {test.height} test rows name a user and an item that B has seen"
        in found.warnings[0]
    )
    assert found.warnings[0] in found.table() and found.warnings[0] in found.to_html()


def test_the_same_pair_at_another_time_was_not_trained_on() -> None:
    test = split().test
    later = test.with_columns(pl.col("timestamp") + 1_000_000)
    assert _trained_on(_Side("B", recommender(), pl.concat([test.head(2), later])), test) == 2
    assert _trained_on(_Side("B", recommender(), later.drop("timestamp")), test) is None


def test_times_in_another_unit_are_refused() -> None:
    years = 50 * 365 * 86_400
    rows, known = split(1000).test, split(years).test
    with pytest.raises(DataError, match="the test rows: the middle of its times is 1970-01-01"):
        _rows(rows, [_Side("A", recommender(), None), _Side("B", recommender(), known)])
    _rows(known, [_Side("A", recommender(), known)])


def test_another_catalogue_is_handled_where_it_nearly_is_the_same() -> None:
    turned, fewer = ITEMS[::-1], ITEMS[:-1]
    same = compare(recommender(), recommender(items=turned), split(), k=(3,), resamples=20)
    assert all(row.gap.value == pytest.approx(0) for row in same.differences if "hit_rate" in row.figure)
    found = compare(recommender(), recommender(items=fewer), split(), k=(3,), resamples=20)
    strange = split().test.filter(pl.col("item_id") == ITEMS[-1]).height
    assert found.warnings == (f"B does not know the items of {strange} test rows: they count as missed",)
    hits = found.figure("filtered hit_rate@3 (row)")
    assert hits.a.value == 1
    assert hits.b.value == pytest.approx(1 - strange / split().test.height)
    assert found.figure("rmse").gap.value == 0  # of items both know


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(DataError, match="B knows the items of 0 of 120 test rows only, not 'i11'"):
        compare(recommender(), recommender(items=["i90", "i91"]), split())
    with pytest.raises(DataError, match="no figure in common"):
        compare(recommender(ranker=None), recommender(retriever=None), split(), k=(3,))
    with pytest.raises(DataError, match="holds a recipe"):
        compare(recommender(), recommender())
    empty = replace(split(), test=split().test.clear())
    with pytest.raises(DataError, match="both are called 'A'"):
        compare(recommender(2), recommender(2), split(), names=("A", "A"))
    with pytest.raises(DataError, match="no test rows"):
        compare(recommender(), recommender(), empty)


def test_a_table_of_events_will_do_and_too_few_users_give_no_verdict() -> None:
    few = split().test.head(9)
    found = compare(recommender(5), recommender(0), few, k=(3,), resamples=20)
    assert all("too few users" in sentence for sentence in found.verdicts)
    plain = found.to_dict()
    assert plain["figures"][0]["difference"]["low"] is None
    assert plain["protocol"]["test rows"].startswith("9 of 3 users")
