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

from shortlist.bundle.journals import JOURNAL, LOCK, head_of, journal_of, misplaced
from shortlist.bundle.manifest import read as read_manifest
from shortlist.bundle.moments import identity, of_one_moment
from shortlist.bundle.placing import Refused, written
from shortlist.bundle.reading import folder_of, inspect, load
from shortlist.errors import BundleError, ShortlistError
from shortlist.pipeline.live import Live, Store, Version, added_ids, replayed
from shortlist.pipeline.recommender import Recommender
from shortlist.state.journal import Found, Journal, create, read, sync_folder
from shortlist.state.lock import Lock

_TRIES = 5


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
    if write:
        _digest(folder)  # before anything is made in a folder that is no bundle
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
    found = of_one_moment(folder, lambda: journal_of(folder, _digest(folder)))
    return 0 if found is None else len(found.records) - 1


def changed_items(path: str | Path) -> set[str]:
    """The ids of items that a bundle's journal adds or updates, of those removed since too. Raises as
    `open_live`."""
    folder = folder_of(path)
    found = of_one_moment(folder, lambda: journal_of(folder, _digest(folder)))
    return set() if found is None else added_ids(found.records[1:])


def _locked(folder: Path) -> Lock:
    for _ in range(_TRIES):
        try:
            (folder / LOCK).parent.mkdir(exist_ok=True)
            lock = Lock.take(folder / LOCK)
        except FileNotFoundError:  # replaced between the two
            continue
        except (FileExistsError, IsADirectoryError) as error:
            raise misplaced(Path(error.filename)) from error
        if lock.holds():
            return lock
        lock.release()  # the bundle was replaced just then
    raise BundleError(f"{folder} is being replaced all the time", hint="try again later")


def _opened(folder: Path, lock: Lock | None) -> Live:
    version, found, which = _read(folder)
    if lock is None:
        reader = _Reader(folder, which, 0 if found is None else found.end)
        return Live(folder, version, Store(reader.changed))
    if not lock.holds():
        raise BundleError(f"{folder} was replaced while it was opened", hint="open it again")
    if found is None:
        create(folder / JOURNAL, 0, head_of(_digest(folder)))
        found = read(folder / JOURNAL)
    return Live(folder, version, _store(folder, lock, found), dropped=found.torn)


def _digest(folder: Path) -> str:
    return of_one_moment(folder, lambda: str(inspect(folder)["digest"]))


def _read(folder: Path) -> tuple[Version, Found | None, object]:
    """All that there is of a bundle, of one moment."""

    def act() -> tuple[Recommender, Found | None, object]:
        digest = read_manifest(folder).digest  # `load` compares the files with it
        return load(folder), journal_of(folder, digest), identity(folder)

    recommender, found, which = of_one_moment(folder, act)
    first = Version(0 if found is None else found.records[0].number, recommender)
    records = [] if found is None else found.records[1:]
    return replayed(first, records, str(folder / JOURNAL)), found, which


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
        _require_opens(fresh, folder)
        (fresh / LOCK).parent.mkdir()
        locks.append(Lock.take(fresh / LOCK))
        create(fresh / JOURNAL, version.number, head_of(str(inspect(fresh)["digest"])))
        _sync(fresh)

    try:
        written(folder, write)
        sync_folder(folder.parent)
        close()
        opened = _opened(folder, Lock(folder / LOCK, locks[0].handle))
    except BaseException as error:
        for lock in locks:
            lock.release()
        refused = error.error if isinstance(error, Refused) else error
        if isinstance(refused, OSError):
            raise BundleError(
                f"{folder} cannot be written anew: {refused.strerror or refused}",
                hint="all operations are kept; make room on the disk, if that is why, and open it again",
            ) from refused
        raise
    return opened.now, opened.store


def _require_opens(fresh: Path, folder: Path) -> None:
    """BundleError where what was written to take the place of a bundle cannot be opened."""
    try:
        load(fresh)
    except ShortlistError as error:
        raise BundleError(
            f"what was written cannot be opened, and {folder} stays as it was: {error}",
            hint="its operations are kept, in its journal",
        ) from error


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
    which: object
    end: int

    def changed(self, version: Version) -> Version | None:
        """See `Store`."""
        if identity(self.folder) != self.which:
            return self._anew()
        path = self.folder / JOURNAL
        try:
            size = path.stat().st_size if path.is_file() else 0
            if size == self.end:
                return None
            if size < self.end:  # the disk failed, and it was put back
                return self._anew()
            found = read(path, self.end, version.number + 1) if self.end else self._first(version)
            if found is None:
                return self._anew()
            later = replayed(version, found.records, str(path))
        except (BundleError, OSError):
            if identity(self.folder) == self.which:
                raise
            return self._anew()
        if identity(self.folder) != self.which:
            return self._anew()
        self.end = found.end
        return later

    def _first(self, version: Version) -> Found | None:
        """What a journal holds of which there was none; None where it goes on from another version."""
        found = journal_of(self.folder, _digest(self.folder))
        if found is None or found.records[0].number != version.number:
            return None
        return found._replace(records=found.records[1:])

    def _anew(self) -> Version:
        version, found, self.which = _read(self.folder)
        self.end = 0 if found is None else found.end
        return version
