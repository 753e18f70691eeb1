"""Passkeys and trusted devices in SQLite."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from typing import Any

from gatewright.storage.factors import StoredDevice, StoredPasskey
from gatewright.storage.sqlite.base import SqliteBase

_PASSKEY = "credential_id, account_id, public_key, sign_count, name, device_type, backed_up, created_at, last_used_at"
_DEVICE = "device_id, account_id, name, binding, ip_address, created_at, last_used_at, expires_at"


class SqliteDevices(SqliteBase):
    """Passkeys and devices of the FactorStore slice."""

    async def add_passkey(self, passkey: StoredPasskey) -> bool:
        row = (
            passkey.credential_id,
            passkey.account_id,
            passkey.public_key,
            passkey.sign_count,
            passkey.name,
            passkey.device_type,
            int(passkey.backed_up),
            passkey.created_at.timestamp(),
            passkey.last_used_at.timestamp() if passkey.last_used_at else None,
        )
        sql = f"INSERT OR IGNORE INTO passkeys ({_PASSKEY}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - constant

        def work(connection: sqlite3.Connection) -> bool:
            added = connection.execute(sql, row).rowcount == 1
            if added:
                connection.execute("DELETE FROM recovering_accounts WHERE account_id = ?", (passkey.account_id,))
            return added

        return await self.engine.write(work)

    async def get_passkey(self, credential_id: str) -> StoredPasskey | None:
        sql = f"SELECT {_PASSKEY} FROM passkeys WHERE credential_id = ?"  # noqa: S608 - constant
        row = await self.engine.read(lambda c: c.execute(sql, (credential_id,)).fetchone())
        return _passkey(row) if row else None

    async def list_passkeys(self, account_id: str) -> list[StoredPasskey]:
        sql = f"SELECT {_PASSKEY} FROM passkeys WHERE account_id = ? ORDER BY created_at"  # noqa: S608 - constant
        return await self.engine.read(lambda c: [_passkey(row) for row in c.execute(sql, (account_id,))])

    async def advance_passkey(self, credential_id: str, sign_count: int, *, now: datetime) -> bool:
        sql = (
            "UPDATE passkeys SET sign_count = :count, last_used_at = :now WHERE credential_id = :id"
            " AND (sign_count < :count OR (sign_count = 0 AND :count = 0))"
        )
        values = {"count": sign_count, "now": now.timestamp(), "id": credential_id}
        return await self.engine.write(lambda c: c.execute(sql, values).rowcount == 1)

    async def delete_passkey(self, account_id: str, credential_id: str) -> bool:
        sql = "DELETE FROM passkeys WHERE account_id = ? AND credential_id = ?"
        return await self.engine.write(lambda c: c.execute(sql, (account_id, credential_id)).rowcount == 1)

    async def add_device(self, device: StoredDevice, *, keep: int) -> None:
        row = (
            device.device_id,
            device.account_id,
            device.name,
            device.binding,
            device.ip_address,
            device.created_at.timestamp(),
            device.last_used_at.timestamp() if device.last_used_at else None,
            device.expires_at.timestamp(),
        )

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(f"INSERT INTO trusted_devices ({_DEVICE}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)  # noqa: S608 - constant
            connection.execute(
                "DELETE FROM trusted_devices WHERE account_id = ? AND (expires_at < ? OR device_id NOT IN"
                " (SELECT device_id FROM trusted_devices WHERE account_id = ?"
                "  ORDER BY COALESCE(last_used_at, created_at) DESC LIMIT ?))",
                (device.account_id, device.created_at.timestamp(), device.account_id, keep),
            )

        await self.engine.write(work)

    async def get_device(self, device_id: str) -> StoredDevice | None:
        sql = f"SELECT {_DEVICE} FROM trusted_devices WHERE device_id = ?"  # noqa: S608 - constant
        row = await self.engine.read(lambda c: c.execute(sql, (device_id,)).fetchone())
        return _device(row) if row else None

    async def list_devices(self, account_id: str, *, now: datetime) -> list[StoredDevice]:
        sql = f"SELECT {_DEVICE} FROM trusted_devices WHERE account_id = ? AND expires_at > ? ORDER BY created_at DESC"  # noqa: S608 - constant
        values = (account_id, now.timestamp())
        return await self.engine.read(lambda c: [_device(row) for row in c.execute(sql, values)])

    async def touch_device(self, device_id: str, *, now: datetime) -> None:
        sql = "UPDATE trusted_devices SET last_used_at = ? WHERE device_id = ?"
        await self.engine.write(lambda c: c.execute(sql, (now.timestamp(), device_id)).rowcount)

    async def delete_device(self, account_id: str, device_id: str) -> bool:
        sql = "DELETE FROM trusted_devices WHERE account_id = ? AND device_id = ?"
        return await self.engine.write(lambda c: c.execute(sql, (account_id, device_id)).rowcount == 1)

    async def delete_devices(self, account_id: str) -> int:
        sql = "DELETE FROM trusted_devices WHERE account_id = ?"
        return await self.engine.write(lambda c: c.execute(sql, (account_id,)).rowcount)


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _passkey(row: tuple[Any, ...]) -> StoredPasskey:
    return StoredPasskey(
        credential_id=row[0],
        account_id=row[1],
        public_key=bytes(row[2]),
        sign_count=row[3],
        name=row[4],
        device_type=row[5],
        backed_up=bool(row[6]),
        created_at=datetime.fromtimestamp(row[7], UTC),
        last_used_at=_time(row[8]),
    )


def _device(row: tuple[Any, ...]) -> StoredDevice:
    return StoredDevice(
        device_id=row[0],
        account_id=row[1],
        name=row[2],
        binding=row[3],
        ip_address=row[4],
        created_at=datetime.fromtimestamp(row[5], UTC),
        last_used_at=_time(row[6]),
        expires_at=datetime.fromtimestamp(row[7], UTC),
    )
