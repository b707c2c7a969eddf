"""What users did since: held within bounds, seen at once, merged with what the bundle knows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from shortlist.api.observing import observed
from shortlist.data.dataset import Dataset
from shortlist.features.log import Log
from shortlist.features.schema import Schema
from shortlist.pipeline.recommender import Recommender
from shortlist.server.acts import acts_of
from shortlist.server.answering import asked, recommend
from shortlist.server.bundles import Loaded
from shortlist.server.events.event import Event
from shortlist.server.events.overlay import Overlay
from shortlist.server.events.recent import Recent
from shortlist.server.events.sqlite import SqliteStore
from shortlist.server.wire import Query
from shortlist.state.catalogue import Items
from shortlist.state.past import Past
from shortlist.state.seen import Seen
from shortlist.state.users import Users

N = 8
ITEMS = [f"i{n}" for n in range(N)]
NOW = 1_700_000_000
KNOWN = [("ann", 0, 10, 3.0), ("ann", 1, 20, 5.0), ("ann", 2, 20, 1.0), ("bob", 3, 15, 4.0)]
"""User, item, time and rating of the training rows."""


def bundle(*, timed: bool = True, rated: bool = True, reads_past: bool = True) -> Recommender:
    names, items, times, ratings = zip(*KNOWN, strict=True)
    users = np.array([["ann", "bob"].index(name) for name in names])
    log, _ = Log.of(
        users, np.array(items), np.array(times) if timed else None, np.array(ratings) if rated else None, 2
    )
    past = Past(log, 3.25, timed) if reads_past else None
    seen = Seen.from_pairs(users, np.array(items), 2)
    known = Users.of(["ann", "bob"], {}, seen, 20 if timed else None, past)
    return Recommender(Items.of(ITEMS, {}, np.ones(N)), known, Schema({}, {}))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    made = SqliteStore(tmp_path / "events.db")
    yield made
    made.close()


COUNT = iter(range(10**6))


def did(user: str, item: str, timestamp: int = NOW, **more: Any) -> Event:
    return Event(event_id=f"e{next(COUNT)}", user_id=user, item_id=item, timestamp=timestamp, **more)


def test_without_events_nothing_is_told_and_training_is_seen(store: SqliteStore) -> None:
    overlay = Overlay(Recent(store), bundle())
    assert overlay.told("ann") is None
    assert overlay.told("nobody") is None
    assert overlay.seen("ann").tolist() == [0, 1, 2]
    assert overlay.seen("nobody").tolist() == []


def test_events_count_at_the_next_look(store: SqliteStore) -> None:
    overlay = Overlay(Recent(store), bundle())
    assert overlay.told("ann") is None
    store.append([did("ann", "i5", NOW, rating=2.0), did("cy", "i4", NOW, rating=4.0)])
    assert overlay.refresh()
    told = overlay.told("ann")
    assert told is not None
    assert told.request() == {
        "history": ["i5", "i2", "i1", "i0"],
        "history_timestamp": [NOW, 20, 20, 10],
        "history_rating": [2.0, 1.0, 5.0, 3.0],
    }
    assert told.positions.tolist() == [5, 2, 1, 0]
    assert overlay.seen("ann").tolist() == [0, 1, 2, 5]
    new = overlay.told("cy")
    assert new is not None and new.item_ids == ["i4"]
    assert not overlay.refresh()
    assert overlay.told("ann") is told  # made once


def history_of(recommender: Recommender, user: str) -> tuple[list[str], list[int], list[float]]:
    """The latest first, as a recommender that observed the events holds it."""
    past, index = recommender.users.past, int(recommender.users.indices([user])[0])
    assert past is not None and past.log.ratings is not None
    rows = slice(int(past.log.indptr[index]), int(past.log.indptr[index + 1]))
    log = past.log
    assert log.ratings is not None
    ids = recommender.items.ids[log.items[rows]].tolist()
    return ids[::-1], log.times[rows].tolist()[::-1], log.ratings[rows].tolist()[::-1]


@pytest.mark.parametrize("seed", range(5))
def test_a_history_is_that_of_a_recommender_that_observed_the_events(store: SqliteStore, seed: int) -> None:
    """In any order of arrival, between and before training's events as after them."""
    draw = np.random.default_rng(seed)
    events = [
        did(
            str(draw.choice(["ann", "bob", "cy"])),
            str(draw.choice(ITEMS)),
            int(draw.integers(5, 40)) * 100 + 1,
            rating=float(draw.integers(1, 6)),
        )
        for _ in range(30)
    ]
    overlay = Overlay(Recent(store), bundle())
    for event in events:
        store.append([event])
        overlay.refresh()
        overlay.told(event.user_id)  # held from the first event on
    rows = {
        name: [getattr(e, name) for e in events] for name in ("user_id", "item_id", "timestamp", "rating")
    }
    grown = observed(bundle(), pl.DataFrame(rows))
    for user in ("ann", "bob", "cy"):
        told = overlay.told(user)
        assert told is not None
        assert (told.item_ids, told.timestamps, told.ratings) == history_of(grown, user)
        assert (
            overlay.seen(user).tolist() == grown.users.seen.of(int(grown.users.indices([user])[0])).tolist()
        )


def test_what_the_bundle_learned_from_counts_once(store: SqliteStore) -> None:
    store.append([did("ann", f"i{item}", time, rating=r) for user, item, time, r in KNOWN if user == "ann"])
    store.append([did("ann", "i1", 30, rating=4.0)])  # the same item again is another event
    told = Overlay(Recent(store), bundle()).told("ann")
    assert told is not None
    assert told.item_ids == ["i1", "i2", "i1", "i0"]


def test_what_the_bundle_learned_from_counts_once_however_late_it_comes(store: SqliteStore) -> None:
    """Also where a history was told already, which ends in the same second."""
    overlay = Overlay(Recent(store), bundle())
    store.append([did("ann", "i7", 12, rating=2.0)])
    assert overlay.refresh() and overlay.told("ann") is not None
    store.append([did("ann", "i2", 20, rating=1.0)])
    assert overlay.refresh()
    told = overlay.told("ann")
    assert told is not None and told.item_ids == ["i2", "i1", "i7", "i0"]


def test_events_after_a_user_was_forgotten_are_all_there_is(store: SqliteStore) -> None:
    """And more of them than there were before."""
    overlay = Overlay(Recent(store), bundle())
    store.append([did("cy", "i4", 50, rating=1.0)])
    assert overlay.refresh() and overlay.told("cy") is not None
    store.forget("cy")
    overlay.refresh()
    store.append([did("cy", "i5", 40, rating=2.0), did("cy", "i4", 50, rating=5.0)])
    overlay.refresh()
    told = overlay.told("cy")
    assert told is not None
    assert (told.item_ids, told.ratings) == (["i4", "i5"], [5.0, 2.0])
    assert overlay.seen("cy").tolist() == [4, 5]


def test_only_what_is_earlier_than_a_request_is_told(store: SqliteStore) -> None:
    store.append([did("ann", "i5", 30), did("ann", "i6", 40), did("ann", "i7", 30)])
    overlay = Overlay(Recent(store), bundle(rated=False))
    whole = overlay.told("ann")
    assert whole is not None and whole.item_ids == ["i6", "i7", "i5", "i2", "i1", "i0"]
    for before, count in [(41, 6), (40, 5), (30, 3), (11, 1), (10, 0)]:
        told = overlay.told("ann", before=before)
        assert told is not None
        assert told.item_ids == whole.item_ids[6 - count :]
        assert len(told.timestamps or ()) == count
        assert told.ratings is None


def test_a_model_without_times_or_ratings_is_told_none(store: SqliteStore) -> None:
    store.append([did("ann", "i5", 1, rating=2.0)])
    told = Overlay(Recent(store), bundle(timed=False, rated=False)).told("ann", before=0)
    assert told is not None
    assert told.request() == {"history": ["i5", "i2", "i1", "i0"]}


def test_a_model_that_reads_no_past_still_filters(store: SqliteStore) -> None:
    store.append([did("ann", "i5"), did("cy", "i4")])
    overlay = Overlay(Recent(store), bundle(reads_past=False))
    assert overlay.told("ann") is None
    assert overlay.seen("ann").tolist() == [0, 1, 2, 5]
    assert overlay.seen("cy").tolist() == [4]


def test_events_that_say_nothing_of_taste_are_left_out(store: SqliteStore) -> None:
    store.append(
        [did("cy", "i1", event="refund"), did("cy", "i2", weight=0.0), did("cy", "not in the catalogue")]
    )
    overlay = Overlay(Recent(store), bundle(), ignored={"refund"})
    assert overlay.told("cy") is None
    assert overlay.seen("cy").tolist() == []
    store.append([did("cy", "i3", event="buy")])
    overlay.refresh()
    told = overlay.told("cy")
    assert told is not None and told.item_ids == ["i3"]


def test_an_event_without_rating_has_none_and_one_off_the_scale_is_clipped(store: SqliteStore) -> None:
    """The model takes it at par: the residual that it makes of it is zero, so that it says nothing of the
    user's taste."""
    store.append([did("cy", "i1", 100), did("cy", "i6", 101, rating=50.0)])
    recommender = bundle()
    told = Overlay(Recent(store), recommender).told("cy")
    assert told is not None and recommender.events is not None
    assert (told.item_ids, told.ratings) == (["i6", "i1"], [5.0, None])
    read = recommender.read({"user_id": "cy", **told.request()})
    assert read.told is not None and told.past.ratings is not None
    np.testing.assert_array_equal(read.told.log.ratings, told.past.ratings)
    residuals = replace(recommender.events, log=read.told.log, base=recommender.events, _made={})
    assert residuals.residuals("row")[0] == 0
    at_par = recommender.events.at_par(read.told.log).ratings
    assert at_par is not None and at_par[0] != 3.25  # not the mean of all: i1 is liked more


def test_what_nobody_rated_is_shown_without_a_rating_and_told_back_as_it_is_read(store: SqliteStore) -> None:
    """Of events since, and of those that training learned without a rating."""
    plain = bundle()
    users = plain.users
    assert users.past is not None
    recommender = replace(plain, users=replace(users, past=replace(users.past, unrated=5.0)))
    loaded = Loaded("a", "1", recommender, Overlay(Recent(store), recommender))

    def shown(user: str) -> dict[str, Any]:
        acts = acts_of(loaded, user)
        names = {"history": "item_id", "history_timestamp": "timestamp", "history_rating": "rating"}
        return {name: [act[key] for act in acts] for name, key in names.items()}

    assert shown("ann")["history_rating"] == [1.0, None, 3.0]
    told = asked(loaded, Query(user_id="ann", **shown("ann")))
    assert told["history_rating"] == [1.0, 5.0, 3.0]  # what it is read as where it is stored
    store.append([did("ann", "i5", NOW, event="view")])
    assert loaded.overlay is not None and loaded.overlay.refresh()
    assert shown("ann")["history_rating"] == [None, 1.0, None, 3.0]
    stored = asked(loaded, Query(user_id="ann"))
    assert asked(loaded, Query(user_id="ann", **shown("ann"))) == stored
    moved = shown("ann") | {"history_timestamp": [NOW, 21, 21, 10]}  # another event, which is nobody's
    assert asked(loaded, Query(user_id="ann", **moved))["history_rating"] == [None, 1.0, None, 3.0]


def test_a_told_history_is_taken_by_a_recommender(store: SqliteStore) -> None:
    """As `Recommender.recommend` reads requests, for known and unknown users."""
    store.append([did("ann", "i5", NOW), did("cy", "i1", NOW, rating=99.0)])
    recommender = bundle()
    overlay = Overlay(Recent(store), recommender)
    for user, count in (("ann", 4), ("cy", 1)):
        told = overlay.told(user)
        assert told is not None
        read = recommender.read({"user_id": user, **told.request()})
        assert read.columns["timestamp"].tolist() == [NOW + 1]
        assert read.told is not None and len(read.told.log) == count


# What is held


def test_users_are_pushed_out_and_read_again(store: SqliteStore) -> None:
    store.append([did(f"u{n}", f"i{n % N}") for n in range(20)])
    recent = Recent(store, most_users=5)
    for n in range(20):
        assert [act.item_id for act in recent.of(f"u{n}")] == [f"i{n % N}"]
    assert len(recent) == 5
    assert [act.item_id for act in recent.of("u0")] == ["i0"]


def test_events_held_are_bounded(store: SqliteStore) -> None:
    store.append([did(f"u{n}", "i1") for n in range(10) for _ in range(10)])
    recent = Recent(store, most_acts=35, of_one=8)
    for n in range(10):
        assert len(recent.of(f"u{n}")) == 8
    assert len(recent) == 4
    store.append([did("u9", "i2") for _ in range(5)])
    recent.refresh()
    assert [act.item_id for act in recent.of("u9")] == ["i1"] * 3 + ["i2"] * 5


def test_what_another_process_wrote_counts_once(store: SqliteStore) -> None:
    """Read with the user and again with the news, it is one event."""
    recent = Recent(store)
    other = SqliteStore(store.path)
    other.append([did("ann", "i1")])
    assert len(recent.of("ann")) == 1  # read before the news were
    assert recent.refresh()
    assert len(recent.of("ann")) == 1
    other.append([did("ann", "i2"), did("bob", "i3")])
    assert recent.refresh()
    assert [act.item_id for act in recent.of("ann")] == ["i1", "i2"]
    assert len(recent.of("bob")) == 1
    other.close()


def test_more_news_than_a_page(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    recent = Recent(store)
    assert recent.of("ann") == ()
    store.append([did("ann", f"i{n % N}") for n in range(25)])
    monkeypatch.setattr("shortlist.server.events.recent.PAGE", 10)
    take = store.since
    monkeypatch.setattr(store, "since", lambda sequence: take(sequence, 10))
    assert recent.refresh()
    assert len(recent.of("ann")) == 25


def test_a_forgotten_user_is_forgotten_by_whoever_holds_the_events(store: SqliteStore) -> None:
    overlay = Overlay(Recent(store), bundle())
    store.append([did("ann", "i5"), did("cy", "i4")])
    overlay.refresh()
    assert overlay.told("cy") is not None
    other = SqliteStore(store.path)
    other.forget("cy")
    other.close()
    overlay.refresh()
    assert overlay.told("cy") is None
    assert overlay.seen("cy").tolist() == []
    assert overlay.told("ann") is not None


def test_looks_are_spaced_where_asked(store: SqliteStore) -> None:
    recent = Recent(store, every=1000)
    assert recent.of("ann") == ()
    store.append([did("ann", "i1")])
    assert not recent.refresh()
    recent.drop("ann")
    assert len(recent.of("ann")) == 1


def test_events_that_are_pushed_out_no_longer_count(store: SqliteStore) -> None:
    overlay = Overlay(Recent(store, of_one=2), bundle())
    for n, item in enumerate(("i5", "i4", "i3")):
        store.append([did("cy", item, NOW + n)])
        overlay.refresh()
        assert overlay.seen("cy").tolist() == [[5], [4, 5], [3, 4]][n]


def test_made_histories_are_bounded(store: SqliteStore) -> None:
    overlay = Overlay(Recent(store), bundle(), most=3)
    for n in range(10):
        overlay.told(f"u{n}")
    assert len(overlay._made) == 3


@pytest.mark.parametrize("timed", [True, False])
def test_what_a_user_had_is_left_out_whatever_the_time(store: SqliteStore, timed: bool) -> None:
    """One event more hides one item more; a history that is told stands for itself, as in Python."""
    recommender = bundle(timed=timed)
    loaded = Loaded("a", "1", recommender, Overlay(Recent(store), recommender))

    def hidden(queries: list[Query]) -> list[set[str]]:
        return [set(ITEMS) - {item.item_id for item in answer.items} for answer in recommend(loaded, queries)]

    asked = [
        *(Query(user_id="ann", timestamp=time) for time in (None, 5, 15, 20, 21, NOW + 9)),
        Query(user_id="ann", history=["i7", "i1"]),
        Query(user_id="ann", timestamp=NOW + 9, history=["i7"]),
        Query(user_id="cy", timestamp=15),
        Query(timestamp=15),
    ]
    told = [{"i7", "i1"}, {"i7"}]
    for n in range(3):
        ann = {"i0", "i1", "i2", "i5", "i6"} - set(("i5", "i6")[n:])
        cy = {"i3"} if n == 2 else set()
        expected = [ann] * 6 + told + [cy, set()]
        assert [hidden([query])[0] for query in asked] == expected
        assert hidden(asked) == expected  # and in company
        if n == 0:
            python = recommender.recommend([{"user_id": "ann", "timestamp": 15}], N)["item_id"].tolist()
            assert set(ITEMS) - set(python) == ann
        store.append([did("ann", ("i5", "i6", "i0")[n], NOW + n), *([did("cy", "i3")] if n else [])])
        assert loaded.overlay is not None and loaded.overlay.refresh()


@pytest.mark.slow
def test_answers_are_those_of_a_recommender_that_observed_the_events(
    small_data: Dataset, store: SqliteStore
) -> None:
    """A trained model that reads histories, rated bags, counts and affinities: telling it what the overlay
    merged and letting it observe the same events give the same shortlists, for users it knows and for new
    ones."""
    import shortlist as sl

    people = small_data.users[:30]
    rows = small_data.interactions.filter(pl.col("user_id").is_in(people["user_id"].to_list()))
    split = sl.splits.random(sl.Dataset(rows, people, small_data.items, "tiny"), test=0.2, seed=1)
    head = sl.Rating(
        hidden=[4],
        interaction="product",
        dim=4,
        query=[sl.Bag(dim=4, rated=True)],
        aggregates=[sl.Aggregate(), sl.Affinity(near="year", width=7.0), sl.Context("position")],
    )
    query = sl.Tower(
        [sl.History(dim=4, length=6, scale=0.3), sl.Bag(dim=4), sl.Bucket("past_count", 4, 4)], combine="sum"
    )
    model = sl.MultiTask(
        query, sl.Tower([sl.Id("item_id", 4)], combine="sum"), [sl.Retrieval(loss="full", seen="row"), head]
    )
    recommender = sl.fit(model, split, epochs=1, batch_size=256).recommender()
    draw, latest = np.random.default_rng(0), int(rows["timestamp"].max())  # type: ignore[arg-type]
    names = [*people["user_id"].to_list()[:6], "new one", "another"]
    events = [
        did(
            names[n % len(names)],
            str(draw.choice(recommender.items.ids)),
            latest + 60 * n,
            rating=float(draw.integers(1, 6)),
        )
        for n in range(60)
    ]
    store.append(events)
    columns = ("user_id", "item_id", "timestamp", "rating")
    grown = observed(
        recommender, pl.DataFrame({name: [getattr(e, name) for e in events] for name in columns})
    )
    overlay = Overlay(Recent(store), recommender)
    for user in names:
        told = overlay.told(user)
        assert told is not None
        query = {"user_id": user, "timestamp": latest + 10_000}
        ours = recommender.recommend({**query, **told.request()}, k=20)
        theirs = grown.recommend(query, k=20)
        assert ours["item_id"].tolist() == theirs["item_id"].tolist()
        np.testing.assert_allclose(ours["score"], theirs["score"], atol=1e-4)
        assert not {e.item_id for e in events if e.user_id == user} & set(ours["item_id"].tolist())
