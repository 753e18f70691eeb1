"""The SQLite store, which implements every domain over one engine."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from gatewright.storage.changes import Changes
from gatewright.storage.sqlite.attempts import SqliteAttempts, SqliteOneTime, SqliteThrottles
from gatewright.storage.sqlite.audit import SqliteAudit
from gatewright.storage.sqlite.changes import ChangePoll, SqliteBase
from gatewright.storage.sqlite.engine import SqliteEngine
from gatewright.storage.sqlite.factors import SqliteDevices, SqliteFactors
from gatewright.storage.sqlite.feedback import SqliteFeedback
from gatewright.storage.sqlite.grants import SqliteGrants
from gatewright.storage.sqlite.incidents import SqliteIncidents, SqliteMeasures
from gatewright.storage.sqlite.keys import SqliteKeys
from gatewright.storage.sqlite.leases import SqliteAdjustments
from gatewright.storage.sqlite.migrations import migrate
from gatewright.storage.sqlite.sessions import SqliteRefresh
from gatewright.storage.sqlite.signing import SqliteApiKeys, SqliteSigning
from gatewright.storage.sqlite.tenants import SqliteInvitations, SqliteTenants
from gatewright.storage.sqlite.usage import SqliteUsage

DEMO_APPLICATION_ID = 0x6777_4465
"""The SQLite ``application_id`` of a demo store ("gwDe").

It needs no table, is copied with the file, and is shown by ``file gatewright.db``.
"""

_SEEDED_TABLES = frozenset({"schema_migrations", "audit_head"})
"""Tables that contain rows in a new database."""


class SqliteDemo(SqliteBase):
    """Implements DemoStore."""

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
    """Whether the database contains nothing but the schema."""
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    names = {row[0] for row in tables} - _SEEDED_TABLES
    # Quote the names, since the file may belong to another program.
    quoted = ('"' + name.replace('"', '""') + '"' for name in names)
    return not any(connection.execute(f"SELECT EXISTS (SELECT 1 FROM {name})").fetchone()[0] for name in quoted)  # noqa: S608 - quoted above


class SqliteStore(
    SqliteAudit,
    SqliteIncidents,
    SqliteMeasures,
    SqliteTenants,
    SqliteThrottles,
    SqliteRefresh,
    SqliteSigning,
    SqliteApiKeys,
    SqliteAttempts,
    SqliteDevices,
    SqliteFactors,
    SqliteFeedback,
    SqliteKeys,
    SqliteOneTime,
    SqliteGrants,
    SqliteAdjustments,
    SqliteInvitations,
    SqliteUsage,
    SqliteDemo,
):
    """The embedded store: one file, shared by several processes, without configuration.

    Args:
        path: the database file. Defaults to a private in-memory database.
        durable: see :class:`~gatewright.storage.sqlite.engine.SqliteEngine`.
        poll_interval: seconds between polls for changes by other processes, 0.1 to 0.25.
    """

    def __init__(self, path: str | Path = ":memory:", *, durable: bool = True, poll_interval: float = 0.15) -> None:
        self.engine = SqliteEngine(path, durable=durable)
        self.changes = Changes()
        self.poll = ChangePoll(self.engine, self.changes, interval=poll_interval)

    @property
    def durable(self) -> bool:
        """Whether data outlives the process."""
        return not self.engine.in_memory

    async def initialize(self) -> None:
        """Open the database and migrate its schema. Idempotent."""
        await self.engine.open(_prepare)
        self.poll.start()

    async def close(self) -> None:
        await self.poll.stop()
        await self.engine.close()
        self.close_ledger()

    async def __aenter__(self) -> SqliteStore:
        await self.initialize()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def check(self) -> None:
        """Run a trivial query, for readiness probes; raises StoreUnavailableError if the store is unavailable."""
        await self.engine.read(lambda connection: connection.execute("SELECT 1").fetchone())


def _prepare(connection: sqlite3.Connection) -> None:
    migrate(connection)
