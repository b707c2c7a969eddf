"""What every store of events promises; run on PostgreSQL too, by tests/server/run_postgres.py."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shortlist.server.events.event import Event, Impression
from shortlist.server.events.opening import open_store
from shortlist.server.events.store import Batch, Forgotten, Outcome, Store

NOW = 1_700_000_000
EVERY_FIELD: dict[str, Any] = {
    "event": "rate",
    "rating": 3.5,
    "weight": 0.25,
    "context": {"device": "phone", "n": 3, "x": 0.5, "yes": True, "none": None},
}
IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
ODD_IDS = ["\0", "\\0", "\\\0\\", "a\nb", "'; DROP TABLE events; --", '"', "\U0001f600", " ", "\u202e", "%s"]


@pytest.fixture
def place(tmp_path: Path) -> str:
    """Where a store may be made."""
    return str(tmp_path / "events.db")


@pytest.fixture
def opened(place: str) -> Iterator[Callable[[], Store]]:
    """Opens the store, again and again."""
    made: list[Store] = []

    def again() -> Store:
        made.append(open_store(place))
        return made[-1]

    yield again
    for store in made:
        store.close()


@pytest.fixture
def store(opened: Callable[[], Store]) -> Store:
    return opened()


def event(name: str, user: str = "ann", item: str = "i1", timestamp: int = NOW, **more: Any) -> Event:
    return Event(event_id=name, user_id=user, item_id=item, timestamp=timestamp, **more)


def kept(store: Store) -> list[Event]:
    return [stored.event for stored in store.since(0)]


def test_a_time_before_1970_is_refused(store: Store) -> None:
    outcome = store.append([event("1", timestamp=-1), event("2", timestamp=0)])
    [refused] = outcome.rejected
    assert (outcome.accepted, refused.index, refused.field) == (1, 0, "timestamp") and "-1" in refused.why


def test_events_come_back_as_they_were(store: Store) -> None:
    given_ = [event("1"), event("2", "bob", **EVERY_FIELD), event("3", timestamp=0, rating=0.0, weight=0.0)]
    assert store.append(given_) == Outcome(3)
    assert kept(store) == given_
    assert store.count() == 3


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=10)
@given(ids=st.tuples(IDS, IDS, IDS, IDS))
def test_ids_may_be_anything(store: Store, ids: tuple[str, str, str, str]) -> None:
    one = event(ids[0], ids[1], ids[2], event=ids[3])
    before = {e.event_id: e for e in kept(store)}
    outcome = store.append([one])
    assert outcome.accepted + outcome.repeated + len(outcome.rejected) == 1
    assert kept(store) == [*before.values(), *([one] if outcome.accepted else [])]
    assert outcome.accepted == (one.event_id not in before)
    if outcome.accepted:
        assert store.of_user(one.user_id, 1)[0].event == one


def test_odd_ids_stay_apart(store: Store) -> None:
    events = [event(name, user=name, item=name, event=name) for name in ODD_IDS]
    assert store.append(events) == Outcome(len(ODD_IDS))
    assert store.append(events) == Outcome(0, len(ODD_IDS))
    assert kept(store) == events
    for one in events:
        assert [s.event for s in store.of_user(one.user_id)] == [one]
    assert store.forget("\\0") == Forgotten(1, 0)
    assert store.of_user("\0")[0].event == events[0]


def test_an_id_counts_once(store: Store) -> None:
    assert store.append([event("1"), event("2"), event("1")]) == Outcome(2, 1)
    later = event(
        "2", timestamp=NOW + 60, rating=1.0
    )  # a clock read again, a value corrected: the first stays
    assert store.append([later, event("3")]) == Outcome(1, 1)
    assert [e.event_id for e in kept(store)] == ["1", "2", "3"]
    assert kept(store)[1] == event("2")


@pytest.mark.parametrize("other", [{"user": "bob"}, {"item": "i2"}, {"event": "buy"}])
def test_an_id_of_another_event_is_refused(store: Store, other: dict[str, str]) -> None:
    store.append([event("1")])
    outcome = store.append([event("2"), event("1", **other)])  # type: ignore[arg-type]
    assert outcome.accepted == 1
    assert [(r.index, r.field) for r in outcome.rejected] == [(1, "event_id")]
    assert "'1' is the id of another event" in outcome.rejected[0].why
    assert kept(store) == [event("1"), event("2")]


def test_a_bad_event_is_named_and_the_others_are_kept(store: Store) -> None:
    bad = [event("x", rating=float("nan")), event(""), event("y", timestamp=NOW * 1000)]
    outcome = store.append([bad[0], event("1"), bad[1], bad[2], event("1")])
    assert (outcome.accepted, outcome.repeated) == (1, 1)
    assert [(r.index, r.field) for r in outcome.rejected] == [
        (0, "rating"),
        (2, "event_id"),
        (3, "timestamp"),
    ]
    assert kept(store) == [event("1")]


def test_nothing_is_a_batch_too(store: Store) -> None:
    assert store.append([]) == Outcome()
    assert store.write([Batch(), Batch([event("1")]), Batch()]) == [Outcome(), Outcome(1), Outcome()]


def test_every_batch_of_a_group_has_its_own_outcome(store: Store) -> None:
    store.append([event("1")])
    batches = [Batch([event("1"), event("2")]), Batch([event("2"), event("3", "bob")]), Batch([event("3")])]
    first, second, third = store.write(batches)
    assert (first.accepted, first.repeated) == (1, 1)
    assert (second.accepted, second.repeated) == (1, 1)
    assert [(r.index, r.field) for r in third.rejected] == [(0, "event_id")]  # bob's, in the same group


def test_events_are_read_in_order_page_by_page(store: Store) -> None:
    names = [str(n) for n in range(25)]
    for name in names:
        store.append([event(name, user=f"u{int(name) % 3}", timestamp=NOW - int(name))])
    found, sequence = list[str](), 0
    while page := store.since(sequence, 4):
        assert len(page) <= 4
        found += [stored.event.event_id for stored in page]
        sequence = page[-1].sequence
    assert found == names
    assert sequence == store.last()
    assert [s.event.event_id for s in store.of_user("u1", 3)] == ["22", "19", "16"]
    assert store.of_user("nobody") == []


def test_impressions_come_back_and_count_once(store: Store) -> None:
    shown = [
        Impression(
            request_id="r1",
            user_id="ann",
            items=("i1", "\0", "i3"),
            timestamp=NOW,
            bundle="b",
            variant="A",
            propensity=(0.5, 0.25, 1.0),
        ),
        Impression(request_id="r\\0", user_id="\0", items=(), timestamp=NOW),
    ]
    store.write([Batch((), shown), Batch((), shown[:1])])
    assert [s.impression for s in store.impressions()] == shown
    first = store.impressions(0, 1)[0]
    assert [s.impression for s in store.impressions(first.sequence)] == shown[1:]
    assert store.count() == 0


def test_a_forgotten_user_is_gone_and_the_others_stay(store: Store, opened: Callable[[], Store]) -> None:
    store.append([event("1"), event("2", "bob"), event("3")])
    shown = [Impression(request_id=u, user_id=u, items=("i",), timestamp=NOW) for u in ("ann", "bob")]
    store.write([Batch((), shown)])
    other = opened()
    version, epoch = other.version(), other.epoch()
    assert store.forget("ann") == Forgotten(2, 1)
    assert other.version() != version
    assert other.epoch() == epoch + 1
    assert kept(other) == [event("2", "bob")]
    assert [s.impression.user_id for s in other.impressions()] == ["bob"]
    assert store.forget("ann") == Forgotten(0, 0)
    store.append([event("4", "cy")])
    assert [s.event.event_id for s in other.since(store.of_user("bob")[0].sequence)] == ["4"]


def test_what_was_acknowledged_is_there_after_opening_again(opened: Callable[[], Store]) -> None:
    first = opened()
    first.append([event("1")])
    first.close()
    again = opened()
    assert kept(again) == [event("1")]
    assert again.append([event("1")]) == Outcome(0, 1)


def test_what_others_write_is_seen_at_once(opened: Callable[[], Store]) -> None:
    one, other = opened(), opened()
    version = one.version()
    assert one.version() == version
    other.append([event("1")])
    assert one.version() != version
    assert kept(one) == [event("1")]


def test_many_writers_and_a_reader_who_misses_nothing(opened: Callable[[], Store]) -> None:
    """Four threads on two openings give the same 40 ids each; whoever reads on from where they were gets
    every event once, in order."""
    stores = [opened(), opened()]
    outcomes, read, done = list[Outcome](), list[int](), threading.Event()

    def write(store: Store) -> None:
        for start in range(0, 40, 4):
            outcomes.append(store.append([event(str(n)) for n in range(start, start + 4)]))

    def follow() -> None:
        store, sequence = opened(), 0
        while True:
            last_time = done.is_set()
            for stored in store.since(sequence):
                read.append(stored.sequence)
                sequence = stored.sequence
            if last_time:
                return

    reader = threading.Thread(target=follow)
    writers = [threading.Thread(target=write, args=(stores[n % 2],)) for n in range(4)]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert sum(outcome.accepted for outcome in outcomes) == 40
    assert sum(outcome.repeated for outcome in outcomes) == 120
    assert read == [stored.sequence for stored in stores[0].since(0)]
    assert len(read) == 40


def test_stats_say_what_there_is(store: Store) -> None:
    empty = store.stats()
    assert (empty.events, empty.first, empty.last, empty.kinds) == (0, None, None, {})
    store.append([event("1", event="view"), event("2", "bob", "i2", NOW + 9, event="view"), event("3")])
    store.write([Batch((), [Impression(request_id="r", user_id="ann", items=("i1",), timestamp=NOW)])])
    found = store.stats()
    assert (found.events, found.users, found.items, found.impressions) == (3, 2, 2, 1)
    assert (found.kinds, found.first, found.last) == ({"view": 2, "": 1}, NOW, NOW + 9)
    assert found.bytes > 0
    store.check()


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(
            st.just("append"), st.lists(st.tuples(st.integers(0, 6), st.sampled_from("ab")), max_size=5)
        ),
        st.tuples(st.just("forget"), st.sampled_from("ab")),
    ),
    max_size=8,
)
FRESH = count()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=12)
@given(operations=OPERATIONS)
def test_a_store_is_a_list_with_ids(store: Store, operations: list[Any]) -> None:
    """Compared with a dictionary, whatever is done in whatever order."""
    run = f"run {next(FRESH)} "
    model: dict[str, Event] = {}
    for name, value in operations:
        if name == "forget":
            gone = [e.event_id for e in model.values() if e.user_id == run + value]
            assert store.forget(run + value).events == len(gone)
            model = {i: e for i, e in model.items() if i not in gone}
            continue
        outcome = store.append([event(f"{run}{n}", run + user) for n, user in value])
        accepted, repeated, rejected = 0, 0, []
        for index, (n, user) in enumerate(value):
            known = model.setdefault(f"{run}{n}", new := event(f"{run}{n}", run + user))
            if known is new:
                accepted += 1
            elif known.user_id == run + user:
                repeated += 1
            else:
                rejected.append(index)
        assert (outcome.accepted, outcome.repeated) == (accepted, repeated)
        assert [r.index for r in outcome.rejected] == rejected
    assert [e for e in kept(store) if e.event_id.startswith(run)] == list(model.values())
