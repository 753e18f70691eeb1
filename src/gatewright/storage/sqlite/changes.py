"""Change notifications between processes that share a SQLite file.

A write that other processes must see adds a row to ``changes`` in its own transaction. Each process polls
``PRAGMA data_version`` (a read of shared memory, a few microseconds) on a separate connection, and reads the rows only
if the version has changed. The hot path does no polling, and every process sees a change within the poll interval.
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
"""Retention of change rows, which lets a suspended process catch up."""


class ChangePoll:
    """Polls for changes by other processes and publishes them in this one.

    Args:
        engine: the engine of the shared database.
        changes: where changes are published.
        interval: seconds between polls, 0.1 to 0.25, so that changes arrive well within a second.
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
        """Record, within a write, that ``key`` of ``topic`` changed, for other processes."""
        now = time.time()
        row = connection.execute(
            "INSERT INTO changes (origin, topic, key, at) VALUES (?, ?, ?, ?)", (self.origin, topic, key, now)
        )
        if row.lastrowid is not None and row.lastrowid % 500 == 0:
            connection.execute("DELETE FROM changes WHERE at < ?", (now - KEEP_SECONDS,))

    def start(self) -> None:
        """Start polling, unless the database is in memory, where no other process can change it."""
        if self._engine.in_memory or self._task is not None:
            return
        connection = self._connection = self._engine.connect()
        self._last_id = _scalar(connection, "SELECT COALESCE(MAX(id), 0) FROM changes")
        self._version = _scalar(connection, "PRAGMA data_version")
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
                self.poll_once()
            except sqlite3.Error:
                # The file is busy or missing: the next poll finds any changes made in the meantime.
                self._version = -1

    def poll_once(self) -> None:
        """Publish the changes that other processes made since the last poll."""
        connection = self._connection
        if connection is None:
            return
        version = _scalar(connection, "PRAGMA data_version")
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


def _scalar(connection: sqlite3.Connection, sql: str) -> int:
    return int(connection.execute(sql).fetchone()[0])


class SqliteBase:
    """The engine and change log shared by the classes that implement the store's protocols."""

    engine: SqliteEngine
    changes: Changes
    poll: ChangePoll
