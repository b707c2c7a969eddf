"""Group commit: who shares a transaction, who waits, who is refused, and what happens when the disk fails."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from shortlist.server.events.event import Event, Impression
from shortlist.server.events.sqlite import SqliteStore
from shortlist.server.events.store import Batch, Outcome
from shortlist.server.events.trouble import Overloaded, StoreError, StoreFull
from shortlist.server.events.writer import Writer


class Gated(SqliteStore):
    """Writes only when let; `fail` is raised in place of the next write."""

    fail: Exception | None = None

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.gate, self.groups = threading.Event(), list[int]()
        self.began = threading.Semaphore(0)

    def write(self, batches: Sequence[Batch]) -> list[Outcome]:
        self.began.release()
        self.gate.wait(10)
        self.groups.append(len(batches))
        if self.fail is not None:
            failure, self.fail = self.fail, None
            raise failure
        return super().write(batches)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Gated]:
    made = Gated(tmp_path / "events.db")
    yield made
    made.gate.set()
    made.close()


def event(name: object, user: str = "ann", **more: Any) -> Event:
    return Event(event_id=str(name), user_id=user, item_id="i1", timestamp=1_700_000_000, **more)


def shown(name: object) -> Impression:
    return Impression(request_id=str(name), user_id="ann", items=("i1",), timestamp=1_700_000_000)


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        await asyncio.wait_for(work(), 20)

    asyncio.run(whole())


async def under_way(store: Gated) -> None:
    """Until the writer's thread is inside a write."""
    await asyncio.to_thread(store.began.acquire, timeout=10)


def test_what_comes_in_one_turn_of_the_loop_shares_a_write(store: Gated) -> None:
    writer = Writer(store)
    store.gate.set()

    async def work() -> None:
        for turn in range(3):
            told = await asyncio.gather(*(writer.append([event(f"{turn}-{n}")]) for n in range(20)))
            assert told == [Outcome(1)] * 20
        assert store.groups == [20] * 3

    run(work)
    writer.close(5)


def test_what_gathers_during_a_write_shares_the_next(store: Gated) -> None:
    writer = Writer(store)

    async def work() -> None:
        first = asyncio.create_task(writer.append([event(0)]))
        await under_way(store)
        others = [asyncio.create_task(writer.append([event(n), event(n)])) for n in range(1, 51)]
        refused = asyncio.create_task(writer.append([event(0, "bob"), event(99)]))
        await asyncio.sleep(0)
        assert writer.held == 103
        assert not first.done()
        store.gate.set()
        assert await first == Outcome(1)
        assert await asyncio.gather(*others) == [Outcome(1, 1)] * 50
        outcome = await refused
        assert (outcome.accepted, [r.index for r in outcome.rejected]) == (1, [0])

    run(work)
    assert store.groups == [1, 51]
    assert writer.close()
    tally = writer.tally
    assert (tally.groups, tally.accepted, tally.repeated, tally.rejected) == (2, 52, 50, 1)
    assert writer.held == 0


def test_a_group_is_bounded(store: Gated) -> None:
    writer = Writer(store, group=10)

    async def work() -> None:
        first = asyncio.create_task(writer.append([event("first")]))
        await under_way(store)
        others = [asyncio.create_task(writer.append([event(f"{n} {k}") for k in range(4)])) for n in range(5)]
        large = asyncio.create_task(writer.append([event(f"large {k}") for k in range(30)]))
        await asyncio.sleep(0)
        store.gate.set()
        await asyncio.gather(first, *others, large)

    run(work)
    assert store.groups == [1, 2, 2, 1, 1]  # of 1, 8, 8, 4 and 30 events
    writer.close()


def test_too_many_are_refused_at_once_and_taken_later(store: Gated) -> None:
    writer = Writer(store, waiting=10)

    async def work() -> None:
        whole = asyncio.create_task(
            writer.append([event(n) for n in range(12)])
        )  # alone: it has to go somehow
        await under_way(store)
        with pytest.raises(Overloaded, match="12 events wait to be written, and no more than 10 may") as told:
            await writer.append([event("late")])
        assert told.value.retry_after >= 1
        assert not writer.log([shown("late")])
        store.gate.set()
        await whole
        assert await writer.append([event("late")]) == Outcome(1)
        assert writer.log([shown("later")])

    run(work)
    writer.close()
    assert store.count() == 13
    assert [s.impression.request_id for s in store.impressions()] == ["later"]
    assert (writer.tally.dropped, writer.tally.impressions) == (1, 1)


def test_whom_a_failed_write_concerns_is_told_and_the_next_goes_well(store: Gated) -> None:
    writer = Writer(store)
    store.fail = StoreFull("no room")

    async def work() -> None:
        store.gate.set()
        with pytest.raises(StoreFull, match="no room"):
            await writer.append([event(1)])
        assert await writer.append([event(1)]) == Outcome(1)
        store.fail = ValueError("a fault")
        with pytest.raises(StoreError, match="events could not be kept: ValueError: a fault"):
            await writer.append([event(2)])
        assert await writer.append([event(2)]) == Outcome(1)

    run(work)
    writer.close()
    assert (writer.tally.failed, writer.tally.accepted) == (2, 2)


def test_who_goes_away_does_not_take_the_event_along(store: Gated) -> None:
    writer = Writer(store)

    async def work() -> None:
        leaving = asyncio.create_task(writer.append([event(1)]))
        staying = asyncio.create_task(writer.append([event(2)]))
        await under_way(store)
        leaving.cancel()
        await asyncio.sleep(0)
        store.gate.set()
        assert (await asyncio.gather(staying)) == [Outcome(1)]

    run(work)
    writer.close()
    assert store.count() == 2


def test_closing_writes_what_waits_and_then_takes_nothing(store: Gated) -> None:
    writer = Writer(store)

    async def work() -> None:
        tasks = [asyncio.create_task(writer.append([event(n)])) for n in range(20)]
        await under_way(store)
        assert not writer.close(timeout=0.01)
        with pytest.raises(StoreError, match="the server is stopping"):
            await writer.append([event("late")])
        store.gate.set()
        assert await asyncio.to_thread(writer.close, 10)
        assert await asyncio.gather(*tasks) == [Outcome(1)] * 20

    run(work)
    assert store.count() == 20


def test_bad_events_never_reach_the_thread(store: Gated) -> None:
    writer = Writer(store)

    async def work() -> None:
        store.gate.set()
        only_bad = await writer.append([event("")])
        assert [(r.index, r.field) for r in only_bad.rejected] == [(0, "event_id")]
        mixed = await writer.append([event(1, rating=float("inf")), event(1)])
        assert (mixed.accepted, [r.index for r in mixed.rejected]) == (1, [0])
        with pytest.raises(ValueError, match="request_id"):
            await writer.show([shown("")])
        await writer.show([shown("r")])

    run(work)
    writer.close()
    assert store.groups == [1, 1]
    assert writer.tally.rejected == 2


def test_listeners_hear_of_every_group_that_was_kept(store: Gated) -> None:
    heard: list[int] = []
    writer = Writer(store, wrote=lambda: heard.append(store.count()))
    store.gate.set()
    store.fail = StoreFull("no room")

    async def work() -> None:
        with pytest.raises(StoreFull):
            await writer.append([event(0)])
        for n in range(3):
            await writer.append([event(n)])
            assert heard == list(range(1, n + 2))  # before whoever waits is told

    run(work)
    writer.close()
