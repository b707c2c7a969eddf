"""A large table written block by block, that a killed run goes on with.

Beside `out.parquet` a run keeps

    .out.parquet.partial      the blocks so far
    .out.parquet.journal      what was asked for, then a line a whole block: how many answers and rows, where
                              the block ends, and a checksum of all of that and of the block
    .out.parquet.made         the table that is made of the blocks at the end, for Parquet alone

A block counts once its line stands in the journal, while neither has changed; what follows the last such
block is cut off. When all is
written the partial file, or what is made of it, takes the name asked for, so that nothing half-written is
ever seen under it. The same blocks give the same bytes, however often the run was interrupted.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec

from shortlist.data.blocks import Columns, encode, num_rows, require_ending, write_parquet
from shortlist.errors import DataError


class Block(NamedTuple):
    """How many answers and rows a block holds, and its bytes in the table's format; the first block's are
    those that begin a file."""

    answers: int
    rows: int
    data: bytes


Blocks = Callable[[int], Iterable[Block | tuple[int, Columns]]]
"""From how many answers are there already -> blocks in order, or how many answers each holds, its columns."""
Tell = Callable[[int, int], None]
"""Told how many of how many answers are written."""


class _Line(msgspec.Struct, frozen=True):
    """A whole block: how many answers and rows there are with it, where it ends, the CRC-32 of that and of
    its bytes, which goes on from that of the line before."""

    answers: int
    rows: int
    end: int
    crc: int

    @classmethod
    def of(cls, last: _Line, answers: int, rows: int, block: bytes) -> _Line:
        """The line of a block with so many answers and rows more."""
        answers, rows, end = last.answers + answers, last.rows + rows, last.end + len(block)
        said = zlib.crc32(f"{answers} {rows} {end}".encode(), last.crc)
        return cls(answers, rows, end, zlib.crc32(block, said))


def _nothing(head: bytes) -> _Line:
    """What stands before the first block of a journal."""
    return _Line(0, 0, 0, zlib.crc32(head))


class Written(NamedTuple):
    """The file's answers, rows and bytes; resumed: how many of the answers an earlier run had written."""

    answers: int
    rows: int
    bytes: int
    resumed: int


class _Whole(msgspec.Struct, frozen=True):
    """The end of a journal: all is written. crc: of the journal before it and of what it says."""

    whole: Written
    crc: int

    @classmethod
    def of(cls, done: Written, before: bytes) -> _Whole:
        return cls(done, zlib.crc32(repr(tuple(done)).encode(), zlib.crc32(before)))


@dataclass(frozen=True)
class Target:
    """Where a table goes and what it answers. question: plain values that must be the same for a run to go on
    with what another has begun; total: how many answers make the table whole."""

    path: Path
    question: Mapping[str, Any]
    total: int

    @property
    def partial(self) -> Path:
        return self.path.with_name(f".{self.path.name}.partial")

    @property
    def journal(self) -> Path:
        return self.path.with_name(f".{self.path.name}.journal")

    @property
    def made(self) -> Path:
        """What takes the name when it is whole."""
        parquet = self.path.suffix.lower() == ".parquet"
        return self.path.with_name(f".{self.path.name}.made") if parquet else self.partial


def write(target: Target, blocks: Blocks, *, force: bool = False, tell: Tell = lambda *_: None) -> Written:
    """Write all blocks that an earlier run has not written, then give the file its name.

    force: replace the file there is, and what an interrupted run that was asked something else has left.
    Raises DataError where the file is there already, an interrupted run was asked something else, another
    run is writing it, or it cannot be written.
    """
    try:
        if (done := _finished(target)) is not None:
            return done
        _require_free(target.path, force=force)
        with _locked(target, force=force) as file:
            return _write(target, file, blocks, force, tell)
    except OSError as error:
        raise _said(target, error) from error


def _write(target: Target, file: BinaryIO, blocks: Blocks, force: bool, tell: Tell) -> Written:
    ending = require_ending(target.path)
    head, lines = _begun(target, file, force=force)
    last = lines[-1] if lines else _nothing(head)
    resumed = last.answers
    with target.journal.open("ab") as journal:
        tell(resumed, target.total)
        for found in blocks(resumed) if resumed < target.total or not lines else ():
            block = found if isinstance(found, Block) else _encoded(ending, *found, first=not lines)
            _append(file, block.data)
            last = _Line.of(last, *block)
            lines.append(last)
            _append(journal, msgspec.json.encode(last) + b"\n")
            tell(last.answers, target.total)
        if target.made == target.partial:
            os.fsync(file.fileno())
        else:
            write_parquet(target.partial, [line.end for line in lines], target.made)
        done = Written(target.total, last.rows, target.made.stat().st_size, resumed)
        _append(journal, msgspec.json.encode(_Whole.of(done, target.journal.read_bytes())) + b"\n")
    if os.name == "nt":
        file.close()
    os.replace(target.made, target.path)
    _clear(target)
    return done


def _encoded(ending: str, answers: int, columns: Columns, *, first: bool) -> Block:
    return Block(answers, num_rows(columns), encode(ending, columns, first=first))


def _clear(target: Target) -> None:
    """Remove what a run keeps; the journal goes last, since it says that the rest is not needed any more."""
    for path in (target.made, target.partial, _fresh(target.journal), target.journal):
        path.unlink(missing_ok=True)


# What an earlier run has left


def _require_free(path: Path, *, force: bool) -> None:
    if path.is_dir():
        raise DataError(f"{path} is a folder, not a file to write", hint="name a file, for instance in it")
    if path.exists() and not force:
        raise DataError(f"{path} exists already", hint="give another --output, or replace it with --force")


@contextmanager
def _locked(target: Target, *, force: bool) -> Iterator[BinaryIO]:
    """The partial file, which no other run writes until the block ends."""
    with open(os.open(target.partial, os.O_RDWR | os.O_CREAT, 0o644), "r+b") as file:
        _lock(target, file)
        try:
            _require_free(target.path, force=force)
            yield file
        finally:  # a run that ends before its first block, by a wrong question say, leaves nothing
            if not file.closed and not os.fstat(file.fileno()).st_size and target.partial.exists():
                _clear(target)


def _lock(target: Target, file: BinaryIO) -> None:
    try:
        from fcntl import LOCK_EX, LOCK_NB, flock
    except ImportError:  # Windows lets nobody rename a file that another has open
        return
    busy = DataError(f"another run is writing {target.path}", hint="wait for it, or give another --output")
    try:
        flock(file, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        raise busy from None
    if not target.partial.exists() or not os.path.samestat(os.fstat(file.fileno()), target.partial.stat()):
        raise busy  # it ended in this moment, and this file is its result


def _begun(target: Target, file: BinaryIO, *, force: bool) -> tuple[bytes, list[_Line]]:
    """The head of the journal and the whole blocks of an interrupted run, all else cut off; else a journal
    that has just been begun."""
    if not target.journal.exists():
        if file.seek(0, os.SEEK_END) and not force:
            raise DataError(
                f"{target.partial} is there, but not the journal beside it",
                hint="remove it, or start anew with --force",
            )
        return _begin(target, file)
    head, *told = target.journal.read_bytes().split(b"\n")[:-1] or [b""]
    differing = _differing(_decoded(head), target.question)
    lines = _whole(head, told, file, target.total)
    if differing and os.fstat(file.fileno()).st_size and not force:
        raise DataError(
            f"{target.journal} is of an interrupted run that was asked something else: {differing}",
            hint="ask the same to go on with it, or start anew with --force, or give another --output",
        )
    if differing or not lines:
        return _begin(target, file)
    file.truncate(lines[-1].end)
    file.seek(lines[-1].end)
    kept = [head, *(msgspec.json.encode(line) for line in lines)]
    _replace(target.journal, b"\n".join(kept) + b"\n")
    return head, lines


def _begin(target: Target, file: BinaryIO) -> tuple[bytes, list[_Line]]:
    file.truncate(0)
    file.seek(0)
    head = json.dumps({"question": dict(target.question)}).encode()
    _replace(target.journal, head + b"\n")
    return head, []


def _whole(head: bytes, told: Iterable[bytes], file: BinaryIO, total: int) -> list[_Line]:
    """The lines that stand as they were written, their blocks too, up to the first that does not."""
    lines: list[_Line] = []
    last, size = _nothing(head), file.seek(0, os.SEEK_END)
    file.seek(0)
    for text in told:
        try:
            line = msgspec.json.decode(text, type=_Line)
        except msgspec.MsgspecError:
            break
        if not (last.answers <= line.answers <= total and last.end <= line.end <= size):
            break
        block = file.read(line.end - last.end)
        if line != _Line.of(last, line.answers - last.answers, line.rows - last.rows, block):
            break
        lines.append(line)
        last = line
    return lines


def _finished(target: Target) -> Written | None:
    """What a run has written that was killed when all was done but for removing its journal."""
    if target.made.exists() or not (target.journal.exists() and target.path.is_file()):
        return None
    head, *told = target.journal.read_bytes().split(b"\n")[:-1] or [b""]
    if not told or _differing(_decoded(head), target.question):
        return None
    try:
        found = msgspec.json.decode(told[-1], type=_Whole)
    except msgspec.MsgspecError:
        return None
    done = found.whole
    before = b"".join(line + b"\n" for line in (head, *told[:-1]))
    if found != _Whole.of(done, before) or done.bytes != target.path.stat().st_size:
        return None
    _clear(target)
    return done._replace(resumed=done.answers)


def _decoded(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _differing(asked: Mapping[str, Any], question: Mapping[str, Any]) -> str:
    """What the interrupted run was asked otherwise, for a person; "" where nothing is."""
    before = asked.get("question")
    if not isinstance(before, dict):
        return "its journal cannot be read"
    now = json.loads(json.dumps(dict(question)))
    said = [{name: json.dumps(value) for name, value in of.items()} for of in (before, now)]  # NaN is NaN
    names = [name for name in (*now, *before) if said[0].get(name) != said[1].get(name)]
    return ", ".join(
        f"{name} was {before.get(name)!r} and is {now.get(name)!r} now" for name in dict.fromkeys(names)
    )


# Onto the disk


def _append(file: BinaryIO, data: bytes) -> None:
    """Given to the system, so that a kill loses nothing of it; of a power cut the checksums tell."""
    file.write(data)
    file.flush()


def _replace(path: Path, data: bytes) -> None:
    """Write a file whole; only the run that holds the lock does, so the name beside it may be fixed."""
    fresh = _fresh(path)
    with fresh.open("wb") as file:
        _append(file, data)
        os.fsync(file.fileno())
    os.replace(fresh, path)


def _fresh(path: Path) -> Path:
    return path.with_name(f"{path.name}.new")


def _said(target: Target, error: OSError) -> DataError:
    import errno

    hints = {
        errno.ENOSPC: "make room on the disk and run the same again: it goes on from its last whole block",
        errno.EFBIG: "the system allows no file of this size here",
        errno.ENOENT: "make the folder first",
        errno.EACCES: "may you write there?",
        errno.EROFS: "may you write there?",
    }
    hint = hints.get(error.errno or 0, "run the same again to go on from its last whole block")
    return DataError(f"cannot write {target.path}: {error.strerror or error}", hint=hint)
