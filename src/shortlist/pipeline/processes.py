"""Blocks of a large table answered by several processes: this one, and others that load the same bundle.

The interpreter lets one thread of a process run Python at a time; processes of one thread each share nothing
but the pages of mapped files. Another process is a new interpreter, told by its standard input where the
bundle is and what is asked of all users, then whose block is next; it answers with the blocks' bytes
(`bundle.answering`). It ends when the pipe ends, whatever became of who asked.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock, Thread
from typing import Any

from shortlist.errors import RequestError, ShortlistError
from shortlist.pipeline.blas import one_thread
from shortlist.pipeline.everybody import Question
from shortlist.pipeline.frames import ANSWERED, Done, Hello, Ready, Task, framed, read
from shortlist.pipeline.onnx_graphs import Graphs
from shortlist.pipeline.ordered import begun_ahead
from shortlist.pipeline.recommender import Recommender
from shortlist.pipeline.resumable import Block

_CHILD = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1])\n"
    "from shortlist.bundle.answering import main; main()"
)
"""Opening a bundle is above this part, so the other process is told by name where to begin."""
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_ALONE = "or ask for one process (processes=1, --processes 1)"
_AHEAD = 2  # blocks given to each process: the next is there when one is answered


class Changed(RequestError):
    """A recommender is not the one in the folder it was loaded from."""

    @classmethod
    def of(cls, recommender: Recommender) -> Changed:
        return cls(
            f"{folder_of(recommender)} does not hold this recommender: one of the two was changed since",
            hint=f"load it again, or save this one and load that, {_ALONE}",
        )


def folder_of(recommender: Recommender) -> Path | None:
    """The bundle a recommender was loaded from; None of one that was not."""
    for scorer in (recommender.retriever, recommender.ranker):
        stored = getattr(scorer, "stored", None)
        if isinstance(stored, Graphs):
            return stored.folder.parent
    return None


@dataclass(frozen=True, eq=False)
class Team:
    """This process and others, which answer the same question for blocks of users."""

    here: _Here
    others: list[_Other]

    @classmethod
    def start(
        cls,
        count: int,
        recommender: Recommender,
        identity: str,
        question: Question,
        ending: str,
        user: str,
    ) -> Team:
        """`count` processes, this one among them; the others begin to load the bundle.

        identity: the recommender's `fingerprint`; user: one of those that will be asked about.

        Raises RequestError where the recommender was not loaded from a folder, and as `Recommender.recommend`
        does; ShortlistError where no process can be started.
        """
        folder = folder_of(recommender)
        if folder is None:
            raise RequestError(
                "several processes each load the recommender, but this one was not loaded from a folder",
                hint=f"save it and load it, {_ALONE}",
            )
        plain = question.plain(recommender, user)
        try:
            hello = framed(Hello(str(folder), identity, plain, ending))
        except UnicodeEncodeError as error:
            raise RequestError(f"{error.object!r} is no text", hint=_ALONE.removeprefix("or ")) from None
        made = cls(_Here(recommender, question, ending), [])
        try:
            for _ in range(count - 1):
                made.others.append(_Other.start(hello))
        except BaseException:
            made.close()
            raise
        return made

    def answers(self, tasks: Iterable[Task]) -> Generator[Block, None, None]:
        """The blocks of the tasks, in order, once all have loaded the bundle; this process begins before.

        Raises as `Recommender.recommend` does, what loading raised, and ShortlistError where a process ended
        that should not have; before the first block Changed where another recommender was loaded.
        """
        members: list[_Here | _Other] = [self.here, *self.others]

        def submit(task: Task) -> Future[Block]:
            return min(members, key=lambda member: len(member.waiting)).submit(task)

        with one_thread():
            for block in begun_ahead(submit, tasks, _AHEAD * len(members)):
                if not all(other.ready.result() for other in self.others):
                    raise Changed.of(self.here.recommender)
                yield block
        self.close()  # they are not needed while the table is made

    def close(self) -> None:
        """End the other processes, whatever they are doing."""
        self.here.close()
        for other in self.others:
            other.close()


@dataclass(eq=False)
class _Here:
    """A thread of this process that answers blocks."""

    recommender: Recommender
    question: Question
    ending: str
    waiting: set[Future[Block]] = field(default_factory=set)
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "bulk"))

    def submit(self, task: Task) -> Future[Block]:
        found = self._thread.submit(task.block, self.recommender, self.question, self.ending)
        self.waiting.add(found)
        found.add_done_callback(self.waiting.discard)
        return found

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)


@dataclass(eq=False)
class _Other:
    """Another process that answers blocks. waiting: what it was asked and has not answered yet."""

    process: subprocess.Popen[bytes]
    ready: Future[bool] = field(default_factory=Future)
    waiting: deque[Future[Block]] = field(default_factory=deque)
    _gone: ShortlistError | None = None
    _lock: Lock = field(default_factory=Lock)
    _listener: Thread | None = None

    @classmethod
    def start(cls, hello: bytes) -> _Other:
        command = [sys.executable, "-c", _CHILD, json.dumps(list(map(str, sys.path)))]
        # a group of its own: Ctrl-C is for this process, which ends the others
        own: dict[str, Any] = {"creationflags": 0x200} if os.name == "nt" else {"process_group": 0}
        environment = {**os.environ, **_ONE_THREAD}
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, **own
            )
        except OSError as error:
            raise ShortlistError(
                f"no other process can be started: {error.strerror or error}", hint=_ALONE.removeprefix("or ")
            ) from error
        made = cls(process)
        made._listener = Thread(target=made._listen, name="bulk answers", daemon=True)
        made._listener.start()
        made._tell(hello)
        return made

    def submit(self, task: Task) -> Future[Block]:
        found: Future[Block] = Future()
        with self._lock:
            if self._gone is not None:
                found.set_exception(self._gone)
                return found
            self.waiting.append(found)
        self._tell(framed(task))
        return found

    def _tell(self, frame: bytes) -> None:
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # the listener says that it is gone
            self.process.stdin.write(frame)
            self.process.stdin.flush()

    def _listen(self) -> None:
        try:
            self._take()
        except EOFError:
            pass
        except Exception:  # nobody else would end who cannot be understood
            self.process.kill()
        gone = _ended(self.process.wait())
        with self._lock:
            self._gone = gone
        if not self.ready.done():
            self.ready.set_exception(gone)
        while self.waiting:
            self.waiting.popleft().set_exception(gone)

    def _take(self) -> None:
        assert self.process.stdout is not None
        while True:
            answer = read(self.process.stdout, ANSWERED)
            if isinstance(answer, Done):
                self.waiting.popleft().set_result(Block(answer.answers, answer.rows, answer.data))
            elif isinstance(answer, Ready):
                self.ready.set_result(answer.same)
            elif self.ready.done():
                self.waiting.popleft().set_exception(answer.error())
            else:
                self.ready.set_exception(answer.error())

    def close(self) -> None:
        self.process.kill()
        if self._listener is not None:
            self._listener.join()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with suppress(OSError):
                pipe.close()


def _ended(code: int) -> ShortlistError:
    """What to say of a process that ended with blocks to answer."""
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return ShortlistError(
            f"a process that answered blocks was killed ({name})",
            hint="run the same again to go on with what is written whole; with fewer processes (--processes)"
            " if memory ran out",
        )
    return ShortlistError(
        f"a process that answered blocks ended with exit code {code}",
        hint=f"what it said stands above; run the same again to go on with what is written whole, {_ALONE}",
    )
