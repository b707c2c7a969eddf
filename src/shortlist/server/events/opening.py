"""A store of events from what a person names: a path, or the address of a PostgreSQL database."""

from __future__ import annotations

from pathlib import Path

from shortlist.server.events.sqlite import SqliteStore
from shortlist.server.events.store import Store

ADDRESSES = ("postgresql://", "postgres://")


def open_store(place: str | Path, *, create: bool = True) -> Store:
    """The store at a path (one SQLite file) or an address (postgresql://user@host/database); made where
    there is none, unless create=False. Raises StoreError, and MissingExtra for an address without
    psycopg."""
    if isinstance(place, str) and place.startswith(ADDRESSES):
        from shortlist.server.events.postgres import PostgresStore

        return PostgresStore(place, create=create)
    return SqliteStore(place, create=create)
