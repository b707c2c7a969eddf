"""Several processes over one socket: one that ends though nobody told it to is begun again, and none of them
outlives the process that began them."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from shortlist.errors import ShortlistError
from shortlist.server.logs import LOG, log_fault

_HEARD = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_SETTLED = 10.0  # seconds after which a process is taken to have begun well
_LONGEST = 30.0  # seconds at most before another attempt


@dataclass(frozen=True)
class _Worker:
    """number: its row of counts; attempt: how many before it ended early, one after the other."""

    number: int
    attempt: int
    since: float


def supervise(
    num: int,
    work: Callable[[int, int], int],
    listening: socket.socket,
    ended: Callable[[int], None] = lambda number: None,
) -> int:
    """Run `work(number, pipe)` in processes of their own until told to stop; the exit code. The pipe ends
    when this process does. Signals are waited for one by one, so that none comes between two steps. A worker
    has SIGHUP blocked until it is ready for it, so that none is lost. ended: called with the number of a
    worker that ended.

    1: one of the first could not begin, and the others were stopped.
    """
    signal.signal(signal.SIGCHLD, lambda sig, frame: None)  # whose default is not to be heard of
    signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
    pipe = os.pipe()
    workers: dict[int, _Worker] = {}

    def start(number: int, attempt: int) -> None:
        process = _fork(number, attempt, work, pipe)
        workers[process] = _Worker(number, attempt, time.monotonic())

    def stop() -> None:
        listening.close()  # whose last copy closes with the last worker's
        for process in workers:
            os.kill(process, signal.SIGTERM)

    for number in range(num):
        start(number, 0)
    stopping, code = False, 0
    while workers:
        heard = signal.sigwait(_HEARD)
        if heard == signal.SIGHUP:
            for process in workers:
                os.kill(process, heard)
        elif heard != signal.SIGCHLD:
            stopping = True
            stop()
        for process, status in _ended():
            worker = workers.pop(process)
            ended(worker.number)
            if stopping:
                continue
            LOG.warning(json.dumps({"event": "worker ended", "process": process, "code": status}))
            if status == 1 and not worker.attempt:
                stopping, code = True, 1  # it could not begin: another would fare the same
                stop()
            else:
                early = time.monotonic() - worker.since < _SETTLED
                start(worker.number, worker.attempt + 1 if early else 1)
    return code


def _ended() -> list[tuple[int, int]]:
    """Processes that ended, and how: their exit codes, negative for a signal."""
    found: list[tuple[int, int]] = []
    while True:
        try:
            process, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if not process:
            return found
        found.append((process, os.waitstatus_to_exitcode(status)))


def _fork(number: int, attempt: int, work: Callable[[int, int], int], pipe: tuple[int, int]) -> int:
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        os.close(pipe[1])
        for sig in _HEARD:
            signal.signal(sig, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGHUP})
        if attempt > 1:
            time.sleep(min(_LONGEST, 0.25 * 2**attempt))
        code = work(number, pipe[0])
    except ShortlistError as error:
        LOG.error(json.dumps({"event": "not begun", "detail": str(error), "hint": error.hint}))
    except BaseException as error:
        log_fault("a worker failed", error)
        code = 2
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
