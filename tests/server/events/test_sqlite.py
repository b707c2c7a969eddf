"""The embedded store's own: its file, what is done to it, and what it refuses."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shortlist.server.events.event import Event
from shortlist.server.events.schema import APPLICATION, STEPS, VERSION, prepare
from shortlist.server.events.sqlite import SqliteStore
from shortlist.server.events.store import Outcome
from shortlist.server.events.trouble import StoreCorrupted, StoreError, StoreFull, StoreVersion


def event(name: object, user: str = "ann", **more: Any) -> Event:
    return Event(event_id=str(name), user_id=user, item_id="i1", timestamp=1_700_000_000, **more)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    made = SqliteStore(path)
    yield made
    made.close()


def filled(path: Path, events: int = 400) -> None:
    """A closed store of some pages."""
    made = SqliteStore(path)
    made.append([event(n, f"user {n % 7}", context={"text": "x" * 60}) for n in range(events)])
    made.close()


def test_every_commit_waits_for_the_disk(store: SqliteStore) -> None:
    assert store._writer.execute("PRAGMA synchronous").fetchone() == (
        2,
    )  # FULL: the log is synced at a commit
    assert store._writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_closing_leaves_one_file(path: Path) -> None:
    filled(path)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_closed_store_says_so(store: SqliteStore) -> None:
    store.close()
    store.close()
    with pytest.raises(StoreError, match="was closed"):
        store.append([event(1)])
    with pytest.raises(StoreError, match="was closed"):
        store.count()


def test_a_store_that_is_not_there(path: Path) -> None:
    with pytest.raises(StoreError, match="no such store of events"):
        SqliteStore(path, create=False)
    with pytest.raises(StoreError, match="cannot be opened"):
        SqliteStore(path / "nowhere" / "events.db")
    assert not path.exists()


def test_a_database_of_another_program_is_left_alone(path: Path) -> None:
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE events (mine)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(StoreCorrupted, match="of another program"):
        SqliteStore(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("size", [1, 2, 99, 100, 511, 512, 5000])
def test_what_is_no_database_is_left_alone(path: Path, size: int) -> None:
    text = ("user_id,item_id\n" * 500)[:size]
    path.write_text(text)
    with pytest.raises(StoreCorrupted, match="no store of events"):
        SqliteStore(path)
    assert path.read_text() == text


def test_a_store_of_a_later_version_is_refused(path: Path) -> None:
    SqliteStore(path).close()
    later = sqlite3.connect(path)
    later.execute(f"PRAGMA user_version = {VERSION + 1}")
    later.close()
    with pytest.raises(StoreVersion, match=f"of version {VERSION + 1}, this Shortlist knows {VERSION}"):
        SqliteStore(path)


@pytest.mark.parametrize("version", range(1, VERSION))
def test_a_store_of_an_earlier_version_takes_the_steps_it_lacks(path: Path, version: int) -> None:
    old = sqlite3.connect(path)
    for statement in (s for step in STEPS[:version] for s in step):
        old.execute(statement)
    old.execute(f"PRAGMA application_id = {APPLICATION}")
    old.execute(f"PRAGMA user_version = {version}")
    old.execute(
        "INSERT INTO events (event_id, user_id, item_id, event, timestamp) VALUES ('1', 'ann', 'i1', '', 5)"
    )
    old.commit()
    old.close()
    store = SqliteStore(path)
    assert store.since(0)[0].event == Event(event_id="1", user_id="ann", item_id="i1", timestamp=5)
    assert store.append([event(2)]) == Outcome(1)
    assert (store.impressions(), store.epoch()) == ([], 0)
    assert store.stats().version == VERSION
    store.close()


def test_a_step_that_fails_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(path)
    monkeypatch.setattr(
        "shortlist.server.events.schema.STEPS", (*STEPS, ("CREATE TABLE more (x)", "NONSENSE"))
    )
    monkeypatch.setattr("shortlist.server.events.schema.VERSION", VERSION + 1)
    with pytest.raises(StoreError, match="NONSENSE"):
        SqliteStore(path)
    monkeypatch.undo()
    store = SqliteStore(path)
    assert store.count() == 400
    store.close()


class Interrupted:
    """A connection before one of whose statements another process does what it can to make the same store."""

    def __init__(self, path: Path, at: int) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.other = sqlite3.connect(path, isolation_level=None, timeout=0)
        self.left = at

    def execute(self, statement: str) -> sqlite3.Cursor:
        if not self.left:
            with suppress(sqlite3.OperationalError):  # locked, for the moment
                prepare(self.other, Path("other"))
        self.left -= 1
        return self.connection.execute(statement)

    @property
    def in_transaction(self) -> bool:
        return self.connection.in_transaction

    def close(self) -> None:
        self.connection.close()
        self.other.close()


@pytest.mark.parametrize("at", range(18))
def test_two_processes_make_a_store_together(path: Path, at: int) -> None:
    one = Interrupted(path, at)
    prepare(one, path)  # type: ignore[arg-type]
    assert one.left < 0
    one.close()
    store = SqliteStore(path)
    assert store.append([event(1)]) == Outcome(1)
    assert (store.epoch(), store.stats().version) == (0, VERSION)
    store.close()


def test_a_store_that_another_process_is_making_is_waited_for(path: Path) -> None:
    """A change of journal_mode beside a writer is "locked" at once, whatever the time to wait."""
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    prepare(other, path)
    other.execute("BEGIN IMMEDIATE")
    done = threading.Timer(0.05, other.execute, ["COMMIT"])
    done.start()
    store = SqliteStore(path)
    done.join()
    other.close()
    assert store.append([event(1)]) == Outcome(1)
    store.close()


def test_a_damaged_page_is_refused(path: Path) -> None:
    filled(path)
    data = bytearray(path.read_bytes())
    data[3 * 4096 : 3 * 4096 + 200] = b"\xff" * 200
    path.write_bytes(data)
    with pytest.raises(StoreCorrupted, match="is damaged"):
        SqliteStore(path)


@pytest.mark.parametrize("kept", [1, 99, 4096, 5000, 20_000])
def test_a_file_that_was_cut_is_refused(path: Path, kept: int) -> None:
    filled(path)
    with open(path, "r+b") as file:
        file.truncate(kept)
    with pytest.raises(StoreError):
        SqliteStore(path)


def test_damage_anywhere_is_an_error_of_ours_or_harmless(path: Path) -> None:
    """Whatever bytes are altered: the store is refused, or it reads; nothing else ever happens."""
    filled(path)
    whole, draw, refused = path.read_bytes(), np.random.default_rng(1), 0
    for _ in range(40):
        data = bytearray(whole)
        start = int(draw.integers(len(data) - 8))
        data[start : start + 8] = draw.bytes(8)
        path.write_bytes(data)
        try:
            store = SqliteStore(path)
        except StoreError:
            refused += 1
            continue
        try:
            store.since(0)
            store.stats()
        except StoreError:
            refused += 1
        finally:
            store.close()
    assert refused > 10


def test_a_full_disk_loses_nothing_that_was_acknowledged(store: SqliteStore) -> None:
    acknowledged = 0
    (pages,) = store._writer.execute("PRAGMA page_count").fetchone()
    store._writer.execute(f"PRAGMA max_page_count = {pages + 10}")
    with pytest.raises(StoreFull, match="no room left: none of the events given was kept"):
        for start in range(0, 100_000, 50):
            acknowledged += store.append([event(n) for n in range(start, start + 50)]).accepted
    assert store.count() == acknowledged > 0
    store._writer.execute("PRAGMA max_page_count = 1000000")
    again = store.append([event(n) for n in range(acknowledged + 50)])
    assert (again.accepted, again.repeated) == (50, acknowledged)


def test_a_locked_store_is_waited_for_and_then_said_to_be_locked(path: Path) -> None:
    store = SqliteStore(path, wait=0.05)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="kept it locked"):
        store.append([event(1)])
    other.execute("ROLLBACK")
    other.close()
    assert store.append([event(1)]) == Outcome(1)
    store.close()


def test_nothing_of_a_forgotten_user_stays_in_the_files(path: Path) -> None:
    store = SqliteStore(path)
    secret = b"Ludwig van Beethoven"
    store.append([event(n, "ann") for n in range(50)])
    store.append([event(f"x{n}", secret.decode(), context={"x": secret.decode()}) for n in range(50)])
    files = [path, Path(f"{path}-wal")]
    assert any(secret in file.read_bytes() for file in files)
    store.forget(secret.decode())
    assert not any(secret in file.read_bytes() for file in files if file.exists())
    assert store.count() == 50
    store.close()
    assert secret not in path.read_bytes()


FOLDS = """
import fcntl, os, sys, time
handle = os.open(sys.argv[1], os.O_RDWR)
fcntl.lockf(handle, fcntl.LOCK_EX, 1, 121)  # as who folds the log into the file
print("folding", flush=True)
time.sleep(0.15)
"""


def test_a_log_that_another_process_folds_is_emptied_all_the_same(path: Path) -> None:
    """SQLite does not wait for that process: "busy" is its answer, at once."""
    store, secret = SqliteStore(path), b"Ludwig van Beethoven"
    store.append([event(1, secret.decode())])
    command = [sys.executable, "-S", "-E", "-c", FOLDS, f"{path}-shm"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"folding\n"
        store.forget(secret.decode())
    assert secret not in Path(f"{path}-wal").read_bytes()
    store.close()
    assert secret not in path.read_bytes()


def test_a_log_that_cannot_be_emptied_is_told(path: Path) -> None:
    store, other = SqliteStore(path, wait=0.05), sqlite3.connect(path, isolation_level=None)
    store.append([event(1)])
    other.execute("BEGIN")
    other.execute("SELECT count(*) FROM events").fetchone()
    with pytest.raises(StoreError, match="another process keeps the log"):
        store.forget("ann")
    other.close()
    assert store.forget("ann").events == 0
    assert not Path(f"{path}-wal").stat().st_size
    store.close()


ANOTHER = """
import sys
from shortlist.server.events.event import Event
from shortlist.server.events.sqlite import SqliteStore
store = SqliteStore(sys.argv[1])
for n in sys.argv[2:]:
    store.append([Event(event_id=n, user_id="u", item_id="i", timestamp=1)])
print(store.count())
store.close()
"""


@pytest.mark.slow
def test_a_store_opened_twice_keeps_what_it_holds_of_the_file(path: Path) -> None:
    """A process that closes a file lets go of all it has locked there; others then take the log away."""

    def another(*ids: str) -> int:
        command = [sys.executable, "-c", ANOTHER, str(path), *ids]
        return int(subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=60).stdout)

    store = SqliteStore(path)
    twice = SqliteStore(path)
    assert another("a") == 1
    assert store.append([event(1)]) == Outcome(1)
    assert another() == 2
    store.close()
    twice.close()


CLOSES = """
import sys, threading, time
from shortlist.server.events.event import Event
from shortlist.server.events.sqlite import SqliteStore
from shortlist.server.events.trouble import StoreError
events = [Event(event_id=str(n), user_id="u", item_id="i", timestamp=1) for n in range(5_000)]

def read(store, began):
    try:
        while True:
            began.set()
            store.since(0)
    except StoreError:
        pass

for number in range(4):
    store, began = SqliteStore(f"{sys.argv[1]}{number}"), threading.Event()
    store.append(events)
    readers = [threading.Thread(target=read, args=(store, began)) for _ in range(3)]
    for reader in readers:
        reader.start()
    began.wait()
    time.sleep(0.02)
    store.close()
    for reader in readers:
        reader.join()
print("closed")
"""


@pytest.mark.slow
def test_a_close_waits_for_threads_that_read(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CLOSES, str(path)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "closed\n", "")


FORKS = """
import os, sys
from shortlist.server.events.event import Event
from shortlist.server.events.sqlite import SqliteStore
from shortlist.server.events.trouble import StoreError

store = SqliteStore(sys.argv[1])
if not os.fork():
    try:
        store.append([Event(event_id="1", user_id="u", item_id="i", timestamp=1)])
    except StoreError as error:
        os._exit(7 if "before the process was forked" in str(error) else 1)
    os._exit(0)
_, status = os.wait()
store.close()
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_a_store_is_not_used_across_a_fork(path: Path) -> None:
    """Two processes on one connection would damage the file."""
    done = subprocess.run(
        [sys.executable, "-c", FORKS, str(path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 7, done.stderr
