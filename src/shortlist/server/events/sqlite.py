"""The embedded store: one SQLite file in WAL mode, every commit with an fsync, many processes on one file."""

from __future__ import annotations

import os
import resource
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any, NamedTuple

from shortlist.server.events.event import Event
from shortlist.server.events.rows import EVENT, IMPRESSION, event_of, event_row, impression_of, impression_row
from shortlist.server.events.schema import VERSION, prepare
from shortlist.server.events.store import (
    PAGE,
    Batch,
    Forgotten,
    Outcome,
    Shown,
    Stats,
    Stored,
    append_to,
    taken_by_another,
)
from shortlist.server.events.trouble import StoreCorrupted, StoreError, StoreFull

WAIT = 30.0
"""Seconds to wait for another process's transaction."""
CHECKED = 64 << 20
"""Bytes up to which a file is read wholly when it is opened."""

_INSERT = (
    f"INSERT INTO events ({', '.join(EVENT)}) VALUES ({', '.join('?' * len(EVENT))})"
    " ON CONFLICT (event_id) DO NOTHING"
)
_SHOW = (
    f"INSERT INTO impressions ({', '.join(IMPRESSION)}) VALUES ({', '.join('?' * len(IMPRESSION))})"
    " ON CONFLICT (request_id) DO NOTHING"
)


class _Own(NamedTuple):
    """A connection, and a lock held while it reads."""

    connection: sqlite3.Connection
    reading: threading.Lock


class SqliteStore:
    """A `Store` in a file; the file, and `-wal` and `-shm` beside it while it is open, are the whole store.

    One connection writes, under a lock; every reading thread has one of its own, and no reader waits for a
    writer. A file that is not there is made, unless create=False. wait: seconds to wait for other processes
    that write. Raises StoreError for a file that cannot be opened, is damaged, or is no store of this
    version.
    """

    def __init__(self, path: str | Path, *, wait: float = WAIT, create: bool = True) -> None:
        self.path, self._wait, self._process = Path(path), wait, os.getpid()
        self._write_lock, self._watch_lock = threading.Lock(), threading.Lock()
        self._local, self._opened = threading.local(), list[_Own]()
        self._closed = False
        if not self.path.exists() and not create:
            raise StoreError(
                f"no such store of events: {self.path}", hint="the server makes it when it starts"
            )
        _require_more_than_a_byte(self.path)
        with self._speaking():
            try:
                self._writer = self._connect().connection
                self._prepare()
                self._watch = self._connect(reads=True).connection
            except BaseException:
                self._disconnect()
                raise

    @property
    def place(self) -> str:
        """The path."""
        return str(self.path)

    def append(self, events: Sequence[Event]) -> Outcome:
        """Keep events; each id once. On disk when it returns."""
        return append_to(self, events)

    def write(self, batches: Sequence[Batch]) -> list[Outcome]:
        """Keep checked batches in one transaction, with one fsync."""
        with self._transaction() as connection:
            return [_insert(connection, batch) for batch in batches]

    def since(self, sequence: int, limit: int = PAGE) -> list[Stored]:
        """The next events after a sequence, in order."""
        return self._events("WHERE sequence > ? ORDER BY sequence LIMIT ?", sequence, limit)

    def of_user(self, user_id: str, limit: int = PAGE) -> list[Stored]:
        """A user's last events, the last kept first."""
        return self._events("WHERE user_id = ? ORDER BY sequence DESC LIMIT ?", user_id, limit)

    def last(self) -> int:
        """The sequence of the last event; 0 where there is none."""
        return int(self._rows("SELECT coalesce(max(sequence), 0) FROM events")[0][0])

    def impressions(self, sequence: int = 0, limit: int = PAGE) -> list[Shown]:
        """The next impressions after a sequence, in order."""
        rows = self._rows(
            f"SELECT sequence, {', '.join(IMPRESSION)} FROM impressions"
            " WHERE sequence > ? ORDER BY sequence LIMIT ?",
            (sequence, limit),
        )
        return [Shown(row[0], impression_of(row)) for row in rows]

    def version(self) -> int:
        """SQLite's data_version: another one after every commit of any process; costs microseconds."""
        with self._watch_lock, self._speaking():
            return int(self._watch.execute("PRAGMA data_version").fetchone()[0])

    def epoch(self) -> int:
        """How often users were forgotten."""
        return int(self._rows("SELECT count FROM epochs")[0][0])

    def forget(self, user_id: str) -> Forgotten:
        """Delete everything of a user; what the file held of it is overwritten."""
        with self._transaction() as connection:
            connection.execute("PRAGMA secure_delete = ON")
            gone = Forgotten(
                *(
                    connection.execute(f"DELETE FROM {table} WHERE user_id = ?", (user_id,)).rowcount
                    for table in ("events", "impressions")
                )
            )
            connection.execute("UPDATE epochs SET count = count + 1")
        self._empty_log()
        return gone

    def count(self) -> int:
        """How many events there are."""
        return int(self._rows("SELECT count(*) FROM events")[0][0])

    def stats(self) -> Stats:
        """What there is; reads everything once."""
        whole = (
            "SELECT count(DISTINCT user_id), count(DISTINCT item_id), min(timestamp), max(timestamp)"
            " FROM events"
        )
        users, items, first, last = self._rows(whole)[0]
        kinds = dict(self._rows("SELECT event, count(*) FROM events GROUP BY event ORDER BY 2 DESC, 1"))
        shown = self._rows("SELECT count(*) FROM impressions")[0][0]
        files = [Path(f"{self.path}{end}") for end in ("", "-wal")]
        size = sum(file.stat().st_size for file in files if file.exists())
        events = sum(kinds.values())
        return Stats(
            self.place, "sqlite", VERSION, events, users, items, shown, kinds, first, last, size, durable=True
        )

    def check(self) -> None:
        """Read the whole file and raise StoreCorrupted where it is damaged."""
        self._require_sound("integrity_check")

    def close(self) -> None:
        """Let go of the file, once what is being written and read is; the last process to do so folds the log
        into it."""
        with self._write_lock, self._watch_lock:
            if self._closed:
                return
            with self._speaking():
                self._closed = True
                self._disconnect()

    # Connections

    def _connect(self, *, reads: bool = False) -> _Own:
        connection = sqlite3.connect(
            self.path, timeout=self._wait, isolation_level=None, check_same_thread=False, cached_statements=64
        )
        self._opened.append(own := _Own(connection, threading.Lock()))
        if reads:
            connection.execute("PRAGMA query_only = ON")
        return own

    def _prepare(self) -> None:
        connection, fresh = self._writer, not self.path.stat().st_size
        prepare(connection, self.path)
        if self._patiently("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            raise StoreError(
                f"{self.path}: its file system cannot share memory between processes",
                hint="put the store on a local disk",
            )
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {CHECKED}")
        if fresh:
            _sync_folder(self.path.absolute().parent)
        if self.path.stat().st_size <= CHECKED:
            self._require_sound("quick_check")

    def _require_sound(self, pragma: str) -> None:
        found = [row[0] for row in self._rows(f"PRAGMA {pragma}(3)", writer=True)]
        if found != ["ok"]:
            raise StoreCorrupted(f"{self.path} is damaged: {'; '.join(map(str, found))}", hint=_RESCUE)

    def _disconnect(self) -> None:
        while self._opened:
            connection, reading = self._opened.pop()
            with reading:  # the interpreter does not survive the close of a connection that is in use
                connection.close()

    def _own(self) -> _Own:
        """This thread's connection."""
        found: _Own | None = getattr(self._local, "own", None)
        if found is None:
            with self._watch_lock, self._speaking():  # not between a close and its end
                found = self._local.own = self._connect(reads=True)
        return found

    def _rows(self, query: str, values: tuple[Any, ...] = (), *, writer: bool = False) -> list[Any]:
        with self._speaking():
            if writer:
                return self._writer.execute(query, values).fetchall()
            connection, reading = self._own()
            with reading:
                return connection.execute(query, values).fetchall()

    def _events(self, rest: str, *values: Any) -> list[Stored]:
        rows = self._rows(f"SELECT sequence, {', '.join(EVENT)} FROM events {rest}", values)
        return [Stored(row[0], event_of(row)) for row in rows]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._write_lock, self._speaking():
            self._patiently("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    def _patiently(self, statement: str) -> sqlite3.Cursor:
        """Ask the writer until no other process is in the way: SQLite's own waiting sleeps up to 100 ms at
        a time, which other processes' commits need not, and a change of journal_mode does not wait at all.
        """
        until = monotonic() + self._wait
        self._writer.execute("PRAGMA busy_timeout = 0")
        try:
            while True:
                try:
                    return self._writer.execute(statement)
                except sqlite3.OperationalError as error:
                    if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or monotonic() > until:
                        raise
                    sleep(0.0005)
        finally:
            self._writer.execute(f"PRAGMA busy_timeout = {int(self._wait * 1000)}")

    def _empty_log(self) -> None:
        """Fold the log into the file, so that it no longer holds what was deleted. SQLite waits for others
        that read or write, but not for one that folds."""
        until = monotonic() + self._wait
        with self._write_lock, self._speaking():
            while self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                if monotonic() > until:
                    raise StoreError(
                        f"{self.path}: deleted, but another process keeps the log from being emptied of it",
                        hint="is an export or a backup stuck? then forget this user again",
                    )
                sleep(0.0005)

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        """SQLite's errors as ours."""
        if self._closed:
            raise StoreError(f"{self.path}: this store was closed")
        if os.getpid() != self._process:
            raise StoreError(
                f"{self.path}: this store was opened before the process was forked",
                hint="open it again in every process",
            )
        try:
            yield
        except sqlite3.Error as error:
            raise _in_our_words(error, self.path) from error


_RESCUE = "restore a copy, or save what can be read: sqlite3 FILE .recover"


def _in_our_words(error: sqlite3.Error, path: Path) -> StoreError:
    exactly = getattr(error, "sqlite_errorcode", 0)
    code = exactly & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreCorrupted(f"{path} is damaged, or is no store of events: {error}", hint=_RESCUE)
    if code == sqlite3.SQLITE_FULL or (exactly in _UNWRITTEN and _limited()):
        return StoreFull(
            f"{path}: no room left: none of the events given was kept",
            hint="make room; what was acknowledged is safe",
        )
    if code == sqlite3.SQLITE_BUSY:
        return StoreError(f"{path}: another process kept it locked", hint="is an export or a backup stuck?")
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return StoreError(
            f"{path}: cannot be opened for writing: {error}", hint="is there its folder, and may you write?"
        )
    return StoreError(f"{path}: {error}", hint="what was acknowledged before is safe")


_UNWRITTEN = (sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_TRUNCATE, sqlite3.SQLITE_IOERR_SHMSIZE)


def _limited() -> bool:
    """Whether files may not grow beyond a size (ulimit -f), which SQLite does not tell from a broken disk."""
    return resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY


def _insert(connection: sqlite3.Connection, batch: Batch) -> Outcome:
    accepted, repeated, rejected = 0, 0, []
    for index, event in enumerate(batch.events):
        if connection.execute(_INSERT, event_row(event)).rowcount:
            accepted += 1
            continue
        known = connection.execute(
            "SELECT user_id, item_id, event FROM events WHERE event_id = ?", (event.event_id,)
        ).fetchone()
        if another := taken_by_another(index, event, known):
            rejected.append(another)
        else:
            repeated += 1
    for shown in batch.impressions:
        connection.execute(_SHOW, impression_row(shown))
    return Outcome(accepted, repeated, tuple(rejected))


def _require_more_than_a_byte(path: Path) -> None:
    """SQLite would take one byte of something else for an empty file, and it alone is to open the file: where
    a process closes a file, the system takes from it all locks it has on that, whoever else in it reads."""
    if path.is_file() and path.stat().st_size == 1:
        raise StoreCorrupted(f"{path} is damaged, or is no store of events", hint=_RESCUE)


def _sync_folder(folder: Path) -> None:
    """A new file's name is on disk only once its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
