"""GCRA throttles in SQLite, for sign-in and MFA where several processes share only the store."""

from __future__ import annotations

import sqlite3
import time

from gatewright.storage.sqlite.base import SqliteBase
from gatewright.storage.throttle import Rate, ThrottleResult, decide


class SqliteThrottles(SqliteBase):
    """The Throttle slice. Wall time, since processes do not share a monotonic clock; one step is atomic."""

    async def throttle(self, key: str, rate: Rate, *, cost: int = 1) -> ThrottleResult:
        def work(connection: sqlite3.Connection) -> ThrottleResult:
            now = time.time()
            row = connection.execute("SELECT tat FROM throttles WHERE key = ?", (key,)).fetchone()
            # A clock set back must not lock a key for longer than one full period.
            tat = min(row[0], now + rate.period) if row else None
            result, following = decide(tat, now, rate, cost)
            if cost and result.allowed:
                connection.execute(
                    "INSERT INTO throttles (key, tat) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET tat = excluded.tat",
                    (key, following),
                )
                connection.execute(
                    "DELETE FROM throttles WHERE key IN (SELECT key FROM throttles WHERE tat < ? LIMIT 2)", (now,)
                )
            return result

        return await self.engine.write(work)

    async def clear_throttle(self, key: str) -> None:
        await self.engine.write(lambda c: c.execute("DELETE FROM throttles WHERE key = ?", (key,)).rowcount)
