"""API keys in SQLite."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from typing import Any

import msgspec

from gatewright.storage.apikeys import StoredApiKey
from gatewright.storage.sqlite.base import SqliteBase

TOPIC = "api_key"

_FIELDS = (
    "key_id, manufacturer_id, account_id, name, secret_hash, permissions, created_at, expires_at, last_used_at,"
    " revoked_at, replaces"
)
_INSERT = f"INSERT INTO api_keys ({_FIELDS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - constant


class SqliteApiKeys(SqliteBase):
    """The ApiKeyStore slice."""

    async def add_api_key(self, key: StoredApiKey, *, limit: int) -> bool:
        def work(connection: sqlite3.Connection) -> bool:
            sql = "SELECT COUNT(*) FROM api_keys WHERE manufacturer_id = ? AND revoked_at IS NULL"
            if connection.execute(sql, (key.manufacturer_id,)).fetchone()[0] >= limit:
                return False
            connection.execute(_INSERT, _row(key))
            return True

        return await self.engine.write(work)

    async def rotate_api_key(self, key: StoredApiKey, *, old_expires_at: datetime) -> bool:
        def work(connection: sqlite3.Connection) -> bool:
            ended = connection.execute(
                "UPDATE api_keys SET expires_at = MIN(COALESCE(expires_at, 1e12), ?)"
                " WHERE key_id = ? AND manufacturer_id = ? AND revoked_at IS NULL"
                " AND NOT EXISTS (SELECT 1 FROM api_keys AS newer WHERE newer.replaces = api_keys.key_id)",
                (old_expires_at.timestamp(), key.replaces, key.manufacturer_id),
            )
            if ended.rowcount != 1:
                return False
            connection.execute(_INSERT, _row(key))
            self.poll.record(connection, TOPIC, str(key.replaces))
            return True

        rotated = await self.engine.write(work)
        if rotated:
            self.changes.publish(TOPIC, str(key.replaces))
        return rotated

    async def get_api_key(self, key_id: str) -> StoredApiKey | None:
        sql = f"SELECT {_FIELDS} FROM api_keys WHERE key_id = ?"  # noqa: S608 - constant
        row = await self.engine.read(lambda c: c.execute(sql, (key_id,)).fetchone())
        return _key(row) if row else None

    async def list_api_keys(self, manufacturer_id: str) -> list[StoredApiKey]:
        sql = f"SELECT {_FIELDS} FROM api_keys WHERE manufacturer_id = ? ORDER BY created_at DESC, key_id"  # noqa: S608 - constant
        return await self.engine.read(lambda c: [_key(row) for row in c.execute(sql, (manufacturer_id,))])

    async def touch_api_key(self, key_id: str, *, now: datetime) -> None:
        sql = "UPDATE api_keys SET last_used_at = ? WHERE key_id = ?"
        await self.engine.write(lambda c: c.execute(sql, (now.timestamp(), key_id)).rowcount)

    async def revoke_api_key(self, key_id: str, *, now: datetime) -> bool:
        def work(connection: sqlite3.Connection) -> bool:
            sql = "UPDATE api_keys SET revoked_at = ? WHERE key_id = ? AND revoked_at IS NULL"
            if connection.execute(sql, (now.timestamp(), key_id)).rowcount != 1:
                return False
            self.poll.record(connection, TOPIC, key_id)
            return True

        revoked = await self.engine.write(work)
        if revoked:
            self.changes.publish(TOPIC, key_id)
        return revoked


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _row(key: StoredApiKey) -> tuple[Any, ...]:
    return (
        key.key_id,
        key.manufacturer_id,
        key.account_id,
        key.name,
        key.secret_hash,
        msgspec.json.encode(key.permissions).decode(),
        key.created_at.timestamp(),
        _seconds(key.expires_at),
        _seconds(key.last_used_at),
        _seconds(key.revoked_at),
        key.replaces,
    )


def _key(row: tuple[Any, ...]) -> StoredApiKey:
    return StoredApiKey(
        key_id=row[0],
        manufacturer_id=row[1],
        account_id=row[2],
        name=row[3],
        secret_hash=row[4],
        permissions=tuple(msgspec.json.decode(row[5])),
        created_at=datetime.fromtimestamp(row[6], UTC),
        expires_at=_time(row[7]),
        last_used_at=_time(row[8]),
        revoked_at=_time(row[9]),
        replaces=row[10],
    )
