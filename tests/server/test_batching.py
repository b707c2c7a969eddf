"""Requests that arrive together are one call; whoever made a mistake bears it alone; late is said."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import shortlist as sl
from shortlist.server import answering
from shortlist.server.batching import Batcher
from shortlist.server.bundles import Loaded
from shortlist.server.events.event import Event
from shortlist.server.events.overlay import Overlay
from shortlist.server.events.recent import Recent
from shortlist.server.events.sqlite import SqliteStore
from shortlist.server.problems import Trouble
from shortlist.server.wire import Query, Row

NOW = 1_700_000_000


@pytest.fixture(scope="module")
def loaded(bundle: Path) -> Loaded:
    return Loaded("a", "v", sl.load(bundle), None)


def test_what_arrives_together_is_one_call(loaded: Loaded) -> None:
    users = loaded.recommender.users.vocabulary.values[:30]
    calls: list[int] = []
    batcher = Batcher(told=calls.append)

    async def ask() -> list[Any]:
        asked = [
            batcher.recommend([(loaded, Query(user_id=user, k=1 + n % 9))]) for n, user in enumerate(users)
        ]
        return await asyncio.gather(*asked)

    answers = asyncio.run(ask())
    assert calls == [30]
    for n, (user, [answer]) in enumerate(zip(users, answers, strict=True)):
        expected = loaded.recommender.recommend([{"user_id": user}], 1 + n % 9)
        assert answer.user_id == user
        assert [item.item_id for item in answer.items] == expected["item_id"].tolist()


def test_a_call_is_bounded_and_scores_go_apart(loaded: Loaded) -> None:
    calls: list[int] = []
    batcher = Batcher(most=8, told=calls.append)

    async def ask() -> None:
        queries = [(loaded, Query(user_id=str(n))) for n in range(20)]
        rows = [(loaded, Row(user_id=str(n), item_id="50")) for n in range(3)]
        await asyncio.gather(batcher.recommend(queries, "/queries"), batcher.score(rows, "/rows"))

    asyncio.run(ask())
    assert max(calls) <= 8 and sum(calls) == 23
    assert batcher.waiting == 0


def test_a_mistake_is_its_own(loaded: Loaded) -> None:
    batcher = Batcher()
    bad = {3, 11}

    async def ask() -> list[Any]:
        asked = [
            batcher.recommend([(loaded, Query(user_id=str(n), only=["no such"] if n in bad else None))])
            for n in range(16)
        ]
        return await asyncio.gather(*asked, return_exceptions=True)

    answers = asyncio.run(ask())
    assert {n for n, answer in enumerate(answers) if isinstance(answer, Trouble)} == bad
    assert answers[3].pointer == "/only/0" and answers[3].status == 422


def test_who_waited_too_long_is_told_so(loaded: Loaded) -> None:
    batcher = Batcher(seconds=-1.0)

    async def ask() -> None:
        await batcher.recommend([(loaded, Query(user_id="1"))])

    with pytest.raises(Trouble) as caught:
        asyncio.run(ask())
    assert caught.value.status == 503 and (b"retry-after", b"1") in caught.value.headers


def test_a_fault_is_passed_on_and_the_next_is_answered(loaded: Loaded, monkeypatch: Any) -> None:
    import shortlist.server.batching as batching

    batcher = Batcher()

    async def ask() -> Any:
        with monkeypatch.context() as patched:
            patched.setattr(batching, "recommend", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                await batcher.recommend([(loaded, Query(user_id="1"))])
        return await batcher.recommend([(loaded, Query(user_id="1"))])

    assert len(asyncio.run(ask())) == 1


def test_who_was_taken_hears_of_a_store_that_fails(loaded: Loaded) -> None:
    faults: list[Exception] = [OSError("gone")]
    batcher = Batcher(before=lambda: faults and (_ for _ in ()).throw(faults.pop()))

    async def ask() -> Any:
        asked = [batcher.recommend([(loaded, Query(user_id=str(n)))]) for n in range(3)]
        failed = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 5)
        assert [str(one) for one in failed] == ["gone"] * 3
        return await batcher.recommend([(loaded, Query(user_id="1"))])

    assert len(asyncio.run(ask())) == 1


def test_with_events_many_are_answered_as_each_alone(bundle: Path, tmp_path: Path) -> None:
    """Users with events and without, and unknown ones: what was had since is left out, and the answers are
    those of one query at a time."""
    store = SqliteStore(tmp_path / "events.db")
    recommender = sl.load(bundle)
    users = [*map(str, recommender.users.vocabulary.values[:6]), "new one"]
    items = list(map(str, recommender.items.ids[:40]))
    told = [(user, item) for n, user in enumerate(users[::2]) for item in items[n : n + 9]]
    events = [
        Event(event_id=f"{user}/{item}", user_id=user, item_id=item, timestamp=NOW) for user, item in told
    ]
    store.append(events)
    overlaid = Loaded("a", "v", recommender, Overlay(Recent(store), recommender))
    plain = [Query(user_id=user, exclude=[items[30]]) for user in users]
    queries = [*plain, Query(user_id=users[2], timestamp=NOW - 5)]
    for query, found in zip(queries, answering.recommend(overlaid, queries), strict=True):
        [alone] = answering.recommend(overlaid, [query])
        assert [item.item_id for item in found.items] == [item.item_id for item in alone.items]
        had = {item for user, item in told if user == query.user_id} | {items[30]}
        assert found.items and not had & {item.item_id for item in found.items}
    store.close()
