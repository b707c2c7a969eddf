"""What another process does for a large run: it loads the bundle and answers blocks of users.

See `pipeline.processes`, which starts it.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from threading import Thread
from typing import IO, Any, NoReturn

import msgspec

from shortlist.bundle.live import open_live
from shortlist.bundle.reading import load
from shortlist.errors import ShortlistError
from shortlist.pipeline.blas import one_thread
from shortlist.pipeline.frames import ASKED, Done, Failed, Hello, Ready, Task, framed, read
from shortlist.pipeline.identity import fingerprint
from shortlist.pipeline.recommender import Recommender


def main() -> NoReturn:
    """Answer what standard input asks on standard output, until that ends."""
    asked: SimpleQueue[Any] = SimpleQueue()
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever is printed is no answer
    Thread(target=_hear, args=(requests, asked.put), daemon=True).start()
    try:
        with one_thread():
            _answer_all(asked, replies)
    except BrokenPipeError:
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)  # at once, though the other thread waits for the pipe


def _answer_all(asked: SimpleQueue[Any], replies: IO[bytes]) -> NoReturn:
    hello: Hello = asked.get()
    recommender, said = None, None
    try:
        there = (made for made in _opened(hello.folder) if fingerprint(made) == hello.fingerprint)
        recommender = next((made.forgetful() for made in there), None)
    except ShortlistError as error:
        said = Failed.of(error)
    _reply(replies, said or Ready(recommender is not None))
    while True:  # the pipe's end is the end
        task = asked.get()
        if recommender is not None:
            _reply(replies, _answer(recommender, hello, task))


def _opened(folder: str) -> Iterator[Recommender]:
    """With the items that came and went since it was written, as the command line opens it, and without."""
    yield open_live(folder, write=False).recommender
    yield load(folder)


def _reply(pipe: IO[bytes], said: msgspec.Struct) -> None:
    pipe.write(framed(said))
    pipe.flush()


def _answer(recommender: Recommender, hello: Hello, task: Task) -> Done | Failed:
    try:
        return Done(*task.block(recommender, hello.question, hello.ending))
    except ShortlistError as error:
        return Failed.of(error)


def _hear(pipe: IO[bytes], put: Callable[[Any], None]) -> None:
    """Take frames until the pipe ends, with which this process ends, also in the midst of a block."""
    try:
        while True:
            put(read(pipe, ASKED))
    except EOFError:
        os._exit(0)
