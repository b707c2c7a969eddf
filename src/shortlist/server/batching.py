"""Requests that arrive together are answered together: one call of the recommender for all their queries.

Whatever asks is gathered until a turn of the event loop brings nothing more, which is a look at the sockets,
and answered in the loop's own thread. While a call runs, more requests come in, so that under load the calls
grow by themselves, and a lone request waits for nobody. A call takes at most so many queries, and between
calls the loop looks at its sockets.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from shortlist.errors import ShortlistError
from shortlist.server.answering import recommend, score
from shortlist.server.bundles import Loaded
from shortlist.server.problems import Trouble, of_error
from shortlist.server.wire import Query, Row

_TURNS = 8  # of the loop, during which more requests are gathered

Answer = Callable[[Loaded, Sequence[Any]], list[Any]]


@dataclass(eq=False, slots=True)
class _Request:
    """What one request asks, and who waits. left: questions that have no answer yet."""

    future: asyncio.Future[list[Any]]
    answers: list[Any]
    left: int
    since: float
    path: str
    many: bool


@dataclass(eq=False, slots=True)
class _Question:
    request: _Request
    place: int
    loaded: Loaded
    key: Any
    what: Any


@dataclass(eq=False)
class Batcher:
    """most: queries in a call; seconds: how long a request may wait for one. before: called before every
    call; told: called with the number of queries of every call."""

    most: int = 64
    seconds: float = 5.0
    before: Callable[[], object] = lambda: None
    told: Callable[[int], None] = lambda num: None
    _waiting: deque[_Question] = field(default_factory=deque, init=False, repr=False)
    _called: bool = field(default=False, init=False, repr=False)
    _gathered: int = field(default=0, init=False, repr=False)
    _turns: int = field(default=0, init=False, repr=False)

    def recommend(self, queries: Sequence[tuple[Loaded, Query]], path: str = "") -> asyncio.Future[list[Any]]:
        """Shortlists of queries. path: of the list of them inside the request, where there is one."""
        return self._ask([(loaded, _key(loaded, query), query) for loaded, query in queries], path)

    def score(self, rows: Sequence[tuple[Loaded, Row]], path: str = "") -> asyncio.Future[list[Any]]:
        """What the model says of rows."""
        return self._ask([(loaded, None, row) for loaded, row in rows], path)

    @property
    def waiting(self) -> int:
        """Queries that wait."""
        return len(self._waiting)

    def _ask(self, asked: list[tuple[Loaded, Any, Any]], path: str) -> asyncio.Future[list[Any]]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Any]] = loop.create_future()
        request = _Request(future, [None] * len(asked), len(asked), perf_counter(), path, bool(path))
        for place, (loaded, key, what) in enumerate(asked):
            self._waiting.append(_Question(request, place, loaded, key, what))
        if not self._called:
            self._called = True
            loop.call_soon(self._run, loop)
        return future

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        """Answer, once a turn of the loop brought nothing more, or enough is there."""
        waiting = len(self._waiting)
        if self._gathered < waiting < self.most and self._turns < _TURNS:
            self._gathered = waiting
            self._turns += 1
            loop.call_soon(self._run, loop)
            return
        self._gathered = self._turns = 0
        self._take(loop)

    def _take(self, loop: asyncio.AbstractEventLoop) -> None:
        taken = [self._waiting.popleft() for _ in range(min(self.most, len(self._waiting)))]
        self._called = bool(self._waiting)
        if self._called:
            loop.call_soon(self._run, loop)
        now = perf_counter()
        groups: dict[Any, list[_Question]] = {}
        for one in taken:
            if one.request.future.done():  # cancelled, or another of its queries failed
                continue
            if now - one.request.since > self.seconds:
                _fail(one, Trouble(503, "the server has too much to do", retry_after=1))
                continue
            groups.setdefault((id(one.loaded), one.key), []).append(one)
        if not groups:
            return
        try:
            self.before()
        except Exception as error:  # who was taken would wait for ever
            for one in (one for questions in groups.values() for one in questions):
                _fail(one, error)
            return
        for questions in groups.values():
            self._answer(questions)

    def _answer(self, questions: list[_Question]) -> None:
        """Answers to questions that go together. What cannot be answered is found by halving, so that nobody
        suffers from another's mistake."""
        first = questions[0]
        answer: Answer = score if first.key is None else recommend
        try:
            answers = answer(first.loaded, [one.what for one in questions])
        except Exception as error:
            if len(questions) == 1:
                _fail(first, _trouble(error, first))
                return
            half = len(questions) // 2
            self._answer(questions[:half])
            self._answer(questions[half:])
            return
        self.told(len(questions))
        for one, found in zip(questions, answers, strict=True):
            request = one.request
            request.answers[one.place] = found
            request.left -= 1
            if not request.left and not request.future.done():
                request.future.set_result(request.answers)


def _key(loaded: Loaded, query: Query) -> Any:
    """Queries of one key have the answers they would have alone: as many candidates are ranked for each."""
    recommender = loaded.recommender
    k = 0 if recommender.ranker is None or query.k <= recommender.num_retrieved else query.k
    listed = recommender.retriever is None and query.only is not None
    return query.filter_seen, k, listed, query.utility


def _trouble(error: Exception, question: _Question) -> Exception:
    if not isinstance(error, ShortlistError):
        return error
    request = question.request
    path = f"{request.path}/{question.place}" if request.many else ""
    return of_error(error, path, question.what)


def _fail(question: _Question, error: Exception) -> None:
    if not question.request.future.done():
        question.request.future.set_exception(error)
