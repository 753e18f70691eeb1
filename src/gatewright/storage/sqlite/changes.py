"""Change notices between processes that share a SQLite file.

A write that others must notice adds a row to ``changes`` in its own transaction. Every process asks
``PRAGMA data_version`` (a read of shared memory, a few microseconds) on a connection of its own, and looks
at the rows only when that moved. So the hot path asks nothing, and a change is known everywhere within the
poll's interval.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import sqlite3
import time

from gatewright.storage.changes import Changes
from gatewright.storage.sqlite.engine import SqliteEngine

KEEP_SECONDS = 3600.0
"""How long rows stay for a process that was stopped (a suspended laptop) to catch up with."""


class ChangePoll:
    """Reads other processes' rows and publishes them here.

    Args:
        interval: seconds between two looks, 0.1 to 0.25 so that a second is never reached.
    """

    def __init__(self, engine: SqliteEngine, changes: Changes, *, interval: float = 0.15) -> None:
        self.origin = secrets.token_hex(8)
        self._engine = engine
        self._changes = changes
        self._interval = interval
        self._connection: sqlite3.Connection | None = None
        self._version = -1
        self._last_id = 0
        self._task: asyncio.Task[None] | None = None

    def record(self, connection: sqlite3.Connection, topic: str, key: str) -> None:
        """Within a write: let other processes know that ``key`` of ``topic`` changed."""
        now = time.time()
        row = connection.execute(
            "INSERT INTO changes (origin, topic, key, at) VALUES (?, ?, ?, ?)", (self.origin, topic, key, now)
        )
        if row.lastrowid is not None and row.lastrowid % 500 == 0:
            connection.execute("DELETE FROM changes WHERE at < ?", (now - KEEP_SECONDS,))

    def start(self) -> None:
        """Begin to look; a private in-memory database is seen by no other process."""
        if self._engine.in_memory or self._task is not None:
            return
        connection = self._connection = self._engine.connect()
        self._last_id = _number(connection, "SELECT COALESCE(MAX(id), 0) FROM changes")
        self._version = _number(connection, "PRAGMA data_version")
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            try:
                self.look()
            except sqlite3.Error:
                # The file is busy or away: whatever changed meanwhile is found at the next look.
                self._version = -1

    def look(self) -> None:
        """Publish what others changed since the last look."""
        connection = self._connection
        if connection is None:
            return
        version = _number(connection, "PRAGMA data_version")
        if version == self._version:
            return
        rows = connection.execute(
            "SELECT id, origin, topic, key FROM changes WHERE id > ? ORDER BY id", (self._last_id,)
        ).fetchall()
        self._version = version
        for number, origin, topic, key in rows:
            self._last_id = number
            if origin != self.origin:
                self._changes.publish(topic, key)


def _number(connection: sqlite3.Connection, sql: str) -> int:
    return int(connection.execute(sql).fetchone()[0])


class SqliteBase:
    """Holds the engine and the change log; slices add methods."""

    engine: SqliteEngine
    changes: Changes
    poll: ChangePoll
