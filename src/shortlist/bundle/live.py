"""Operations on a bundle that is in use: its live/ folder, which the manifest does not list.

live/journal    what was added and removed since the bundle was written, bound to it by its digest
live/lock       held by the one process that writes
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from shortlist.bundle.manifest import MANIFEST
from shortlist.bundle.placing import written
from shortlist.bundle.reading import folder_of, inspect, load
from shortlist.errors import BundleCorrupted, BundleError, BundleVersion
from shortlist.pipeline.live import Live, Store, Version, replayed
from shortlist.state.journal import Found, Journal, Record, create, read, sync_folder
from shortlist.state.lock import Lock

_FORMAT = 1
_TRIES = 5
JOURNAL, LOCK = "live/journal", "live/lock"


class Head(msgspec.Struct, frozen=True):
    """What a journal belongs to: the digest of a bundle's manifest."""

    format: int
    bundle: str


def open_live(path: str | Path, *, write: bool = True) -> Live:
    """A bundle's recommender with the operations since it was written, to add and remove items as it answers.

    path: a bundle, or a run that holds one. write: whether operations will be written, by one process at a
    time; others open it with write=False and see them with `Live.refresh`.

    An operation that returned is on disk, also if the process is killed then. One that was being written when
    it was killed is left out (see `Live.dropped`). docs/guides/filters.md tells of its life.

    Raises as `shortlist.load`; BundleError where another process writes, and for the journal of another
    bundle; BundleCorrupted naming the byte where a journal is damaged.
    """
    folder = folder_of(path)
    inspect(folder)  # before anything is made in a folder that is no bundle
    lock = _locked(folder) if write else None
    try:
        return _opened(folder, lock)
    except BaseException:
        if lock is not None:
            lock.release()
        raise


def operations(path: str | Path) -> int:
    """How many operations a bundle's journal holds, without doing them. Raises as `open_live`."""
    folder = folder_of(path)
    found = _journal(folder, str(inspect(folder)["digest"]))
    return 0 if found is None else len(found.records) - 1


def _locked(folder: Path) -> Lock:
    (folder / LOCK).parent.mkdir(exist_ok=True)
    for _ in range(_TRIES):
        lock = Lock.take(folder / LOCK)
        if lock.holds():
            return lock
        lock.release()  # the bundle was replaced just then
    raise BundleError(f"{folder} is being replaced all the time", hint="try again later")


def _opened(folder: Path, lock: Lock | None) -> Live:
    version, found, identity = _read(folder)
    if lock is None:
        reader = _Reader(folder, identity, 0 if found is None else found.end)
        return Live(folder, version, Store(reader.changed))
    if found is None:
        create(folder / JOURNAL, 0, _head(str(inspect(folder)["digest"])))
        found = read(folder / JOURNAL)
    return Live(folder, version, _store(folder, lock, found), dropped=found.torn)


def _read(folder: Path) -> tuple[Version, Found | None, object]:
    """All that there is of a bundle, of one moment."""
    for _ in range(_TRIES):
        identity = _identity(folder)
        digest = str(inspect(folder)["digest"])
        recommender = load(folder)
        try:
            found = _journal(folder, digest)
        except BundleError:
            if _identity(folder) == identity:
                raise
            continue
        if _identity(folder) == identity:
            first = Version(0 if found is None else found.records[0].number, recommender)
            records = [] if found is None else found.records[1:]
            return replayed(first, records, str(folder / JOURNAL)), found, identity
    raise BundleError(f"{folder} is being replaced all the time", hint="try again later")


def _identity(folder: Path) -> object:
    found = (folder / MANIFEST).stat()
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def _head(digest: str) -> bytes:
    return msgspec.json.encode(Head(_FORMAT, digest))


def _journal(folder: Path, digest: str) -> Found | None:
    """The whole journal of this bundle; None where there is none."""
    path = folder / JOURNAL
    if not path.is_file():
        return None
    found = read(path)
    if not found.records:
        raise BundleCorrupted(f"{path} is damaged at byte 0", hint="bring the file back from a copy")
    _require_head(path, found.records[0], digest)
    return found


def _require_head(path: Path, record: Record, digest: str) -> None:
    try:
        head = msgspec.json.decode(record.payload, type=Head)
    except msgspec.MsgspecError as error:
        raise BundleCorrupted(f"{path} is damaged at byte 0: {error}") from error
    if head.format > _FORMAT:
        raise BundleVersion(f"{path} has the format {head.format}", hint="open it with a newer Shortlist")
    if head.bundle != digest:
        raise BundleError(
            f"{path} belongs to another bundle: to {head.bundle[:12]}, and this one is {digest[:12]}",
            hint=f"put the bundle back that it belongs to, or begin anew: move {path.parent} away",
        )


def _store(folder: Path, lock: Lock, found: Found) -> Store:
    """What a writer goes on with."""
    journal = Journal.open(folder / JOURNAL, found)

    def still() -> None:
        if not lock.holds():
            raise BundleError(
                f"{folder} was replaced or closed since it was opened: nothing is written to what is gone",
                hint="open it again",
            )

    def close() -> None:
        journal.close()
        lock.release()

    return Store(lambda _: None, journal, still, partial(_compacted, folder, close), close)


def _compacted(folder: Path, close: Callable[[], None], version: Version) -> tuple[Version, Store]:
    """This version as a bundle with an empty journal, in one step in the place of the one there was: before
    it, the bundle of old has all its operations, and after it the new one has none to do."""
    locks: list[Lock] = []

    def write(fresh: Path) -> None:
        version.recommender.save(fresh)
        (fresh / LOCK).parent.mkdir()
        locks.append(Lock.take(fresh / LOCK))
        create(fresh / JOURNAL, version.number, _head(str(inspect(fresh)["digest"])))
        _sync(fresh)

    try:
        written(folder, write)
        sync_folder(folder.parent)
        close()
        opened = _opened(folder, Lock(folder / LOCK, locks[0].handle))
    except BaseException:
        for lock in locks:
            lock.release()
        raise
    return opened.now, opened.store


def _sync(folder: Path) -> None:
    """See to it that a folder and all in it are on disk."""
    for place, _, names in os.walk(folder):
        for name in names:
            handle = os.open(os.path.join(place, name), os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        sync_folder(Path(place))


@dataclass(eq=False)
class _Reader:
    """Follows what another process writes. end: the byte of the journal behind what was done."""

    folder: Path
    identity: object
    end: int

    def changed(self, version: Version) -> Version | None:
        """See `Store`."""
        if _identity(self.folder) != self.identity:
            return self._anew()
        path = self.folder / JOURNAL
        try:
            size = path.stat().st_size if path.is_file() else 0
            if size == self.end:
                return None
            if self.end == 0 or size < self.end:  # there was none, or the disk failed and it was put back
                return self._anew()
            found = read(path, self.end, version.number + 1)
            later = replayed(version, found.records, str(path))
        except (BundleError, OSError):
            if _identity(self.folder) == self.identity:
                raise
            return self._anew()
        if _identity(self.folder) != self.identity:
            return self._anew()
        self.end = found.end
        return later

    def _anew(self) -> Version:
        version, found, self.identity = _read(self.folder)
        self.end = 0 if found is None else found.end
        return version
