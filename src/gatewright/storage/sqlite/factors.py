"""Second factors, passkeys and trusted devices in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from gatewright.storage.credentials import StoredDevice, StoredPasskey, StoredTotp
from gatewright.storage.sqlite.changes import SqliteBase

_TOTP = "enrolment_id, account_id, secret, active, last_step, created_at"

_VALID_CODES = """
    enrolment_id IN ('', COALESCE((SELECT enrolment_id FROM totp WHERE account_id = :account
                                   ORDER BY active DESC LIMIT 1), ''))
"""
"""Valid codes: those without an enrollment, and those of the active one, or of the pending one if none is active."""


class SqliteFactors(SqliteBase):
    """Implements the TOTP and backup codes of FactorStore."""

    async def put_totp(self, totp: StoredTotp, code_hashes: Sequence[str]) -> None:
        row = (totp.enrolment_id, totp.account_id, totp.secret, 0, totp.last_step, totp.created_at.timestamp())

        def work(connection: sqlite3.Connection) -> None:
            _delete_pending(connection, totp.account_id)
            connection.execute(f"INSERT INTO totp ({_TOTP}) VALUES (?, ?, ?, ?, ?, ?)", row)  # noqa: S608 - constant
            if not _has_active(connection, totp.account_id):
                connection.execute(
                    "DELETE FROM backup_codes WHERE account_id = ? AND enrolment_id = ''", (totp.account_id,)
                )
            _insert_codes(connection, totp.account_id, totp.enrolment_id, code_hashes)

        await self.engine.write(work)

    async def list_totp(self, account_id: str) -> list[StoredTotp]:
        sql = f"SELECT {_TOTP} FROM totp WHERE account_id = ? ORDER BY active DESC"  # noqa: S608 - constant
        return await self.engine.read(lambda c: [_totp(row) for row in c.execute(sql, (account_id,))])

    async def accept_totp_step(self, account_id: str, enrolment_id: str, step: int) -> bool:
        def work(connection: sqlite3.Connection) -> bool:
            row = connection.execute(
                "UPDATE totp SET last_step = ? WHERE enrolment_id = ? AND account_id = ? AND last_step < ?"
                " RETURNING active",
                (step, enrolment_id, account_id, step),
            ).fetchone()
            if row is None:
                return False
            if not row[0]:
                _activate(connection, account_id, enrolment_id)
            return True

        return await self.engine.write(work)

    async def replace_backup_codes(self, account_id: str, code_hashes: Sequence[str]) -> None:
        def work(connection: sqlite3.Connection) -> None:
            row = connection.execute(
                "SELECT enrolment_id FROM totp WHERE account_id = ? ORDER BY active DESC LIMIT 1", (account_id,)
            ).fetchone()
            connection.execute(
                f"DELETE FROM backup_codes WHERE account_id = :account AND {_VALID_CODES}",  # noqa: S608 - constant
                {"account": account_id},
            )
            _insert_codes(connection, account_id, row[0] if row else "", code_hashes)

        await self.engine.write(work)

    async def use_backup_code(self, account_id: str, code_hash: str, *, now: datetime) -> str:
        values = {"account": account_id, "hash": code_hash, "now": now.timestamp()}

        def work(connection: sqlite3.Connection) -> str:
            where = f"account_id = :account AND code_hash = :hash AND {_VALID_CODES}"
            found = connection.execute(f"SELECT used_at FROM backup_codes WHERE {where}", values).fetchone()  # noqa: S608 - constant
            if found is None:
                return "unknown"
            if found[0] is not None:
                return "replayed"
            connection.execute(f"UPDATE backup_codes SET used_at = :now WHERE {where}", values)  # noqa: S608 - constant
            return "used"

        return await self.engine.write(work)

    async def count_backup_codes(self, account_id: str) -> int:
        sql = f"SELECT COUNT(*) FROM backup_codes WHERE account_id = :account AND used_at IS NULL AND {_VALID_CODES}"  # noqa: S608 - constant
        return await self.engine.read(lambda c: int(c.execute(sql, {"account": account_id}).fetchone()[0]))

    async def set_recovering(self, account_id: str, recovering: bool) -> None:
        sql = (
            "INSERT OR IGNORE INTO recovering_accounts (account_id) VALUES (?)"
            if recovering
            else "DELETE FROM recovering_accounts WHERE account_id = ?"
        )
        await self.engine.write(lambda c: c.execute(sql, (account_id,)).rowcount)

    async def is_recovering(self, account_id: str) -> bool:
        sql = "SELECT 1 FROM recovering_accounts WHERE account_id = ?"
        return await self.engine.read(lambda c: c.execute(sql, (account_id,)).fetchone() is not None)

    async def hold_factors(self, account_id: str, until: datetime) -> None:
        sql = (
            "INSERT INTO held_factors (account_id, until) VALUES (?, ?)"
            " ON CONFLICT (account_id) DO UPDATE SET until = MAX(until, excluded.until)"
        )
        await self.engine.write(lambda c: c.execute(sql, (account_id, until.timestamp())).rowcount)

    async def release_factors(self, account_id: str) -> None:
        sql = "DELETE FROM held_factors WHERE account_id = ?"
        await self.engine.write(lambda c: c.execute(sql, (account_id,)).rowcount)

    async def factors_held_until(self, account_id: str) -> datetime | None:
        sql = "SELECT until FROM held_factors WHERE account_id = ?"
        row = await self.engine.read(lambda c: c.execute(sql, (account_id,)).fetchone())
        return None if row is None else datetime.fromtimestamp(row[0], UTC)

    async def delete_factors(self, account_id: str, *, passkeys: bool) -> None:
        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM totp WHERE account_id = ?", (account_id,))
            connection.execute("DELETE FROM backup_codes WHERE account_id = ?", (account_id,))
            if passkeys:
                connection.execute("DELETE FROM passkeys WHERE account_id = ?", (account_id,))

        await self.engine.write(work)


def _delete_pending(connection: sqlite3.Connection, account_id: str) -> None:
    for (old,) in connection.execute(
        "DELETE FROM totp WHERE account_id = ? AND active = 0 RETURNING enrolment_id", (account_id,)
    ).fetchall():
        connection.execute("DELETE FROM backup_codes WHERE account_id = ? AND enrolment_id = ?", (account_id, old))


def _has_active(connection: sqlite3.Connection, account_id: str) -> bool:
    return (
        connection.execute("SELECT 1 FROM totp WHERE account_id = ? AND active = 1", (account_id,)).fetchone()
        is not None
    )


def _activate(connection: sqlite3.Connection, account_id: str, enrolment_id: str) -> None:
    """Replace the active enrollment with the pending one, and delete all codes but its own."""
    connection.execute("DELETE FROM totp WHERE account_id = ? AND active = 1", (account_id,))
    connection.execute("UPDATE totp SET active = 1 WHERE enrolment_id = ?", (enrolment_id,))
    connection.execute(
        "DELETE FROM backup_codes WHERE account_id = ? AND enrolment_id <> ?", (account_id, enrolment_id)
    )
    connection.execute("DELETE FROM recovering_accounts WHERE account_id = ?", (account_id,))


def _insert_codes(connection: sqlite3.Connection, account_id: str, enrolment_id: str, hashes: Sequence[str]) -> None:
    connection.executemany(
        "INSERT INTO backup_codes (account_id, code_hash, enrolment_id) VALUES (?, ?, ?)",
        [(account_id, code_hash, enrolment_id) for code_hash in hashes],
    )


def _totp(row: tuple[Any, ...]) -> StoredTotp:
    return StoredTotp(
        enrolment_id=row[0],
        account_id=row[1],
        secret=row[2],
        active=bool(row[3]),
        last_step=row[4],
        created_at=datetime.fromtimestamp(row[5], UTC),
    )


_PASSKEY = "credential_id, account_id, public_key, sign_count, name, device_type, backed_up, created_at, last_used_at"
_DEVICE = "device_id, account_id, name, binding, ip_address, created_at, last_used_at, expires_at"


class SqliteDevices(SqliteBase):
    """Implements the passkeys and devices of FactorStore."""

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
