"""Requests that arrive together are one call; whoever made a mistake bears it alone; late is said."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import shortlist as sl
from shortlist.server.batching import Batcher
from shortlist.server.bundles import Loaded
from shortlist.server.problems import Trouble
from shortlist.server.wire import Query, Row


@pytest.fixture(scope="module")
def loaded(bundle: Path) -> Loaded:
    return Loaded("a", "v", sl.load(bundle), None, 0.0)


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
