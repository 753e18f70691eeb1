"""The demo's marker in SQLite: an application id in the header of the database file.

It needs no table, is copied with the file, and ``file gatewright.db`` shows it.
"""

from __future__ import annotations

import sqlite3

from gatewright.storage.sqlite.base import SqliteBase

DEMO_APPLICATION_ID = 0x6777_4465
""""gwDe"."""

_MADE_WITH_THE_SCHEMA = frozenset({"schema_migrations", "audit_head"})
"""Tables that have rows in a new database."""


class SqliteDemo(SqliteBase):
    """The DemoStore slice."""

    async def claim_for_demo(self) -> bool:
        def work(connection: sqlite3.Connection) -> bool:
            if _is_marked(connection):
                return True
            if not _is_empty(connection):
                return False
            connection.execute(f"PRAGMA application_id = {DEMO_APPLICATION_ID}")
            return True

        return await self.engine.write(work)

    async def is_demo(self) -> bool:
        return await self.engine.read(_is_marked)


def _is_marked(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("PRAGMA application_id").fetchone()[0] == DEMO_APPLICATION_ID)


def _is_empty(connection: sqlite3.Connection) -> bool:
    """Whether nothing was ever written but the schema."""
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    names = {row[0] for row in tables} - _MADE_WITH_THE_SCHEMA
    # Quoted because the file may belong to another program.
    quoted = ('"' + name.replace('"', '""') + '"' for name in names)
    return not any(connection.execute(f"SELECT EXISTS (SELECT 1 FROM {name})").fetchone()[0] for name in quoted)  # noqa: S608 - quoted above
