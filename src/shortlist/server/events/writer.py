"""Group commit: what many tasks of an asyncio server append at one time shares one transaction and one fsync.

While one group is on its way to the disk the next one gathers, so nobody waits for company and the disk sets
the
pace: a lone event costs one fsync, and so do the five hundred that came during the one before.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil
from time import monotonic

from shortlist.server.events.event import Event, Impression
from shortlist.server.events.store import Batch, Outcome, Store, checked, in_batch, require_sound
from shortlist.server.events.trouble import Overloaded, Stopping, StoreError

WAITING = 10_000
"""Events and impressions that may wait."""
GROUP = 2_000
"""Events and impressions of one transaction, unless one batch alone has more."""

Future = asyncio.Future[Outcome]


@dataclass
class _Waiting:
    """A batch, and who waits for it: nobody, where impressions are only logged."""

    batch: Batch
    future: Future | None = None
    loop: asyncio.AbstractEventLoop | None = None


@dataclass
class Tally:
    """What a writer did so far. groups: transactions; seconds: spent in them; dropped: impressions for which
    there was no room."""

    groups: int = 0
    accepted: int = 0
    repeated: int = 0
    rejected: int = 0
    impressions: int = 0
    failed: int = 0
    dropped: int = 0
    seconds: float = 0.0


@dataclass(eq=False)
class Writer:
    """The front of a store for an asyncio server: one thread writes, any number of tasks wait.

    waiting: how many events may wait before `append` raises Overloaded; group: how many a transaction takes.
    wrote: called in the writer's thread after every group that was kept.
    """

    store: Store
    waiting: int = WAITING
    group: int = GROUP
    wrote: Callable[[], None] | None = None
    tally: Tally = field(default_factory=Tally, init=False)

    def __post_init__(self) -> None:
        self._queue: deque[_Waiting] = deque()
        self._held = 0  # events in the queue and in the group under way
        self._change = threading.Condition()
        self._closing = False
        self._waking: asyncio.AbstractEventLoop | None = None  # which is about to wake the thread
        self._thread = threading.Thread(target=self._run, name="shortlist-events", daemon=True)
        self._thread.start()

    async def append(self, events: Sequence[Event]) -> Outcome:
        """Keep events; they are on disk when it returns. A caller that goes away does not take them back.

        Raises Overloaded where too many wait, and StoreError where they could not be kept; what was not
        acknowledged may be sent again: an id counts once.
        """
        good, places, rejected = checked(events)
        self.tally.rejected += len(rejected)
        written = await self._enqueued(Batch(good)) if good else Outcome()
        return in_batch(written, places, rejected)

    async def show(self, impressions: Sequence[Impression]) -> None:
        """Keep impressions; they are on disk when it returns. Raises as `append`."""
        require_sound(impressions)
        await self._enqueued(Batch((), impressions))

    def log(self, impressions: Sequence[Impression]) -> bool:
        """Keep impressions soon, without waiting for the disk. False where there is no room: they are dropped
        and counted."""
        require_sound(impressions)
        try:
            self._enqueue(_Waiting(Batch((), impressions)))
        except Overloaded:
            self.tally.dropped += len(impressions)
            return False
        return True

    @property
    def held(self) -> int:
        """Events and impressions that are not on disk yet."""
        return self._held

    def close(self, timeout: float | None = None) -> bool:
        """Write what waits, then stop; what comes later is refused. False where that took longer than
        `timeout` seconds. The store stays open."""
        with self._change:
            self._closing = True
            self._change.notify_all()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    async def _enqueued(self, batch: Batch) -> Outcome:
        loop = asyncio.get_running_loop()
        future: Future = loop.create_future()
        self._enqueue(_Waiting(batch, future, loop), wake=False)
        if self._waking is not loop:  # what else comes in this turn of the loop is to be of the same group
            self._waking = loop
            loop.call_soon(self._wake)
        return await future

    def _wake(self) -> None:
        self._waking = None
        with self._change:
            self._change.notify()

    def _enqueue(self, one: _Waiting, *, wake: bool = True) -> None:
        with self._change:
            if self._closing:
                raise Stopping("the server is stopping: events are no longer taken", hint="send them again")
            if self._held and self._held + len(one.batch) > self.waiting:
                raise Overloaded(self._held, self.waiting, self._drained_in())
            self._held += len(one.batch)
            self._queue.append(one)
            if wake:
                self._change.notify()

    def _drained_in(self) -> int:
        """Whole seconds in which what waits will be written, at the pace so far."""
        done = self.tally.accepted + self.tally.repeated + self.tally.impressions
        return min(60, max(1, ceil(self._held * self.tally.seconds / done))) if done else 1

    # The writing thread

    def _run(self) -> None:
        while group := self._next():
            began = monotonic()
            told: list[Outcome] | StoreError
            try:
                told = self.store.write([one.batch for one in group])
            except StoreError as error:
                told = error
            except Exception as error:  # a fault of ours must not leave everybody waiting for ever
                told = StoreError(f"events could not be kept: {type(error).__name__}: {error}")
                told.__cause__ = error
            self._count(group, told, monotonic() - began)
            if self.wrote is not None and not isinstance(told, StoreError):
                self.wrote()
            self._answer(group, told)

    def _next(self) -> list[_Waiting]:
        """The next group, once there is anything; nothing where the writer is to stop."""
        with self._change:
            while not self._queue and not self._closing:
                self._change.wait()
            group: list[_Waiting] = []
            size = 0
            while self._queue and (not group or size + len(self._queue[0].batch) <= self.group):
                group.append(self._queue.popleft())
                size += len(group[-1].batch)
            return group

    def _count(self, group: list[_Waiting], told: list[Outcome] | StoreError, seconds: float) -> None:
        with self._change:
            self._held -= sum(len(one.batch) for one in group)
        tally = self.tally
        tally.groups += 1
        tally.seconds += seconds
        if isinstance(told, StoreError):
            tally.failed += sum(len(one.batch) for one in group)
            return
        tally.accepted += sum(outcome.accepted for outcome in told)
        tally.repeated += sum(outcome.repeated for outcome in told)
        tally.rejected += sum(len(outcome.rejected) for outcome in told)
        tally.impressions += sum(len(one.batch.impressions) for one in group)

    def _answer(self, group: list[_Waiting], told: list[Outcome] | StoreError) -> None:
        """Every loop is woken once for all of its tasks."""
        waking: dict[asyncio.AbstractEventLoop, list[tuple[Future, Outcome | StoreError]]] = {}
        for place, one in enumerate(group):
            if one.future is not None and one.loop is not None:
                answer = told if isinstance(told, StoreError) else told[place]
                waking.setdefault(one.loop, []).append((one.future, answer))
        for loop, answers in waking.items():
            if not loop.is_closed():
                loop.call_soon_threadsafe(_settle, answers)


def _settle(answers: list[tuple[Future, Outcome | StoreError]]) -> None:
    for future, answer in answers:
        if future.done():  # its task was cancelled: what it gave is kept all the same
            continue
        if isinstance(answer, StoreError):
            future.set_exception(answer)
        else:
            future.set_result(answer)
