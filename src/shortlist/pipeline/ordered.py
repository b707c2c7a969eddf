"""Work on many tasks at a time, what becomes of them in the tasks' order; little of it is begun ahead."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from shortlist.pipeline.blas import one_thread

S = TypeVar("S")
T = TypeVar("T")
_MOST = 8


def in_order(work: Callable[[S], T], tasks: Iterable[S], threads: int = 0) -> Generator[T, None, None]:
    """The work on each task, in their order; a task more than there are threads (0: as many as processors) is
    begun ahead. NumPy's products keep to one thread each meanwhile."""
    threads = threads or processors()
    if threads == 1:
        with one_thread():
            yield from map(work, tasks)
        return
    with one_thread(), ThreadPoolExecutor(threads, "bulk") as pool:
        try:
            yield from begun_ahead(lambda task: pool.submit(work, task), tasks, threads)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def begun_ahead(submit: Callable[[S], Future[T]], tasks: Iterable[S], ahead: int) -> Generator[T, None, None]:
    """What becomes of each task, in their order; so many are submitted ahead of the one waited for."""
    waiting: deque[Future[T]] = deque()
    for task in tasks:
        waiting.append(submit(task))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def processors() -> int:
    """As many as this process may use, 8 at most."""
    may = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(_MOST, may or 1)
