"""What the processes of a server agree on: which bundle answers each side, and what a rollback returns to.

There is one record a side in memory that the processes share. Exchanges are numbered and made one at a time:
only who has the turn writes; the others follow the last record, whatever came before it.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import shutil
import tempfile
from collections.abc import Sequence

import msgspec

_ROOM = 1 << 15  # bytes of a record, which holds two paths at most
_NUMBER, _BEGUN = 0, 1  # cells of a side, before those of its workers


class Agreed(msgspec.Struct, frozen=True):
    """Of a side. version, folder: what answers, and where that can be read; before, before_folder: what a
    rollback returns to ("": nothing); seen: the signature of what was on disk when this was decided; copy: a
    folder with what answers, where its own place holds something else by now."""

    version: str
    folder: str
    before: str = ""
    before_folder: str = ""
    seen: tuple[tuple[int, ...] | None, ...] = ()
    copy: str = ""


class Agreement:
    """The records of all sides. Made before processes part; `worker` is the row of this one."""

    def __init__(self, sides: Sequence[str], workers: int) -> None:
        self.worker, self.workers = 0, workers
        self._width = 2 + workers
        self._side = {name: n for n, name in enumerate(sides)}
        cells = (len(sides) * self._width + workers) * 8
        self._text = mmap.mmap(-1, max(1, len(sides) * 2 * _ROOM))
        self._memory = mmap.mmap(-1, max(1, cells))
        self._cells = memoryview(self._memory)[:cells].cast("q")
        self._serving = len(sides) * self._width
        self._turn = _nameless()  # locked by a process, let go of when it ends

    # Whose turn it is

    def take(self) -> bool:
        """Whether this process may make an exchange now; it has to `leave` then."""
        try:
            fcntl.lockf(self._turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def leave(self) -> None:
        """Let others have the turn."""
        fcntl.lockf(self._turn, fcntl.LOCK_UN)

    # What was agreed

    def number(self, side: str) -> int:
        """Of the last exchange; 0 where nothing was agreed yet."""
        return int(self._cells[self._at(side) + _NUMBER])

    def read(self, side: str) -> tuple[int, Agreed | None]:
        """The number of the last exchange and what it led to."""
        while True:
            number = self.number(side)
            if not number:
                return 0, None
            at = (2 * self._side[side] + number % 2) * _ROOM
            size = int.from_bytes(self._text[at : at + 4], "little")
            text = self._text[at + 4 : at + 4 + size]
            if self.number(side) == number:  # else it may have been written over
                return number, msgspec.json.decode(text, type=Agreed)

    def write(self, side: str, agreed: Agreed) -> int:
        """Agree on something, in this process's turn; its number, which stays where it is nothing new."""
        number, last = self.read(side)
        if agreed != last:
            number += 1
            text = msgspec.json.encode(agreed)
            at = (2 * self._side[side] + number % 2) * _ROOM
            self._text[at : at + 4 + len(text)] = len(text).to_bytes(4, "little") + text
            self._cells[self._at(side) + _NUMBER] = number
        self.follow(side, number)
        return number

    def begun(self, side: str) -> int:
        """When the last reload that was done began, in ns of the monotonic clock, which processes share."""
        return int(self._cells[self._at(side) + _BEGUN])

    def begin(self, side: str, when: int) -> None:
        """Say when a reload that is done now began."""
        self._cells[self._at(side) + _BEGUN] = when

    # Who follows

    def serve(self, worker: int, on: bool) -> None:
        """Whether a worker is to be waited for; it has followed nothing yet when it begins."""
        for side in self._side:
            self._cells[self._at(side) + 2 + worker] = 0
        self._cells[self._serving + worker] = on

    def follow(self, side: str, number: int) -> None:
        """Say that this process has what was agreed (number), or cannot have it (-number)."""
        self._cells[self._at(side) + 2 + self.worker] = number

    def behind(self, side: str) -> bool:
        """Whether this process has not looked yet at what was agreed last."""
        number = self.number(side)
        return self._cells[self._at(side) + 2 + self.worker] not in (number, -number)

    def late(self, side: str, *, trying: bool) -> list[int]:
        """Workers that have not what was agreed; trying: without those that said that they cannot."""
        number, at = self.number(side), self._at(side) + 2
        fine = (number, -number) if trying else (number,)
        return [
            worker
            for worker in range(self.workers)
            if self._cells[self._serving + worker] and self._cells[at + worker] not in fine
        ]

    def _at(self, side: str) -> int:
        return self._side[side] * self._width

    def forget(self) -> None:
        """Remove what was kept for workers to come."""
        for side in self._side:
            _, agreed = self.read(side)
            if agreed is not None and agreed.copy:
                shutil.rmtree(agreed.copy, ignore_errors=True)


def _nameless() -> int:
    """An empty file without a name, in memory where the system can (no folder may be writable)."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("turn")
    with tempfile.TemporaryFile() as made:
        return os.dup(made.fileno())
