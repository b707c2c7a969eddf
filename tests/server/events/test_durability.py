"""What was acknowledged is there: after the process was killed, the log cut at any byte, the disk full."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shortlist.server.events.event import Event
from shortlist.server.events.sqlite import SqliteStore
from shortlist.server.events.store import Outcome
from shortlist.server.events.trouble import StoreError

BATCH = 3
WRITES = """
import asyncio, os, sys
from shortlist.server.events.event import Event
from shortlist.server.events.sqlite import SqliteStore
from shortlist.server.events.writer import Writer

path, name = sys.argv[1:]
writer = Writer(SqliteStore(path))

async def append(task):
    number = 0
    while True:
        ids = [f"{name} {task} {number} {k}" for k in range(3)]
        events = [Event(event_id=i, user_id=f"user of {i}", item_id=f"item of {i}", timestamp=number,
                        rating=number / 2, context={"id": i}) for i in ids]
        outcome = await writer.append(events)
        assert (outcome.accepted, outcome.repeated) == (3, 0), outcome
        os.write(1, f"{name} {task} {number}\\n".encode())
        number += 1

async def main():
    os.write(1, b"ready\\n")
    await asyncio.gather(*(append(task) for task in range(16)))

asyncio.run(main())
"""


def as_written(name: str) -> Event:
    """The event of an id, as the process above made it."""
    number = int(name.split()[2])
    return Event(
        event_id=name,
        user_id=f"user of {name}",
        item_id=f"item of {name}",
        timestamp=number,
        rating=number / 2,
        context={"id": name},
    )


def killed(path: Path, names: list[str], seconds: float) -> list[str]:
    """Processes of these names append to a store until they are killed; the batches they said were
    acknowledged."""
    started = [
        subprocess.Popen([sys.executable, "-c", WRITES, str(path), name], stdout=subprocess.PIPE)
        for name in names
    ]
    for process in started:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    time.sleep(seconds)
    said = []
    for process in started:
        os.kill(process.pid, signal.SIGKILL)
        assert process.stdout is not None
        lines = process.stdout.read().decode().split("\n")
        process.stdout.close()
        assert process.wait() == -signal.SIGKILL
        said += lines[:-1]  # the last may be half a line
    return said


def check(store: SqliteStore, acknowledged: list[str]) -> int:
    """Every acknowledged batch is there, none twice, none half, none altered; how many events there are."""
    found = [stored.event for stored in store.since(0, 10**9)]
    ids = [event.event_id for event in found]
    assert len(ids) == len(set(ids))
    batches: dict[str, int] = {}
    for event in found:
        assert event == as_written(event.event_id)
        batch = event.event_id.rpartition(" ")[0]
        batches[batch] = batches.get(batch, 0) + 1
    assert set(batches.values()) <= {BATCH}
    missing = set(acknowledged) - batches.keys()
    assert not missing, f"acknowledged and lost: {sorted(missing)[:5]}"
    store.check()
    return len(ids)


def test_a_killed_server_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    acknowledged = killed(path, ["a"], 0.05)
    store = SqliteStore(path)
    assert check(store, acknowledged) >= BATCH * len(acknowledged)
    store.close()


@pytest.mark.slow
def test_killed_many_times_and_two_at_a_time(tmp_path: Path) -> None:
    """Forty rounds on one file, every third with two processes; each round ends at a random moment."""
    path, draw, acknowledged, before = tmp_path / "events.db", random.Random(1), list[str](), 0
    for number in range(40):
        names = [f"{number}x", f"{number}y"] if number % 3 == 0 else [f"{number}"]
        acknowledged += killed(path, names, draw.uniform(0.0, 0.15))
        store = SqliteStore(path)
        count = check(store, acknowledged)
        assert count >= before
        if number % 5:
            store.close()  # folds the log into the file; else the next round finds it as it was left
        else:
            store._disconnect()
        before = count
    assert len(acknowledged) > 1000


def last_transaction(folder: Path) -> tuple[int, int]:
    """A store as a crash leaves it, in `folder`: three acknowledged transactions. Where in the log the last
    of them begins and ends."""
    source = folder.parent / "source"
    source.mkdir()
    store, log = SqliteStore(source / "events.db"), source / "events.db-wal"
    ends = []
    for first, count in ((0, 1), (10, 4), (20, 2)):
        store.append([as_written(f"a 0 {number} 0") for number in range(first, first + count)])
        ends.append(log.stat().st_size)
    for name in ("events.db", "events.db-wal"):
        shutil.copy(source / name, folder / name)
    store.close()
    return ends[1], ends[2]


def counted(folder: Path, whole: tuple[bytes, bytes], log: bytes) -> int:
    """Opens what a crash left, the log being as given; how many events there are, all as they were
    written."""
    path = folder / "events.db"
    for name, data in (("events.db", whole[0]), ("events.db-wal", log)):
        (folder / name).write_bytes(data)
    (folder / "events.db-shm").unlink(missing_ok=True)
    store = SqliteStore(path)
    events = [stored.event for stored in store.since(0)]
    assert events == [as_written(event.event_id) for event in events]
    assert [e.event_id for e in events][:5] == [f"a 0 {n} 0" for n in (0, 10, 11, 12, 13)]
    store._disconnect()
    return len(events)


def cuts(folder: Path, step: int) -> None:
    begin, end = last_transaction(folder)
    whole = (folder / "events.db").read_bytes(), (folder / "events.db-wal").read_bytes()
    assert len(whole[1]) == end and end - begin > 4096
    frame = 4096 + 24
    edges = {e + d for e in range(begin, end + 1, frame) for d in (-1, 0, 1, 23, 24, 25)}
    for kept in sorted(k for k in {*range(begin, end, step), *edges} if begin <= k < end):
        assert counted(folder, whole, whole[1][:kept]) == 5, f"cut at byte {kept}"
    assert counted(folder, whole, whole[1]) == 7


def test_a_log_cut_inside_its_last_transaction(tmp_path: Path) -> None:
    folder = tmp_path / "crashed"
    folder.mkdir()
    cuts(folder, step=1499)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_log_cut_at_every_byte_of_its_last_transaction(tmp_path: Path) -> None:
    """Whole transactions only, the earlier ones always: as a disk that lost its power may leave the log."""
    memory = Path("/dev/shm")  # thousands of recoveries, whose fsyncs are not what is tested
    folder = (memory if memory.is_dir() and os.access(memory, os.W_OK) else tmp_path) / f"cut-{os.getpid()}"
    (folder / "crashed").mkdir(parents=True)
    try:
        cuts(folder / "crashed", step=1)
    finally:
        shutil.rmtree(folder)


def test_a_log_altered_inside_its_last_transaction(tmp_path: Path) -> None:
    """Blocks reach a disk in any order: one that did not leaves zeros, or what was there before."""
    folder = tmp_path / "crashed"
    folder.mkdir()
    begin, end = last_transaction(folder)
    whole = (folder / "events.db").read_bytes(), (folder / "events.db-wal").read_bytes()
    for start in range(begin // 512 * 512, end, 512 * 7):
        log = bytearray(whole[1])
        start = max(start, begin)
        stop = min(start + 512, end)
        if log[start:stop] == bytes(stop - start):
            continue  # it was zeros
        log[start:stop] = bytes(stop - start)
        assert counted(folder, whole, bytes(log)) == 5, f"zeros from byte {start}"


FILLS = """
import asyncio, resource, sys
from shortlist.server.events.event import Event
from shortlist.server.events.sqlite import SqliteStore
from shortlist.server.events.trouble import StoreError
from shortlist.server.events.writer import Writer

store = SqliteStore(sys.argv[1])
writer = Writer(store)

def event(number):
    return Event(event_id=str(number), user_id="u", item_id="i", timestamp=number, context={"x": "y" * 500})

async def main():
    number, soft = 0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), soft))
    try:
        while True:
            await writer.append([event(number)])
            number += 1
    except StoreError as error:
        print(number, "|", error, "|", error.hint, "|", type(error).__name__)
    assert store.count() == number, (store.count(), number)
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, soft))
    await writer.append([event(number)])
    print(number + 1)

asyncio.run(main())
writer.close()
store.close()
"""


@pytest.mark.parametrize("limit", [100_001, 333_333])
def test_a_disk_without_room(tmp_path: Path, limit: int) -> None:
    """No file may grow beyond a limit, as on a full disk: a clear error, what was acknowledged stays, and
    once there is room it goes on, in the same process."""
    path = tmp_path / "events.db"
    done = subprocess.run(
        [sys.executable, "-c", FILLS, str(path), str(limit)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    failed, then = done.stdout.splitlines()
    number, said, hint, kind = failed.split(" | ")
    assert int(number) > 4 and kind == "StoreFull", kind
    assert str(path) in said and ("disk" in said or "room" in said), said
    assert "what was acknowledged" in hint
    store = SqliteStore(path)
    assert store.count() == int(then) == int(number) + 1
    assert [stored.event.event_id for stored in store.since(0)] == [str(n) for n in range(int(then))]
    assert store.append([as_written("a 0 1 0")]) == Outcome(1)
    store.close()


def test_no_room_for_a_new_store(tmp_path: Path) -> None:
    blocked = tmp_path / "folder"
    blocked.write_text("a file")
    with pytest.raises(StoreError):
        SqliteStore(blocked / "events.db")
