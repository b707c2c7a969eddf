"""A store of events on PostgreSQL, by psycopg 3 (the extra `postgres`): for servers on several machines.

Writers take turns by an advisory lock, so that sequences become visible in their order: what was read up to
a sequence is never joined by an earlier one. Every transaction waits for the server's log
(`synchronous_commit`).
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from shortlist.errors import MissingExtra
from shortlist.server.events.event import Event
from shortlist.server.events.rows import EVENT, IMPRESSION, event_of, event_row, impression_of, impression_row
from shortlist.server.events.store import (
    PAGE,
    Batch,
    Forgotten,
    Outcome,
    Rejected,
    Shown,
    Stats,
    Stored,
    append_to,
    taken_by_another,
)
from shortlist.server.events.trouble import StoreError, StoreFull, StoreVersion

if TYPE_CHECKING:
    import psycopg

VERSION = 1
_LOCK = 0x534C4556
"""The advisory lock of those that write."""
_SCHEMA = """
CREATE TABLE shortlist_events (
    sequence bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id text COLLATE "C" NOT NULL UNIQUE,
    user_id text COLLATE "C" NOT NULL,
    item_id text COLLATE "C" NOT NULL,
    event text NOT NULL,
    rating double precision,
    weight double precision,
    timestamp bigint NOT NULL,
    context text
);
CREATE INDEX shortlist_events_of_user ON shortlist_events (user_id, sequence);
CREATE TABLE shortlist_impressions (
    sequence bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    request_id text COLLATE "C" NOT NULL UNIQUE,
    user_id text COLLATE "C" NOT NULL,
    items text NOT NULL,
    propensity text,
    bundle text NOT NULL,
    variant text NOT NULL,
    timestamp bigint NOT NULL
);
CREATE INDEX shortlist_impressions_of_user ON shortlist_impressions (user_id, sequence);
CREATE TABLE shortlist_store (version integer NOT NULL, epoch bigint NOT NULL);
INSERT INTO shortlist_store VALUES (1, 0);
"""


def _insertion(table: str, columns: Sequence[str], types: str, key: str) -> str:
    """Rows given as a list a column, in their order; those whose key is known are left out."""
    names = ", ".join(columns)
    lists = ", ".join(f"%s::{kind}[]" for kind in types.split())
    return (
        f"INSERT INTO {table} ({names}) SELECT {names} FROM unnest({lists}) WITH ORDINALITY"
        f" AS given ({names}, place) ORDER BY place ON CONFLICT ({key}) DO NOTHING RETURNING {key}"
    )


_INSERT = _insertion("shortlist_events", EVENT, "text text text text float8 float8 bigint text", "event_id")
_SHOW = _insertion("shortlist_impressions", IMPRESSION, "text text text text text text bigint", "request_id")
_EVENTS = f"SELECT sequence, {', '.join(EVENT)} FROM shortlist_events"
_STATS = (
    "SELECT count(*), count(DISTINCT user_id), count(DISTINCT item_id), min(timestamp), max(timestamp)"
    " FROM shortlist_events"
)


class PostgresStore:
    """A `Store` in three tables of a PostgreSQL database, `shortlist_events`, `shortlist_impressions` and
    `shortlist_store`, which are made where they are not there (unless create=False).

    address: as psycopg takes it, such as postgresql://user@host/database; what it leaves out, a password for
    instance, comes from PGPASSWORD and its kin or ~/.pgpass. One connection writes and one reads, each under
    a lock; one that broke is made anew by the next call. PostgreSQL's texts cannot hold the character of
    code
    zero: in the columns of ids it is written `\\0`, and a backslash `\\\\`.
    """

    def __init__(self, address: str, *, create: bool = True) -> None:
        try:
            import psycopg
        except ImportError:
            raise MissingExtra("psycopg", "postgres", "a store of events on PostgreSQL") from None
        self._psycopg, self._address = psycopg, address
        self._write_lock, self._read_lock = threading.Lock(), threading.Lock()
        self._connections: dict[str, psycopg.Connection[Any]] = {}
        self._closed = False
        self._place = "postgresql"
        with self._speaking():
            try:
                self._prepare(create)
            except BaseException:
                self._disconnect()
                raise

    @property
    def place(self) -> str:
        """Host, port and database."""
        return self._place

    def append(self, events: Sequence[Event]) -> Outcome:
        """Keep events; each id once. On the server's disk when it returns."""
        return append_to(self, events)

    def write(self, batches: Sequence[Batch]) -> list[Outcome]:
        """Keep checked batches in one transaction."""
        with self._transaction() as connection:
            shown = [impression_row(s, _safe) for batch in batches for s in batch.impressions]
            if shown:
                connection.execute(_SHOW, _columns(shown, 7))
            return _insert(connection, batches)

    def since(self, sequence: int, limit: int = PAGE) -> list[Stored]:
        """The next events after a sequence, in order."""
        rows = self._rows(f"{_EVENTS} WHERE sequence > %s ORDER BY sequence LIMIT %s", sequence, limit)
        return [Stored(row[0], event_of(row, _plain)) for row in rows]

    def of_user(self, user_id: str, limit: int = PAGE) -> list[Stored]:
        """A user's last events, the last kept first."""
        query = f"{_EVENTS} WHERE user_id = %s ORDER BY sequence DESC LIMIT %s"
        return [Stored(row[0], event_of(row, _plain)) for row in self._rows(query, _safe(user_id), limit)]

    def last(self) -> int:
        """The sequence of the last event; 0 where there is none."""
        return int(self._rows("SELECT coalesce(max(sequence), 0) FROM shortlist_events")[0][0])

    def impressions(self, sequence: int = 0, limit: int = PAGE) -> list[Shown]:
        """The next impressions after a sequence, in order."""
        rows = self._rows(
            f"SELECT sequence, {', '.join(IMPRESSION)} FROM shortlist_impressions"
            " WHERE sequence > %s ORDER BY sequence LIMIT %s",
            sequence,
            limit,
        )
        return [Shown(row[0], impression_of(row, _plain)) for row in rows]

    def version(self) -> tuple[int, int]:
        """The last sequence and the epoch: a round trip to the server."""
        query = "SELECT coalesce(max(sequence), 0), (SELECT epoch FROM shortlist_store) FROM shortlist_events"
        last, epoch = self._rows(query)[0]
        return int(last), int(epoch)

    def epoch(self) -> int:
        """How often users were forgotten."""
        return int(self._rows("SELECT epoch FROM shortlist_store")[0][0])

    def forget(self, user_id: str) -> Forgotten:
        """Delete everything of a user; PostgreSQL overwrites it when it vacuums, its log and backups keep it
        as long as they are kept."""
        with self._transaction() as connection:
            gone = [
                connection.execute(f"DELETE FROM {table} WHERE user_id = %s", (_safe(user_id),)).rowcount
                for table in ("shortlist_events", "shortlist_impressions")
            ]
            connection.execute("UPDATE shortlist_store SET epoch = epoch + 1")
        return Forgotten(*gone)

    def count(self) -> int:
        """How many events there are."""
        return int(self._rows("SELECT count(*) FROM shortlist_events")[0][0])

    def stats(self) -> Stats:
        """What there is; reads everything once."""
        events, users, items, first, last = self._rows(_STATS)[0]
        kinds = self._rows("SELECT event, count(*) FROM shortlist_events GROUP BY event ORDER BY 2 DESC, 1")
        (shown,) = self._rows("SELECT count(*) FROM shortlist_impressions")[0]
        names = ("shortlist_events", "shortlist_impressions")
        size = sum(
            int(self._rows("SELECT pg_total_relation_size(%s::regclass)", name)[0][0]) for name in names
        )
        synced = self._rows("SELECT current_setting('fsync')")[0][0] == "on"
        of_kinds = {_plain(kind): int(n) for kind, n in kinds}
        return Stats(
            self.place, "postgres", VERSION, events, users, items, shown, of_kinds, first, last, size, synced
        )

    def check(self) -> None:
        """Read everything; PostgreSQL says where a page is damaged."""
        for table in ("shortlist_events", "shortlist_impressions"):
            self._rows(f"SELECT count(*), sum(length({table}::text)) FROM {table}")

    def close(self) -> None:
        """Close the connections."""
        with self._write_lock, self._read_lock:
            self._closed = True
            self._disconnect()

    # Connections

    def _disconnect(self) -> None:
        while self._connections:
            self._connections.popitem()[1].close()

    def _prepare(self, create: bool) -> None:
        connection = self._connection("writer")
        info = connection.info
        self._place = f"postgresql://{info.host}:{info.port}/{info.dbname}"
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            there = _one(connection, "SELECT to_regclass('shortlist_store') IS NOT NULL")
            if not there and not create:
                raise StoreError(
                    f"{self._place} holds no store of events", hint="the server makes it when it starts"
                )
            if not there:
                connection.execute(_SCHEMA)
            version = _one(connection, "SELECT version FROM shortlist_store")
        if version != VERSION:
            raise StoreVersion(
                f"{self._place} holds a store of events of version {version}, this Shortlist knows {VERSION}",
                hint="open it with the Shortlist that wrote it, or a later one",
            )

    def _connection(self, name: str) -> psycopg.Connection[Any]:
        found = self._connections.get(name)
        if found is None or found.closed:
            found = self._psycopg.connect(self._address, autocommit=True, connect_timeout=10)
            found.execute("SET synchronous_commit = on")
            found.execute("SET statement_timeout = '60s'")
            found.execute("SET default_transaction_isolation = 'read committed'")  # who waited sees what came
            if name == "reader":
                found.execute("SET default_transaction_read_only = on")
            self._connections[name] = found
        return found

    def _rows(self, query: str, *values: Any) -> list[Any]:
        with self._read_lock, self._speaking():
            return self._connection("reader").execute(query, values or None).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[psycopg.Connection[Any]]:
        with self._write_lock, self._speaking():
            connection = self._connection("writer")
            with connection.transaction():
                connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
                yield connection

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        """psycopg's errors as ours."""
        if self._closed:
            raise StoreError(f"{self.place}: this store was closed")
        try:
            yield
        except self._psycopg.errors.DiskFull as error:
            raise StoreFull(
                f"{self.place}: no room left: none of the events given was kept",
                hint="make room; what was acknowledged is safe",
            ) from error
        except self._psycopg.Error as error:
            first, *_ = str(error).splitlines() or [""]  # further lines may show rows, and so ids
            said = " ".join(first.split()) or type(error).__name__
            raise StoreError(
                f"{self.place}: {said}", hint="what was acknowledged before is safe; send the rest again"
            ) from error


def _one(connection: psycopg.Connection[Any], query: Any) -> Any:
    row = connection.execute(query).fetchone()
    return None if row is None else row[0]


def _insert(connection: psycopg.Connection[Any], batches: Sequence[Batch]) -> list[Outcome]:
    """All events of all batches in one statement; then those whose ids were known, told apart."""
    events = [event for batch in batches for event in batch.events]
    if not events:
        return [Outcome() for _ in batches]
    new = {row[0] for row in connection.execute(_INSERT, _columns([event_row(e, _safe) for e in events], 8))}
    again = [
        i for i, times in Counter(_safe(e.event_id) for e in events).items() if times > 1 or i not in new
    ]
    known: dict[str, Any] = {}
    if again:
        query = "SELECT event_id, user_id, item_id, event FROM shortlist_events WHERE event_id = ANY(%s)"
        known = {row[0]: row[1:] for row in connection.execute(query, (again,))}
    left = dict.fromkeys(new)
    return [_outcome(batch, left, known) for batch in batches]


def _outcome(batch: Batch, left: dict[str, None], known: dict[str, Any]) -> Outcome:
    """left: ids of new events nobody has been told of; the first event of such an id is the new one."""
    accepted, repeated, rejected = 0, 0, list[Rejected]()
    for index, event in enumerate(batch.events):
        if (key := _safe(event.event_id)) in left:
            del left[key]
            accepted += 1
            continue
        user, item, kind = map(_plain, known[key])
        if another := taken_by_another(index, event, (user, item, kind)):
            rejected.append(another)
        else:
            repeated += 1
    return Outcome(accepted, repeated, tuple(rejected))


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    return [[row[at] for row in rows] for at in range(width)]


def _safe(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\0", "\\0") if "\\" in text or "\0" in text else text


def _plain(text: str) -> str:
    if "\\" not in text:
        return text
    return "\\".join(part.replace("\\0", "\0") for part in text.split("\\\\"))
