"""Operations on disk, one after the other: a record is there for good once `append` returns.

    file    = head record*
    frame   = mark (4 bytes), number (8), length (4), CRC-32 (4) of number, length and payload; payload
    head    = a frame that holds what the journal belongs to; its number is that of the operation before it
    record  = a frame that holds an operation; numbers go up by one

Numbers are little-endian. A payload is UTF-8, in which the mark cannot occur. A file that ends within a
record was cut off while it was written, before anybody was told that it is there: what is whole before it
counts. A record that is damaged was there once, and is not passed over: whole ones follow it, or all of its
bytes are there and do not have its sum.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from shortlist.errors import BundleCorrupted, BundleError

_MARK = b"\xffSL\xfe"
_FRAME = struct.Struct("<4sQII")
_SUMMED = struct.Struct("<QI")
LONGEST = 1 << 30
"""Bytes of one operation, at most."""


class Record(NamedTuple):
    """An operation and its number."""

    number: int
    payload: bytes


class Found(NamedTuple):
    """What a file holds. records: from a place on; end: behind the last whole one; torn: bytes after that."""

    records: list[Record]
    end: int
    torn: int


def read(path: Path, start: int = 0, number: int | None = None) -> Found:
    """The records from byte `start` on, the first of which must have this number.

    Raises OSError where there is no file, BundleCorrupted naming the byte for what is damaged.
    """
    with path.open("rb") as file:
        file.seek(start)
        data = file.read()
    return read_bytes(data, start, number, str(path))


def read_bytes(data: bytes, start: int, number: int | None, name: str) -> Found:
    """The same of bytes that stand at `start` of the file `name`."""
    records: list[Record] = []
    at = 0
    while at < len(data):
        record = _frame(data, at)
        if record is None:
            if _later(data, at):
                raise BundleCorrupted(
                    f"{name} is damaged at byte {start + at}, with whole records after it",
                    hint="bring the file back from a copy; cut off there, it loses what comes after",
                )
            if not _short(data, at):
                raise BundleCorrupted(
                    f"{name} is damaged at byte {start + at}, in its last record",
                    hint="bring the file back from a copy; cut off there, it loses that operation",
                )
            break
        if number is not None and record.number != number:
            raise BundleCorrupted(
                f"{name}, byte {start + at}: expected operation {number}, found {record.number}",
                hint="bring the file back from a copy",
            )
        records.append(record)
        number = record.number + 1
        at += _FRAME.size + len(record.payload)
    return Found(records, start + at, len(data) - at)


def framed(number: int, payload: bytes) -> bytes:
    """A frame as it stands in the file."""
    return _FRAME.pack(_MARK, number, len(payload), _sum(number, payload)) + payload


def _sum(number: int, payload: bytes) -> int:
    return crc32(payload, crc32(_SUMMED.pack(number, len(payload))))


def _frame(data: bytes, at: int) -> Record | None:
    """The frame that begins there; None where none does, or not all of it is there."""
    if len(data) - at < _FRAME.size:
        return None
    mark, number, length, total = _FRAME.unpack_from(data, at)
    payload = data[at + _FRAME.size : at + _FRAME.size + length]
    if mark != _MARK or len(payload) != length or _sum(number, payload) != total:
        return None
    return Record(number, payload)


def _short(data: bytes, at: int) -> bool:
    """Whether what is there, up to the end, may be the beginning of a frame, and no frame that was whole.

    Nothing but zeros is what some file systems leave of a write that the power was cut in.
    """
    rest = data[at:]
    if not rest.strip(b"\0"):
        return True
    if not rest.startswith(_MARK[: len(rest)]):
        return False
    if len(rest) < _FRAME.size:
        return True
    _, number, length, total = _FRAME.unpack_from(rest)
    payload = rest[_FRAME.size :]
    return bool(
        length > len(payload) and _sum(number, payload) != total
    )  # of that sum, its length is damaged


def _later(data: bytes, at: int) -> bool:
    """Whether a whole frame begins after a place."""
    while (at := data.find(_MARK, at + 1)) >= 0:
        if _frame(data, at) is not None:
            return True
    return False


def create(path: Path, number: int, about: bytes) -> None:
    """Write a journal without operations that goes on after this number, whole or not at all."""
    fresh = path.with_name(f".{path.name}.new")
    try:
        with fresh.open("wb") as file:
            file.write(framed(number, about))
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except BaseException as error:
        fresh.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """See to it that names in a folder are on disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@dataclass(eq=False)
class Journal:
    """A journal open for writing. number: of the last record; end: where the next one goes."""

    path: Path
    number: int
    end: int
    handle: int
    broken: str = ""

    @classmethod
    def open(cls, path: Path, found: Found) -> Journal:
        """To go on after what was read; a record that was cut off is taken away."""
        handle = os.open(path, os.O_RDWR)
        if found.torn:
            os.ftruncate(handle, found.end)
            os.fsync(handle)
        return cls(path, found.records[-1].number, found.end, handle)

    def append(self, payload: bytes) -> int:
        """Write an operation and see to it that it is on disk; its number.

        Raises OSError where it could not be written: it is not there then. BundleError where, after such an
        error, the file could not be put back either: open it again.
        """
        if self.broken:
            raise BundleError(f"{self.path} cannot be written: {self.broken}", hint="open it again")
        if len(payload) > LONGEST:
            raise BundleError(f"an operation of {len(payload):,} bytes, at most {LONGEST:,}", hint="split it")
        frame, at = framed(self.number + 1, payload), self.end
        try:
            view = memoryview(frame)
            while view:
                written = os.pwrite(self.handle, view, at)
                at, view = at + written, view[written:]
            os.fsync(self.handle)
        except BaseException as error:
            self._put_back(error)
            if isinstance(error, OSError):  # the system does not say of which file it speaks
                error.filename = str(self.path)
            raise
        self.number, self.end = self.number + 1, at
        return self.number

    def _put_back(self, error: BaseException) -> None:
        try:
            os.ftruncate(self.handle, self.end)
            os.fsync(self.handle)
        except OSError:
            self.broken = str(error)

    def close(self) -> None:
        """Give the file back."""
        if self.handle >= 0:
            os.close(self.handle)
            self.handle = -1
            self.broken = "it was closed"
