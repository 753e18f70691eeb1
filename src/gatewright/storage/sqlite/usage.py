"""Usage in SQLite: each take is one step of the writer's transaction."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime

from gatewright.storage.sqlite.base import SqliteBase
from gatewright.storage.usage import OverageAttempt, StoredUsage, TakeOutcome, UsageTake

DAY = 86_400
ATTEMPTS_KEPT = 90 * DAY
"""Seconds for which refusals are kept."""

_USED = "SELECT COALESCE(SUM(used), 0) FROM usage WHERE manufacturer_id = ? AND resource = ? AND bucket >= ?"
_ADD = """
INSERT INTO usage (manufacturer_id, resource, bucket, used) VALUES (?, ?, ?, ?)
ON CONFLICT (manufacturer_id, resource, bucket) DO UPDATE SET used = used + excluded.used
"""
_ADD_DAY = """
INSERT INTO usage_days (manufacturer_id, resource, day, used) VALUES (?, ?, ?, ?)
ON CONFLICT (manufacturer_id, resource, day) DO UPDATE SET used = used + excluded.used
"""
_ATTEMPT = "INSERT INTO overage_attempts (manufacturer_id, resource, amount, used, quota, at) VALUES (?, ?, ?, ?, ?, ?)"


class SqliteUsage(SqliteBase):
    """The UsageStore slice."""

    async def take_usage(self, manufacturer_id: str, takes: tuple[UsageTake, ...], at: datetime) -> TakeOutcome:
        moment = at.timestamp()
        day = int(moment) // DAY * DAY

        def work(connection: sqlite3.Connection) -> TakeOutcome:
            used = _read(connection, manufacturer_id, takes)
            for take, before in zip(takes, used, strict=True):
                if take.limit >= 0 and before + take.amount > take.limit:
                    row = (manufacturer_id, take.resource, take.amount, before, take.limit, moment)
                    connection.execute(_ATTEMPT, row)
                    _forget_old_attempts(connection, manufacturer_id, moment)
                    return TakeOutcome(granted=False, used=used, refused=take.resource)
            for take in takes:
                connection.execute(_ADD, (manufacturer_id, take.resource, take.bucket, take.amount))
                connection.execute(_ADD_DAY, (manufacturer_id, take.resource, day, take.amount))
            after = tuple(before + take.amount for take, before in zip(takes, used, strict=True))
            return TakeOutcome(granted=True, used=after)

        return await self.engine.write(work)

    async def read_usage(self, manufacturer_id: str, takes: tuple[UsageTake, ...]) -> tuple[int, ...]:
        return await self.engine.read(lambda connection: _read(connection, manufacturer_id, takes))

    async def refund_usage(self, manufacturer_id: str, take: UsageTake, at: datetime) -> int:
        day = int(at.timestamp()) // DAY * DAY

        def work(connection: sqlite3.Connection) -> int:
            lower = "SET used = MAX(0, used - ?) WHERE manufacturer_id = ? AND resource = ?"
            key = (take.amount, manufacturer_id, take.resource)
            connection.execute(f"UPDATE usage {lower} AND bucket = ?", (*key, take.bucket))
            connection.execute(f"UPDATE usage_days {lower} AND day = ?", (*key, day))
            return _read(connection, manufacturer_id, (take,))[0]

        return await self.engine.write(work)

    async def reset_usage(self, manufacturer_id: str | None, *, since: int) -> int:
        sql = "UPDATE usage SET kept = kept + used, used = 0 WHERE used > 0 AND bucket >= ?"
        values: tuple[int | str, ...] = (since,)
        if manufacturer_id is not None:
            sql, values = sql + " AND manufacturer_id = ?", (since, manufacturer_id)
        return await self.engine.write(lambda connection: connection.execute(sql, values).rowcount)

    async def usage_history(self, manufacturer_id: str) -> list[StoredUsage]:
        sql = "SELECT resource, bucket, used + kept FROM usage WHERE manufacturer_id = ? ORDER BY bucket, resource"
        return await self._list(sql, (manufacturer_id,))

    async def usage_days(self, manufacturer_id: str, *, since: int) -> list[StoredUsage]:
        sql = "SELECT resource, day, used FROM usage_days WHERE manufacturer_id = ? AND day >= ? ORDER BY day, resource"
        return await self._list(sql, (manufacturer_id, since))

    async def overage_attempts(self, manufacturer_id: str, *, since: datetime) -> list[OverageAttempt]:
        sql = """SELECT manufacturer_id, resource, amount, used, quota, at FROM overage_attempts
                 WHERE manufacturer_id = ? AND at >= ? ORDER BY at DESC, id DESC LIMIT 1000"""
        rows = await self.engine.read(lambda c: c.execute(sql, (manufacturer_id, since.timestamp())).fetchall())
        return [
            OverageAttempt(
                manufacturer_id=owner,
                resource=resource,
                amount=amount,
                current=used,
                limit=quota,
                timestamp=datetime.fromtimestamp(at, UTC),
            )
            for owner, resource, amount, used, quota, at in rows
        ]

    async def _list(self, sql: str, values: tuple[int | str, ...]) -> list[StoredUsage]:
        rows = await self.engine.read(lambda c: c.execute(sql, values).fetchall())
        return [StoredUsage(resource=resource, start=start, used=used) for resource, start, used in rows]


def _read(connection: sqlite3.Connection, manufacturer_id: str, takes: tuple[UsageTake, ...]) -> tuple[int, ...]:
    return tuple(
        connection.execute(_USED, (manufacturer_id, take.resource, take.since)).fetchone()[0] for take in takes
    )


def _forget_old_attempts(connection: sqlite3.Connection, manufacturer_id: str, now: float) -> None:
    """Someone who asks in vain for ever must not fill the disk: a bounded number of recent refusals stays."""
    connection.execute(
        """DELETE FROM overage_attempts WHERE manufacturer_id = ?1 AND (at < ?2 OR id <= (
               SELECT id FROM overage_attempts WHERE manufacturer_id = ?1
               ORDER BY at DESC, id DESC LIMIT 1 OFFSET 5000))""",
        (manufacturer_id, now - ATTEMPTS_KEPT),
    )
