"""The tables of an embedded store, step by step: a file of an older version takes the steps it lacks."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shortlist.server.events.trouble import StoreCorrupted, StoreVersion

APPLICATION = 0x534C4556
"""SQLite's application_id, by which a file is known as a store of events ("SLEV")."""

STEPS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE events (
            sequence INTEGER PRIMARY KEY AUTOINCREMENT,
            event_id TEXT NOT NULL UNIQUE,
            user_id TEXT NOT NULL,
            item_id TEXT NOT NULL,
            event TEXT NOT NULL,
            rating REAL,
            weight REAL,
            timestamp INTEGER NOT NULL,
            context TEXT
        )""",
        "CREATE INDEX events_of_user ON events (user_id, sequence)",
    ),
    (
        """CREATE TABLE impressions (
            sequence INTEGER PRIMARY KEY AUTOINCREMENT,
            request_id TEXT NOT NULL UNIQUE,
            user_id TEXT NOT NULL,
            items TEXT NOT NULL,
            propensity TEXT,
            bundle TEXT NOT NULL,
            variant TEXT NOT NULL,
            timestamp INTEGER NOT NULL
        )""",
        "CREATE INDEX impressions_of_user ON impressions (user_id, sequence)",
        "CREATE TABLE epochs (count INTEGER NOT NULL)",
        "INSERT INTO epochs VALUES (0)",
    ),
)
"""What brings version n to n + 1. Never changed once released: a new version is a new step."""
VERSION = len(STEPS)


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Bring a file to this version, wholly or not at all; an empty one becomes a store.

    Raises StoreCorrupted for a file that is something else, StoreVersion for one of a later version.
    """
    with _transaction(connection, "DEFERRED"):  # one view of the file: others may be preparing it
        current = _version(connection, path) == VERSION
    if current:
        return
    with _transaction(connection, "IMMEDIATE"):
        for step in STEPS[_version(connection, path) :]:
            for statement in step:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {VERSION}")


@contextmanager
def _transaction(connection: sqlite3.Connection, kind: str) -> Iterator[None]:
    connection.execute(f"BEGIN {kind}")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """The steps a file has taken; within a transaction, since it asks more than once."""
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not owner and not version and not tables:
        return 0
    if owner != APPLICATION:
        raise StoreCorrupted(
            f"{path} is a database of another program, not a store of events", hint="give another path"
        )
    if version > VERSION:
        raise StoreVersion(
            f"{path} is a store of events of version {version}, this Shortlist knows {VERSION}",
            hint="open it with the Shortlist that wrote it, or a later one",
        )
    return int(version)
