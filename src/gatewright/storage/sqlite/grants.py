"""Grants and violations in SQLite."""

from __future__ import annotations

import sqlite3
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from gatewright.storage.sqlite.changes import SqliteBase
from gatewright.storage.tenants import PermissionViolation, StoredGrant

_COLUMNS = "grant_id, manufacturer_id, permission, effect, until, reason, author, created_at"
_UNREGISTERED = "SELECT tier FROM unregistered_tiers WHERE manufacturer_id = ?"
VIOLATION_RETENTION = timedelta(days=90)
MAX_VIOLATIONS = 1_000
"""Violations kept per manufacturer; a read never returns more."""


class SqliteGrants(SqliteBase):
    """Implements GrantStore."""

    async def set_tier(self, manufacturer_id: str, tier: str) -> str | None:
        def work(connection: sqlite3.Connection) -> str | None:
            now = time.time()
            previous = connection.execute(
                "SELECT tier FROM manufacturers WHERE manufacturer_id = ?", (manufacturer_id,)
            ).fetchone()
            if previous is not None:
                connection.execute(
                    "UPDATE manufacturers SET tier = ?, updated_at = ? WHERE manufacturer_id = ?",
                    (tier, now, manufacturer_id),
                )
            else:
                previous = connection.execute(_UNREGISTERED, (manufacturer_id,)).fetchone()
                connection.execute(
                    "INSERT OR REPLACE INTO unregistered_tiers (manufacturer_id, tier, updated_at) VALUES (?, ?, ?)",
                    (manufacturer_id, tier, now),
                )
            self.poll.record(connection, "manufacturer", manufacturer_id)
            return None if previous is None else str(previous[0])

        previous = await self.engine.write(work)
        self.changes.publish("manufacturer", manufacturer_id)
        return previous

    async def tier_of_unregistered(self, manufacturer_id: str) -> str | None:
        row = await self.engine.read(lambda c: c.execute(_UNREGISTERED, (manufacturer_id,)).fetchone())
        return None if row is None else str(row[0])

    async def announce(self, topic: str, key: str) -> None:
        await self.engine.write(lambda connection: self.poll.record(connection, topic, key))
        self.changes.publish(topic, key)

    async def add_grant(self, grant: StoredGrant) -> None:
        row = (
            grant.grant_id,
            grant.manufacturer_id,
            grant.permission,
            grant.effect,
            grant.until.timestamp() if grant.until else None,
            grant.reason,
            grant.author,
            grant.created_at.timestamp(),
        )

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(f"INSERT INTO grants ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)  # noqa: S608 - constant
            self.poll.record(connection, "grants", grant.manufacturer_id)

        await self.engine.write(work)
        self.changes.publish("grants", grant.manufacturer_id)

    async def revoke_grant(self, grant_id: str, at: datetime) -> StoredGrant | None:
        moment = at.timestamp()
        sql = f"""UPDATE grants SET revoked_at = ? WHERE grant_id = ? AND revoked_at IS NULL
                  AND (until IS NULL OR until > ?) RETURNING {_COLUMNS}"""  # noqa: S608 - constant

        def work(connection: sqlite3.Connection) -> StoredGrant | None:
            row = connection.execute(sql, (moment, grant_id, moment)).fetchone()
            if row is None:
                return None
            self.poll.record(connection, "grants", row[1])
            return _grant(row)

        revoked = await self.engine.write(work)
        if revoked is not None:
            self.changes.publish("grants", revoked.manufacturer_id)
        return revoked

    async def grants_of(self, manufacturer_id: str, at: datetime) -> list[StoredGrant]:
        sql = f"""SELECT {_COLUMNS} FROM grants WHERE manufacturer_id = ? AND revoked_at IS NULL
                  AND (until IS NULL OR until > ?) ORDER BY created_at, grant_id"""  # noqa: S608 - constant
        values = (manufacturer_id, at.timestamp())
        return await self.engine.read(lambda c: [_grant(row) for row in c.execute(sql, values)])

    async def add_violation(self, violation: PermissionViolation) -> None:
        row = (
            violation.manufacturer_id,
            violation.permission,
            violation.tier,
            violation.operation_context,
            violation.ip_address,
            violation.timestamp.timestamp(),
        )
        oldest = (violation.timestamp - VIOLATION_RETENTION).timestamp()

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                """INSERT INTO permission_violations
                   (manufacturer_id, permission, tier, operation_context, ip_address, at) VALUES (?, ?, ?, ?, ?, ?)""",
                row,
            )
            connection.execute(
                """DELETE FROM permission_violations WHERE manufacturer_id = ?1 AND (at < ?2 OR (at, id) <= (
                   SELECT at, id FROM permission_violations WHERE manufacturer_id = ?1
                   ORDER BY at DESC, id DESC LIMIT 1 OFFSET ?3))""",
                (row[0], oldest, MAX_VIOLATIONS),
            )

        await self.engine.write(work)

    async def violations_of(self, manufacturer_id: str, *, since: datetime) -> list[PermissionViolation]:
        sql = """SELECT manufacturer_id, permission, tier, operation_context, ip_address, at
                 FROM permission_violations WHERE manufacturer_id = ? AND at >= ?
                 ORDER BY at DESC, id DESC LIMIT ?"""
        rows = await self.engine.read(
            lambda c: c.execute(sql, (manufacturer_id, since.timestamp(), MAX_VIOLATIONS)).fetchall()
        )
        return [
            PermissionViolation(
                manufacturer_id=owner,
                permission=permission,
                tier=tier,
                operation_context=context,
                ip_address=ip,
                timestamp=_time(at),
            )
            for owner, permission, tier, context, ip, at in rows
        ]


def _grant(row: tuple[Any, ...]) -> StoredGrant:
    return StoredGrant(
        grant_id=row[0],
        manufacturer_id=row[1],
        permission=row[2],
        effect=row[3],
        until=_time(row[4]) if row[4] is not None else None,
        reason=row[5],
        author=row[6],
        created_at=_time(row[7]),
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
