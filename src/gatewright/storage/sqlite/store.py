"""SqliteStore: every slice over one engine."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from gatewright.storage.changes import Changes
from gatewright.storage.sqlite.adjustments import SqliteAdjustments
from gatewright.storage.sqlite.apikeys import SqliteApiKeys
from gatewright.storage.sqlite.attempts import SqliteAttempts
from gatewright.storage.sqlite.audit import SqliteAudit
from gatewright.storage.sqlite.changes import ChangePoll
from gatewright.storage.sqlite.demo import SqliteDemo
from gatewright.storage.sqlite.devices import SqliteDevices
from gatewright.storage.sqlite.engine import SqliteEngine
from gatewright.storage.sqlite.factors import SqliteFactors
from gatewright.storage.sqlite.feedback import SqliteFeedback
from gatewright.storage.sqlite.grants import SqliteGrants
from gatewright.storage.sqlite.incidents import SqliteIncidents
from gatewright.storage.sqlite.invitations import SqliteInvitations
from gatewright.storage.sqlite.keytransfer import SqliteKeyTransfer
from gatewright.storage.sqlite.measures import SqliteMeasures
from gatewright.storage.sqlite.migrations import migrate
from gatewright.storage.sqlite.onetime import SqliteOneTime
from gatewright.storage.sqlite.refresh import SqliteRefresh
from gatewright.storage.sqlite.signing import SqliteSigning
from gatewright.storage.sqlite.tenants import SqliteTenants
from gatewright.storage.sqlite.throttles import SqliteThrottles
from gatewright.storage.sqlite.usage import SqliteUsage


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
    SqliteKeyTransfer,
    SqliteOneTime,
    SqliteGrants,
    SqliteAdjustments,
    SqliteInvitations,
    SqliteUsage,
    SqliteDemo,
):
    """The embedded store: one file, several processes, nothing to configure.

    Args:
        path: the database file; the default is a private database in memory.
        durable: see :class:`~gatewright.storage.sqlite.engine.SqliteEngine`.
        poll_interval: seconds between looks for other processes' changes, 0.1 to 0.25.
    """

    def __init__(self, path: str | Path = ":memory:", *, durable: bool = True, poll_interval: float = 0.15) -> None:
        self.engine = SqliteEngine(path, durable=durable)
        self.changes = Changes()
        self.poll = ChangePoll(self.engine, self.changes, interval=poll_interval)

    @property
    def durable(self) -> bool:
        """Whether what is written outlives the process."""
        return not self.engine.in_memory

    async def initialize(self) -> None:
        """Open the file and bring its schema up to date; calling twice is harmless."""
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
        """Answer a trivial query, for readiness; raises StoreUnavailableError when the store does not."""
        await self.engine.read(lambda connection: connection.execute("SELECT 1").fetchone())


def _prepare(connection: sqlite3.Connection) -> None:
    migrate(connection)
