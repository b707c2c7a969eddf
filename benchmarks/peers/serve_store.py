"""Events of a peer's server: SQLite with an fsync each group, acknowledged after it, as ours has it.

Standard library alone, so that every peer's environment can run it.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from typing import Any

_TABLE = """
CREATE TABLE events (event_id TEXT PRIMARY KEY, user_id TEXT, item_id TEXT, rating REAL, timestamp INTEGER)
"""
_INSERT = "INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?)"


class Store:
    """One thread writes what waits in one transaction; tasks wait for it."""

    def __init__(self, path: str) -> None:
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute(_TABLE)
        self._waiting: list[tuple[tuple[Any, ...], asyncio.Future[None], asyncio.AbstractEventLoop]] = []
        self._change = threading.Condition()
        threading.Thread(target=self._run, daemon=True).start()

    async def append(self, row: tuple[Any, ...]) -> None:
        """Keep an event: event_id, user_id, item_id, rating, timestamp. On disk when it returns."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self._change:
            self._waiting.append((row, future, loop))
            self._change.notify()
        await future

    def _run(self) -> None:
        while True:
            with self._change:
                while not self._waiting:
                    self._change.wait()
                group, self._waiting = self._waiting, []
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(_INSERT, [row for row, _, _ in group])
            self._connection.execute("COMMIT")
            futures = [future for _, future, _ in group]
            group[0][2].call_soon_threadsafe(_settle, futures)


def _settle(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)
