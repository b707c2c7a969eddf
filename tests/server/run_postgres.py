"""The event store on a real PostgreSQL server (`make test-postgres`): all that every store promises, and
what is PostgreSQL's own. It is started by tools/postgres.sh; where that cannot be, every test fails."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from time import sleep
from typing import Any

import psycopg
import pytest

from shortlist.server.events.event import Event
from shortlist.server.events.opening import open_store
from shortlist.server.events.postgres import _LOCK, _SCHEMA, PostgresStore
from shortlist.server.events.recent import Recent
from shortlist.server.events.store import Outcome, Store
from shortlist.server.events.trouble import StoreError, StoreVersion
from shortlist.server.events.writer import Writer

ROOT = Path(__file__).resolve().parents[2]
SCHEMAS = count()


def promises() -> dict[str, Any]:
    """The tests every store is put to."""
    path = Path(__file__).with_name("events") / "test_store.py"
    spec = importlib.util.spec_from_file_location("promises", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {name: value for name, value in vars(module).items() if name.startswith("test_")}


globals().update(promises())


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The address of a server of our own."""
    script = ROOT / "tools" / "postgres.sh"
    started = subprocess.run([script, "start"], capture_output=True, text=True, timeout=120)
    assert started.returncode == 0, started.stderr
    yield started.stdout.strip()
    subprocess.run([script, "stop"], check=True, timeout=120)


@pytest.fixture
def place(server: str) -> str:
    """An address with an empty schema of its own."""
    name = f"s{next(SCHEMAS)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    return f"{server}?options=-csearch_path%3D{name}"


@pytest.fixture
def opened(place: str) -> Iterator[Callable[[], Store]]:
    made: list[Store] = []

    def again() -> Store:
        made.append(open_store(place))
        return made[-1]

    yield again
    for store in made:
        store.close()


@pytest.fixture
def store(opened: Callable[[], Store]) -> Store:
    return opened()


def event(n: int, user: str = "ann") -> Event:
    return Event(event_id=f"e{n}", user_id=user, item_id=f"i{n}", timestamp=1_700_000_000 + n)


def end_others(place: str) -> None:
    """As a server that restarts: every connection to the database is ended."""
    with psycopg.connect(place, autocommit=True) as connection:
        ended = connection.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchone()
    assert ended is not None and ended[0] >= 1


def test_the_tests_of_every_store_are_here() -> None:
    assert len(promises()) >= 15


def test_a_transaction_waits_for_the_disk(place: str) -> None:
    with psycopg.connect(place, autocommit=True) as connection:
        connection.execute("ALTER DATABASE postgres SET synchronous_commit = off")
    with psycopg.connect(place) as connection:
        assert connection.execute("SHOW synchronous_commit").fetchone() == ("off",)
    store = PostgresStore(place)
    with store._transaction() as connection:
        row = connection.execute("SHOW synchronous_commit").fetchone()
    assert row == ("on",)
    assert store.stats().durable
    store.close()


def test_a_broken_connection_is_made_anew(store: Store, place: str) -> None:
    store.append([event(1)])
    assert store.count() == 1
    end_others(place)
    with pytest.raises(StoreError, match=r"terminat|closed|lost"):
        store.append([event(2)])
    with pytest.raises(StoreError):
        store.count()
    assert store.append([event(1), event(2)]) == Outcome(1, 1)
    assert store.count() == 2


def test_a_server_that_dies_keeps_what_it_acknowledged(server: str, place: str) -> None:
    """All its processes but the first are killed; it starts them again and recovers from its log."""
    store = open_store(place)
    for n in range(50):
        store.append([event(n)])
    folder = Path((ROOT / "build" / "postgres" / "where").read_text().strip()) / "cluster"
    postmaster = (folder / "postmaster.pid").read_text().split("\n")[0]
    children = subprocess.run(["pgrep", "-P", postmaster], capture_output=True, text=True, check=True)
    for pid in map(int, children.stdout.split()):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert until_it_answers(lambda: store.append([event(n) for n in range(50)])) == Outcome(0, 50)
    assert until_it_answers(store.count) == 50
    store.close()


def until_it_answers(ask: Callable[[], Any]) -> Any:
    for _ in range(200):
        try:
            return ask()
        except StoreError:
            sleep(0.1)
    raise AssertionError("the server does not come back")


def test_a_store_that_is_not_there_or_from_the_future(place: str) -> None:
    with pytest.raises(StoreError, match="holds no store of events"):
        open_store(place, create=False)
    open_store(place).close()
    with psycopg.connect(place, autocommit=True) as connection:
        connection.execute("UPDATE shortlist_store SET version = 99")
    with pytest.raises(StoreVersion, match="version 99"):
        open_store(place)


def test_a_password_is_not_shown(place: str) -> None:
    with_secret = place.replace("shortlist@", "shortlist:hunter2@")
    store = open_store(with_secret)
    assert "hunter2" not in store.place
    store.close()
    with pytest.raises(StoreError) as told:
        open_store(with_secret.replace("/postgres?", "/nowhere?"))
    assert "hunter2" not in str(told.value)


def test_many_open_an_empty_database_at_once(place: str) -> None:
    errors: list[BaseException] = []

    def open_one() -> None:
        try:
            open_store(place).close()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=open_one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


@pytest.fixture
def repeatable(server: str) -> Iterator[None]:
    """A database whose transactions see what there was when they began."""
    change = "ALTER DATABASE postgres {} default_transaction_isolation {}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(change.format("SET", "= 'repeatable read'"))
        yield
        connection.execute(change.format("RESET", ""))


def waits_for_its_turn(place: str) -> None:
    """Until somebody waits for the lock of those that write."""
    query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    with psycopg.connect(place, autocommit=True) as connection:
        for _ in range(2_000):
            found = connection.execute(query).fetchone()
            if found is not None and found[0]:
                return
            sleep(0.01)
    raise AssertionError("nobody waits")


def test_who_waits_for_another_sees_what_it_made(place: str, repeatable: None) -> None:
    """Another server makes the tables, and then writes, just before this one."""
    opened: list[PostgresStore] = []
    with psycopg.connect(place) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        thread = threading.Thread(target=lambda: opened.append(PostgresStore(place)))
        thread.start()
        waits_for_its_turn(place)
        for statement in filter(str.strip, _SCHEMA.split(";")):
            other.execute(statement)
        other.commit()
        thread.join(60)
        [store] = opened
        outcomes: list[Outcome] = []
        other.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        other.execute(
            "INSERT INTO shortlist_events (event_id, user_id, item_id, event, timestamp)"
            " VALUES ('e1', 'ann', 'i1', '', 1)"
        )
        thread = threading.Thread(target=lambda: outcomes.append(store.append([event(1), event(2)])))
        thread.start()
        waits_for_its_turn(place)
        other.commit()
        thread.join(60)
    assert [(outcome.accepted, outcome.repeated) for outcome in outcomes] == [(1, 1)]
    store.close()


def test_group_commit_and_what_others_wrote(opened: Callable[[], Store]) -> None:
    writer, recent = Writer(opened()), Recent(opened(), every=0.0)
    assert recent.of("ann") == ()

    async def all_at_once() -> list[Outcome]:
        return await asyncio.gather(*(writer.append([event(n)]) for n in range(200)))

    outcomes = asyncio.run(all_at_once())
    writer.close()
    assert outcomes == [Outcome(1)] * 200
    assert writer.tally.groups < 50
    assert recent.refresh()
    assert sorted(act.item_id for act in recent.of("ann")) == sorted(f"i{n}" for n in range(200))
