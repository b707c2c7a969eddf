"""Figures of the event store beside what the disk alone costs: `events.py [FOLDER] [--postgres ADDRESS]`.

Writes `results/events.json`. FOLDER is where the stores are made (build/bench/events): its disk is what is
measured. The floor is the same number of writes of one log frame, each followed by fdatasync, by one thread.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from shortlist.features.log import Log
from shortlist.features.schema import Schema
from shortlist.pipeline.recommender import Recommender
from shortlist.server.events.event import Event
from shortlist.server.events.opening import open_store
from shortlist.server.events.overlay import Overlay
from shortlist.server.events.recent import Recent
from shortlist.server.events.store import Store
from shortlist.server.events.writer import Writer
from shortlist.state.catalogue import Items
from shortlist.state.past import Past
from shortlist.state.seen import Seen
from shortlist.state.users import Users

RESULTS = Path(__file__).parent / "results" / "events.json"
FRAME = 4096 + 24
APPENDERS, CALLS, ROUNDS = 32, 400, 3
NUM_USERS, NUM_ITEMS = 943, 1682
NOW = 1_700_000_000


def floor(folder: Path) -> dict[str, float]:
    """Milliseconds of a written and synced frame."""
    times = []
    handle = os.open(folder / "floor", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for _ in range(2000):
        began = time.perf_counter()
        os.write(handle, b"x" * FRAME)
        os.fdatasync(handle)
        times.append(time.perf_counter() - began)
    os.close(handle)
    return quantiles(times)


def quantiles(seconds: list[float]) -> dict[str, float]:
    """In milliseconds."""
    low, middle, high = np.quantile(seconds, [0.5, 0.99, 1.0]) * 1000
    return {
        "p50_ms": round(float(low), 3),
        "p99_ms": round(float(middle), 3),
        "max_ms": round(float(high), 3),
    }


def appended(place: str, appenders: int, calls: int, each: int, name: str = "") -> dict[str, Any]:
    """Tasks that append one after the other, all at one time: events/s and how long an acknowledgement
    takes."""
    store, times = open_store(place), list[float]()
    writer = Writer(store)

    async def one(task: int) -> None:
        for call in range(calls):
            events = [
                Event(
                    event_id=f"{name}{os.getpid()}-{task}-{call}-{k}",
                    user_id=str((task * 7 + call) % NUM_USERS),
                    item_id=str((call + k) % NUM_ITEMS),
                    timestamp=NOW + call,
                )
                for k in range(each)
            ]
            began = time.perf_counter()
            outcome = await writer.append(events)
            times.append(time.perf_counter() - began)
            assert outcome.accepted == each

    async def every() -> None:
        await asyncio.gather(*(one(task) for task in range(appenders)))

    wall, cpu = time.perf_counter(), time.process_time()
    asyncio.run(every())
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    writer.close()
    store.close()
    count = appenders * calls * each
    return {
        "events_per_s": round(count / wall),
        **quantiles(times),
        "events_per_transaction": round(count / writer.tally.groups, 1),
        "cpu_us_per_event": round(cpu / count * 1e6, 1),
    }


def middle(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """The round of the median rate, and every rate."""
    rates = sorted(one["events_per_s"] for one in rounds)
    chosen = next(one for one in rounds if one["events_per_s"] == rates[len(rates) // 2])
    return {**chosen, "rounds": [one["events_per_s"] for one in rounds]}


def side(place: str, name: str, out: Any) -> None:
    """One of two processes."""
    out.put(appended(place, APPENDERS // 2, CALLS, 1, name))


def two_processes(place: str) -> dict[str, Any]:
    """Half of the appenders in each of two processes on one store."""
    open_store(place).close()
    spawn = multiprocessing.get_context("spawn")
    out = spawn.Queue()
    sides = [spawn.Process(target=side, args=(place, name, out)) for name in "ab"]
    for one in sides:
        one.start()
    found = [out.get() for _ in sides]
    for one in sides:
        one.join()
    return {
        "events_per_s": sum(one["events_per_s"] for one in found),
        "p50_ms": max(one["p50_ms"] for one in found),
        "p99_ms": max(one["p99_ms"] for one in found),
        "max_ms": max(one["max_ms"] for one in found),
    }


def microseconds(work: Callable[[int], Any], count: int = 3000) -> float:
    """Of one call."""
    began = time.perf_counter()
    for n in range(count):
        work(n)
    return round((time.perf_counter() - began) / count * 1e6, 1)


def known() -> Recommender:
    """943 users with 100 rated events each, as MovieLens 100K has."""
    draw = np.random.default_rng(0)
    users = np.repeat(np.arange(NUM_USERS), 100)
    items = draw.integers(0, NUM_ITEMS, len(users))
    log, _ = Log.of(
        users, items, draw.integers(0, NOW, len(users)), draw.integers(1, 6, len(users)), NUM_USERS
    )
    seen = Seen.from_pairs(users, items, NUM_USERS)
    people = Users.of([str(n) for n in range(NUM_USERS)], {}, seen, NOW, Past(log, 3.0, True))
    return Recommender(
        Items.of([str(n) for n in range(NUM_ITEMS)], {}, np.ones(NUM_ITEMS)), people, Schema({}, {})
    )


def read(store: Store) -> dict[str, float]:
    """What a request pays, in microseconds."""
    recent = Recent(store)
    overlay = Overlay(recent, known())
    names = [str(n) for n in range(NUM_USERS)]
    for name in names:
        overlay.told(name)

    def afresh(n: int) -> None:
        recent.drop(names[n % NUM_USERS])
        overlay.told(names[n % NUM_USERS])

    return {
        "refresh_nothing_new": microseconds(lambda n: overlay.refresh()),
        "told_held": microseconds(lambda n: overlay.told(names[n % NUM_USERS])),
        "seen_held": microseconds(lambda n: overlay.seen(names[n % NUM_USERS])),
        "told_read_and_made": microseconds(afresh),
    }


def measured(fresh: Callable[[], str]) -> dict[str, Any]:
    """All figures of one kind of store; fresh: the place of an empty one."""
    found: dict[str, Any] = {
        "one-appender": middle([appended(fresh(), 1, 500, 1) for _ in range(ROUNDS)]),
        "32-appenders": middle([appended(fresh(), APPENDERS, CALLS, 1) for _ in range(ROUNDS)]),
        "32-appenders-of-100": middle([appended(fresh(), APPENDERS, 40, 100) for _ in range(ROUNDS)]),
        "32-appenders-in-2-processes": middle([two_processes(fresh()) for _ in range(ROUNDS)]),
    }
    place = fresh()
    appended(place, APPENDERS, CALLS, 1)
    store = open_store(place)
    found["reading_us"] = read(store)
    store.close()
    return found


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("build/bench/events"))
    parser.add_argument(
        "--postgres", default="", help="address of a server whose schemas may be made and dropped"
    )
    given = parser.parse_args()
    shutil.rmtree(given.folder, ignore_errors=True)
    given.folder.mkdir(parents=True)
    numbers = iter(range(10**6))

    def file() -> str:
        return str(given.folder / f"{next(numbers)}.db")

    results = {"floor": floor(given.folder), "sqlite": measured(file)}
    if given.postgres:
        import psycopg

        def schema() -> str:
            name = f"bench{next(numbers)}"
            with psycopg.connect(given.postgres, autocommit=True) as connection:
                connection.execute(f"CREATE SCHEMA {name}")
            return f"{given.postgres}?options=-csearch_path%3D{name}"

        results["postgres"] = measured(schema)
    results["floor_again"] = floor(given.folder)
    with suppress(OSError):
        shutil.rmtree(given.folder)
    text = msgspec.json.format(json.dumps(results), indent=1) + "\n"
    RESULTS.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
