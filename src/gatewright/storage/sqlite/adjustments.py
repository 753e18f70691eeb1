"""Adjustments in SQLite."""

from __future__ import annotations

import sqlite3
import time
from datetime import UTC, datetime
from typing import Any

from gatewright.storage.adjustments import StoredAdjustment
from gatewright.storage.sqlite.base import SqliteBase

_COLUMNS = (
    "suggestion_id, manufacturer_id, kind, subject, status, former, grant_id, until, author, created_at, changed_at"
)


class SqliteAdjustments(SqliteBase):
    """The AdjustmentStore slice."""

    async def propose_adjustment(self, adjustment: StoredAdjustment) -> None:
        sql = (
            f"INSERT INTO adjustments ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - constant
            " ON CONFLICT (suggestion_id) DO UPDATE SET status = 'proposed', former = NULL, grant_id = NULL,"
            " until = NULL, author = NULL, changed_at = excluded.changed_at WHERE status != 'applied'"
        )
        await self.engine.write(lambda c: c.execute(sql, _row(adjustment)).rowcount)

    async def get_adjustment(self, suggestion_id: str) -> StoredAdjustment | None:
        sql = f"SELECT {_COLUMNS} FROM adjustments WHERE suggestion_id = ?"  # noqa: S608 - constant
        row = await self.engine.read(lambda c: c.execute(sql, (suggestion_id,)).fetchone())
        return None if row is None else _adjustment(row)

    async def list_adjustments(
        self, manufacturer_id: str | None = None, *, status: str | None = None, limit: int = 1_000
    ) -> list[StoredAdjustment]:
        sql = (
            f"SELECT {_COLUMNS} FROM adjustments WHERE (?1 IS NULL OR manufacturer_id = ?1)"  # noqa: S608 - constant
            " AND (?2 IS NULL OR status = ?2) ORDER BY changed_at DESC, suggestion_id LIMIT ?3"
        )
        values = (manufacturer_id, status, limit)
        return await self.engine.read(lambda c: [_adjustment(row) for row in c.execute(sql, values)])

    async def change_adjustment(self, adjustment: StoredAdjustment, *, expected: str) -> bool:
        sql = (
            "UPDATE adjustments SET status = ?, former = ?, grant_id = ?, until = ?, author = ?, changed_at = ?"
            " WHERE suggestion_id = ? AND status = ?"
        )
        row = _row(adjustment)
        values = (*row[4:9], row[10], adjustment.suggestion_id, expected)

        def work(connection: sqlite3.Connection) -> bool:
            changed = connection.execute(sql, values).rowcount == 1
            if changed:
                self.poll.record(connection, "grants", adjustment.manufacturer_id)
            return changed

        changed = await self.engine.write(work)
        if changed:
            self.changes.publish("grants", adjustment.manufacturer_id)
        return changed

    async def replace_tier(self, manufacturer_id: str, *, expected: str | None, tier: str | None) -> bool:
        def work(connection: sqlite3.Connection) -> bool:
            changed = _replace_tier(connection, manufacturer_id, expected, tier)
            if changed:
                self.poll.record(connection, "manufacturer", manufacturer_id)
            return changed

        changed = await self.engine.write(work)
        if changed:
            self.changes.publish("manufacturer", manufacturer_id)
        return changed

    async def note_permission_use(self, manufacturer_id: str, permission: str, day: int) -> None:
        sql = (
            "INSERT INTO permission_use VALUES (?1, ?2, ?3, ?3) ON CONFLICT (manufacturer_id, permission)"
            " DO UPDATE SET last_day = MAX(last_day, excluded.last_day)"
        )
        await self.engine.write(lambda c: c.execute(sql, (manufacturer_id, permission, day)).rowcount)

    async def permission_use(self, manufacturer_id: str) -> dict[str, tuple[int, int]]:
        sql = "SELECT permission, first_day, last_day FROM permission_use WHERE manufacturer_id = ?"
        rows = await self.engine.read(lambda c: c.execute(sql, (manufacturer_id,)).fetchall())
        return {permission: (first, last) for permission, first, last in rows}


def _replace_tier(connection: sqlite3.Connection, manufacturer_id: str, expected: str | None, tier: str | None) -> bool:
    now = time.time()
    registered = connection.execute(
        "SELECT tier FROM manufacturers WHERE manufacturer_id = ?", (manufacturer_id,)
    ).fetchone()
    if registered is not None:
        if registered[0] != expected or tier is None:
            return False
        connection.execute(
            "UPDATE manufacturers SET tier = ?, updated_at = ? WHERE manufacturer_id = ?", (tier, now, manufacturer_id)
        )
        return True
    row = connection.execute(
        "SELECT tier FROM unregistered_tiers WHERE manufacturer_id = ?", (manufacturer_id,)
    ).fetchone()
    if (None if row is None else row[0]) != expected:
        return False
    if tier is None:
        connection.execute("DELETE FROM unregistered_tiers WHERE manufacturer_id = ?", (manufacturer_id,))
    else:
        connection.execute("INSERT OR REPLACE INTO unregistered_tiers VALUES (?, ?, ?)", (manufacturer_id, tier, now))
    return True


def _row(a: StoredAdjustment) -> tuple[Any, ...]:
    return (
        a.suggestion_id,
        a.manufacturer_id,
        a.kind,
        a.subject,
        a.status,
        a.former,
        a.grant_id,
        None if a.until is None else a.until.timestamp(),
        a.author,
        a.created_at.timestamp(),
        a.changed_at.timestamp(),
    )


def _adjustment(row: tuple[Any, ...]) -> StoredAdjustment:
    return StoredAdjustment(
        suggestion_id=row[0],
        manufacturer_id=row[1],
        kind=row[2],
        subject=row[3],
        status=row[4],
        former=row[5],
        grant_id=row[6],
        until=None if row[7] is None else datetime.fromtimestamp(row[7], UTC),
        author=row[8],
        created_at=datetime.fromtimestamp(row[9], UTC),
        changed_at=datetime.fromtimestamp(row[10], UTC),
    )
