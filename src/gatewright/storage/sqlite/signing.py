"""Signing keys and API keys in SQLite."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from typing import Any

import msgspec

from gatewright.storage.credentials import StoredApiKey
from gatewright.storage.keys import Revocation, RevocationKind, StoredSigningKey
from gatewright.storage.sqlite.changes import SqliteBase

_KEY = "kid, algorithm, sealed, created_at, retired_at, expires_at, latest_token"
_REVOCATION = "number, kind, subject, before_ms, expires_at"


class SqliteSigning(SqliteBase):
    """Implements SigningStore."""

    async def list_signing_keys(self) -> list[StoredSigningKey]:
        sql = f"SELECT {_KEY} FROM signing_keys ORDER BY created_at, rowid"  # noqa: S608 - constant
        return await self.engine.read(lambda c: [_signing_key(row) for row in c.execute(sql)])

    async def add_signing_key(
        self, key: StoredSigningKey, *, replaces: str | None, now: datetime, verify_seconds: float
    ) -> bool:
        def work(connection: sqlite3.Connection) -> bool:
            row = connection.execute("SELECT kid FROM signing_keys WHERE retired_at IS NULL").fetchone()
            if (row[0] if row else None) != replaces:
                return False
            connection.execute(
                "UPDATE signing_keys SET retired_at = :now, expires_at = MAX(:until, COALESCE(latest_token, 0))"
                " WHERE retired_at IS NULL",
                {"now": now.timestamp(), "until": now.timestamp() + verify_seconds},
            )
            connection.execute(
                "INSERT INTO signing_keys (kid, algorithm, sealed, created_at, latest_token) VALUES (?, ?, ?, ?, ?)",
                (key.kid, key.algorithm, key.sealed, key.created_at.timestamp(), _seconds(key.latest_token)),
            )
            self.poll.record(connection, "signing_keys", key.kid)
            return True

        added = await self.engine.write(work)
        if added:
            self.changes.publish("signing_keys", key.kid)
        return added

    async def note_token_expiry(self, kid: str, expires_at: datetime) -> None:
        sql = (
            "UPDATE signing_keys SET latest_token = MAX(COALESCE(latest_token, 0), :at),"
            " expires_at = CASE WHEN expires_at IS NULL THEN NULL ELSE MAX(expires_at, :at) END WHERE kid = :kid"
        )
        await self.engine.write(lambda c: c.execute(sql, {"at": expires_at.timestamp(), "kid": kid}).rowcount)

    async def delete_signing_keys(self, *, now: datetime) -> list[str]:
        def work(connection: sqlite3.Connection) -> list[str]:
            sql = "DELETE FROM signing_keys WHERE retired_at IS NOT NULL AND expires_at <= ? RETURNING kid"
            deleted = [row[0] for row in connection.execute(sql, (now.timestamp(),)).fetchall()]
            for kid in deleted:
                self.poll.record(connection, "signing_keys", kid)
            return deleted

        deleted = await self.engine.write(work)
        for kid in deleted:
            self.changes.publish("signing_keys", kid)
        return deleted

    async def add_revocation(self, revocation: Revocation) -> Revocation:
        expires_at = revocation.expires_at.timestamp()
        change = f"{revocation.kind}:{revocation.before_ms}:{expires_at}:{revocation.subject}"

        def work(connection: sqlite3.Connection) -> Revocation:
            row = connection.execute(
                "INSERT INTO revocations (kind, subject, before_ms, expires_at) VALUES (?, ?, ?, ?)",
                (revocation.kind, revocation.subject, revocation.before_ms, expires_at),
            )
            self.poll.record(connection, "token", change)
            return msgspec.structs.replace(revocation, number=row.lastrowid or 0)

        added = await self.engine.write(work)
        self.changes.publish("token", change)
        return added

    async def revocations_since(self, number: int, *, now: datetime, limit: int) -> list[Revocation]:
        sql = f"SELECT {_REVOCATION} FROM revocations WHERE number > ? AND expires_at > ? ORDER BY number LIMIT ?"  # noqa: S608 - constant
        values = (number, now.timestamp(), limit)
        return await self.engine.read(lambda c: [_revocation(row) for row in c.execute(sql, values)])

    async def is_token_revoked(self, jti: str) -> bool:
        sql = "SELECT 1 FROM revocations WHERE subject = ? AND kind = ?"
        values = (jti, RevocationKind.TOKEN.value)
        return await self.engine.read(lambda c: c.execute(sql, values).fetchone() is not None)

    async def delete_expired_revocations(self, *, now: datetime) -> int:
        sql = "DELETE FROM revocations WHERE expires_at <= ?"
        return await self.engine.write(lambda c: c.execute(sql, (now.timestamp(),)).rowcount)


def _signing_key(row: tuple[Any, ...]) -> StoredSigningKey:
    return StoredSigningKey(
        kid=row[0],
        algorithm=row[1],
        sealed=row[2],
        created_at=datetime.fromtimestamp(row[3], UTC),
        retired_at=_time(row[4]),
        expires_at=_time(row[5]),
        latest_token=_time(row[6]),
    )


def _revocation(row: tuple[Any, ...]) -> Revocation:
    return Revocation(
        number=row[0],
        kind=row[1],
        subject=row[2],
        before_ms=row[3],
        expires_at=datetime.fromtimestamp(row[4], UTC),
    )


def _seconds(moment: datetime | None) -> float | None:
    return moment.timestamp() if moment else None


def _time(seconds: float | None) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds is not None else None


_API_KEY_TOPIC = "api_key"

_FIELDS = (
    "key_id, manufacturer_id, account_id, name, secret_hash, permissions, created_at, expires_at, last_used_at,"
    " revoked_at, replaces"
)
_INSERT = f"INSERT INTO api_keys ({_FIELDS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - constant


class SqliteApiKeys(SqliteBase):
    """Implements ApiKeyStore."""

    async def add_api_key(self, key: StoredApiKey, *, limit: int) -> bool:
        def work(connection: sqlite3.Connection) -> bool:
            sql = "SELECT COUNT(*) FROM api_keys WHERE manufacturer_id = ? AND revoked_at IS NULL"
            if connection.execute(sql, (key.manufacturer_id,)).fetchone()[0] >= limit:
                return False
            connection.execute(_INSERT, _api_key_row(key))
            return True

        return await self.engine.write(work)

    async def rotate_api_key(self, key: StoredApiKey, *, old_expires_at: datetime) -> bool:
        def work(connection: sqlite3.Connection) -> bool:
            updated = connection.execute(
                "UPDATE api_keys SET expires_at = MIN(COALESCE(expires_at, 1e12), ?)"
                " WHERE key_id = ? AND manufacturer_id = ? AND revoked_at IS NULL"
                " AND NOT EXISTS (SELECT 1 FROM api_keys AS newer WHERE newer.replaces = api_keys.key_id)",
                (old_expires_at.timestamp(), key.replaces, key.manufacturer_id),
            )
            if updated.rowcount != 1:
                return False
            connection.execute(_INSERT, _api_key_row(key))
            self.poll.record(connection, _API_KEY_TOPIC, str(key.replaces))
            return True

        rotated = await self.engine.write(work)
        if rotated:
            self.changes.publish(_API_KEY_TOPIC, str(key.replaces))
        return rotated

    async def get_api_key(self, key_id: str) -> StoredApiKey | None:
        sql = f"SELECT {_FIELDS} FROM api_keys WHERE key_id = ?"  # noqa: S608 - constant
        row = await self.engine.read(lambda c: c.execute(sql, (key_id,)).fetchone())
        return _api_key(row) if row else None

    async def list_api_keys(self, manufacturer_id: str) -> list[StoredApiKey]:
        sql = f"SELECT {_FIELDS} FROM api_keys WHERE manufacturer_id = ? ORDER BY created_at DESC, key_id"  # noqa: S608 - constant
        return await self.engine.read(lambda c: [_api_key(row) for row in c.execute(sql, (manufacturer_id,))])

    async def touch_api_key(self, key_id: str, *, now: datetime) -> None:
        sql = "UPDATE api_keys SET last_used_at = ? WHERE key_id = ?"
        await self.engine.write(lambda c: c.execute(sql, (now.timestamp(), key_id)).rowcount)

    async def revoke_api_key(self, key_id: str, *, now: datetime) -> bool:
        def work(connection: sqlite3.Connection) -> bool:
            sql = "UPDATE api_keys SET revoked_at = ? WHERE key_id = ? AND revoked_at IS NULL"
            if connection.execute(sql, (now.timestamp(), key_id)).rowcount != 1:
                return False
            self.poll.record(connection, _API_KEY_TOPIC, key_id)
            return True

        revoked = await self.engine.write(work)
        if revoked:
            self.changes.publish(_API_KEY_TOPIC, key_id)
        return revoked


def _api_key_row(key: StoredApiKey) -> tuple[Any, ...]:
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


def _api_key(row: tuple[Any, ...]) -> StoredApiKey:
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
