"""Manufacturers, accounts and invitations in SQLite."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from gatewright.errors import DuplicateAccountError, ValidationError
from gatewright.storage.sqlite.changes import SqliteBase
from gatewright.storage.tenants import PLATFORM_TENANT, StoredAccount, StoredInvitation, StoredManufacturer

_MANUFACTURER = "manufacturer_id, company_name, tier, status, billing_day, profile, created_at, updated_at"
_ACCOUNT = (
    "account_id, manufacturer_id, email, email_key, password_hash, role, status, created_at, updated_at, last_login_at"
)
_MANUFACTURER_FIELDS = frozenset({"company_name", "tier", "status", "billing_day", "profile"})
_ACCOUNT_FIELDS = frozenset({"email", "email_key", "password_hash", "role", "status", "last_login_at"})


class SqliteTenants(SqliteBase):
    """Implements TenantStore."""

    async def create_manufacturer(self, manufacturer: StoredManufacturer, owner: StoredAccount) -> None:
        def work(connection: sqlite3.Connection) -> None:
            try:
                connection.execute(
                    f"INSERT INTO manufacturers ({_MANUFACTURER}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - constant
                    _manufacturer_row(manufacturer),
                )
                _insert_account(connection, owner)
            except sqlite3.IntegrityError as error:
                raise _duplicate() from error

        await self.engine.write(work)

    async def add_account(self, account: StoredAccount) -> None:
        def work(connection: sqlite3.Connection) -> None:
            try:
                _insert_account(connection, account)
            except sqlite3.IntegrityError as error:
                raise _duplicate() from error

        await self.engine.write(work)

    async def get_manufacturer(self, manufacturer_id: str) -> StoredManufacturer | None:
        return await self.engine.read(lambda c: _one_manufacturer(c, manufacturer_id))

    async def list_manufacturers(self, *, after: str = "", limit: int = 100) -> list[StoredManufacturer]:
        sql = f"SELECT {_MANUFACTURER} FROM manufacturers WHERE manufacturer_id > ? ORDER BY manufacturer_id LIMIT ?"  # noqa: S608 - constant
        return await self.engine.read(lambda c: [_manufacturer(row) for row in c.execute(sql, (after, limit))])

    async def update_manufacturer(self, manufacturer_id: str, **fields: Any) -> StoredManufacturer | None:
        def work(connection: sqlite3.Connection) -> StoredManufacturer | None:
            _update(connection, "manufacturers", "manufacturer_id", manufacturer_id, fields, _MANUFACTURER_FIELDS)
            if fields.keys() & {"tier", "status", "billing_day"}:
                self.poll.record(connection, "manufacturer", manufacturer_id)
            return _one_manufacturer(connection, manufacturer_id)

        updated = await self.engine.write(work)
        if fields.keys() & {"tier", "status", "billing_day"}:
            self.changes.publish("manufacturer", manufacturer_id)
        return updated

    async def replace_profile(self, manufacturer_id: str, *, expected: str | None, profile: str) -> bool:
        sql = "UPDATE manufacturers SET profile = ?, updated_at = ? WHERE manufacturer_id = ? AND profile IS ?"
        values = (profile, time.time(), manufacturer_id, expected)
        return await self.engine.write(lambda c: c.execute(sql, values).rowcount == 1)

    async def get_account(self, account_id: str) -> StoredAccount | None:
        return await self._account("account_id = ?", account_id)

    async def find_account(self, email_key: str) -> StoredAccount | None:
        return await self._account("email_key = ?", email_key)

    async def owner_of(self, manufacturer_id: str) -> StoredAccount | None:
        return await self._account(
            "manufacturer_id = ? AND role IN ('owner', 'platform_admin') ORDER BY created_at LIMIT 1", manufacturer_id
        )

    async def list_accounts(self, manufacturer_id: str) -> list[StoredAccount]:
        sql = f"SELECT {_ACCOUNT} FROM accounts WHERE manufacturer_id = ? ORDER BY created_at"  # noqa: S608 - constant
        return await self.engine.read(lambda c: [account_of(row) for row in c.execute(sql, (manufacturer_id,))])

    async def update_account(self, account_id: str, **fields: Any) -> StoredAccount | None:
        def work(connection: sqlite3.Connection) -> StoredAccount | None:
            try:
                _update(connection, "accounts", "account_id", account_id, fields, _ACCOUNT_FIELDS)
            except sqlite3.IntegrityError as error:
                raise _duplicate() from error
            if fields.keys() & {"role", "status"}:
                self.poll.record(connection, "account", account_id)
            row = connection.execute(f"SELECT {_ACCOUNT} FROM accounts WHERE account_id = ?", (account_id,)).fetchone()  # noqa: S608 - constant
            return account_of(row) if row else None

        updated = await self.engine.write(work)
        if fields.keys() & {"role", "status"}:
            self.changes.publish("account", account_id)
        return updated

    async def _account(self, condition: str, value: str) -> StoredAccount | None:
        sql = f"SELECT {_ACCOUNT} FROM accounts WHERE {condition}"  # noqa: S608 - the condition is written above
        row = await self.engine.read(lambda c: c.execute(sql, (value,)).fetchone())
        return account_of(row) if row else None


def _duplicate() -> DuplicateAccountError:
    return DuplicateAccountError(
        "An account with this email address or manufacturer id already exists. Both must be unique."
        " Use a different one."
    )


def _insert_account(connection: sqlite3.Connection, account: StoredAccount) -> None:
    connection.execute(
        f"INSERT INTO accounts ({_ACCOUNT}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - constant
        (
            account.account_id,
            account.manufacturer_id,
            account.email,
            account.email_key,
            account.password_hash,
            account.role,
            account.status,
            account.created_at.timestamp(),
            account.updated_at.timestamp(),
            account.last_login_at.timestamp() if account.last_login_at else None,
        ),
    )


def _update(
    connection: sqlite3.Connection, table: str, key: str, value: str, fields: Mapping[str, Any], allowed: frozenset[str]
) -> None:
    if unknown := fields.keys() - allowed:
        raise TypeError(
            f"Cannot update {', '.join(sorted(unknown))} in {table}. Updatable fields: {', '.join(sorted(allowed))}."
            " Pass only these."
        )
    plain = {name: v.timestamp() if isinstance(v, datetime) else v for name, v in fields.items()}
    columns = ", ".join(f"{name} = ?" for name in plain)
    sql = f"UPDATE {table} SET {columns}, updated_at = ? WHERE {key} = ?"  # noqa: S608 - names checked above
    connection.execute(sql, (*plain.values(), time.time(), value))


def _one_manufacturer(connection: sqlite3.Connection, manufacturer_id: str) -> StoredManufacturer | None:
    sql = f"SELECT {_MANUFACTURER} FROM manufacturers WHERE manufacturer_id = ?"  # noqa: S608 - constant
    row = connection.execute(sql, (manufacturer_id,)).fetchone()
    return _manufacturer(row) if row else None


def _manufacturer_row(m: StoredManufacturer) -> tuple[Any, ...]:
    return (
        m.manufacturer_id,
        m.company_name,
        m.tier,
        m.status,
        m.billing_day,
        m.profile,
        m.created_at.timestamp(),
        m.updated_at.timestamp(),
    )


def _manufacturer(row: tuple[Any, ...]) -> StoredManufacturer:
    return StoredManufacturer(
        manufacturer_id=row[0],
        company_name=row[1],
        tier=row[2],
        status=row[3],
        billing_day=row[4],
        profile=row[5],
        created_at=_time(row[6]),
        updated_at=_time(row[7]),
    )


def account_of(row: tuple[Any, ...]) -> StoredAccount:
    """Build an account from a row of all its columns."""
    return StoredAccount(
        account_id=row[0],
        manufacturer_id=row[1],
        email=row[2],
        email_key=row[3],
        password_hash=row[4],
        role=row[5],
        status=row[6],
        created_at=_time(row[7]),
        updated_at=_time(row[8]),
        last_login_at=_time(row[9]) if row[9] is not None else None,
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


_COLUMNS = "invitation_id, manufacturer_id, email, role, token_hash, invited_by, created_at, expires_at"


class SqliteInvitations(SqliteBase):
    """Implements InvitationStore."""

    async def add_invitation(self, invitation: StoredInvitation, *, limit: int) -> bool:
        i = invitation

        def work(connection: sqlite3.Connection) -> bool:
            connection.execute(
                "DELETE FROM invitations WHERE (manufacturer_id = ? AND email = ?) OR expires_at <= ?",
                (i.manufacturer_id, i.email, i.created_at.timestamp()),
            )
            open_count = connection.execute(
                "SELECT COUNT(*) FROM invitations WHERE manufacturer_id = ?", (i.manufacturer_id,)
            ).fetchone()[0]
            if open_count >= limit:
                return False
            times = (i.created_at.timestamp(), i.expires_at.timestamp())
            connection.execute(
                f"INSERT INTO invitations ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - constant
                (i.invitation_id, i.manufacturer_id, i.email, i.role, i.token_hash, i.invited_by, *times),
            )
            return True

        return await self.engine.write(work)

    async def list_invitations(self, manufacturer_id: str, at: datetime) -> list[StoredInvitation]:
        sql = f"SELECT {_COLUMNS} FROM invitations WHERE manufacturer_id = ? AND expires_at > ? ORDER BY created_at"  # noqa: S608 - constant
        values = (manufacturer_id, at.timestamp())
        return await self.engine.read(lambda c: [_invitation(row) for row in c.execute(sql, values)])

    async def find_invitation(self, token_hash: str, at: datetime) -> StoredInvitation | None:
        return await self.engine.read(lambda c: _find(c, token_hash, at))

    async def withdraw_invitation(self, manufacturer_id: str, invitation_id: str) -> bool:
        sql = "DELETE FROM invitations WHERE manufacturer_id = ? AND invitation_id = ?"
        return await self.engine.write(lambda c: c.execute(sql, (manufacturer_id, invitation_id)).rowcount == 1)

    async def accept_invitation(self, token_hash: str, account: StoredAccount, at: datetime) -> bool:
        a = account

        def work(connection: sqlite3.Connection) -> bool:
            found = _find(connection, token_hash, at)
            if found is None or found.manufacturer_id != a.manufacturer_id:
                return False
            connection.execute("DELETE FROM invitations WHERE token_hash = ?", (token_hash,))
            times = (a.created_at.timestamp(), a.updated_at.timestamp())
            try:
                connection.execute(
                    f"INSERT INTO accounts ({_ACCOUNT}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",  # noqa: S608 - constant
                    (a.account_id, a.manufacturer_id, a.email, a.email_key, a.password_hash, a.role, a.status, *times),
                )
            except sqlite3.IntegrityError as error:
                raise DuplicateAccountError(
                    "An account with this email address already exists. An address can have only one"
                    " account. Ask for an invitation to a different address."
                ) from error
            self.poll.record(connection, "manufacturer", a.manufacturer_id)
            return True

        accepted = await self.engine.write(work)
        if accepted:
            self.changes.publish("manufacturer", a.manufacturer_id)
        return accepted

    async def change_member(
        self,
        manufacturer_id: str,
        account_id: str,
        *,
        role: str | None = None,
        status: str | None = None,
        expected_role: str | None = None,
    ) -> StoredAccount | None:
        required_role = "platform_admin" if manufacturer_id == PLATFORM_TENANT else "owner"

        def work(connection: sqlite3.Connection) -> StoredAccount | None:
            before = connection.execute(
                f"SELECT {_ACCOUNT} FROM accounts WHERE manufacturer_id = ? AND account_id = ?",  # noqa: S608 - constant
                (manufacturer_id, account_id),
            ).fetchone()
            if before is None or expected_role not in (None, account_of(before).role):
                return None
            connection.execute(
                "UPDATE accounts SET role = COALESCE(?, role), status = COALESCE(?, status), updated_at = ?"
                " WHERE manufacturer_id = ? AND account_id = ?",
                (role, status, time.time(), manufacturer_id, account_id),
            )
            owners = connection.execute(
                "SELECT COUNT(*) FROM accounts WHERE manufacturer_id = ? AND status = 'active' AND role = ?",
                (manufacturer_id, required_role),
            ).fetchone()[0]
            if not owners:
                raise ValidationError(
                    f"The change would leave no active {required_role}. At least one must remain. Give another member"
                    " this role first.",
                    code="LAST_OWNER",
                )
            self.poll.record(connection, "account", account_id)
            return account_of(before)

        before = await self.engine.write(work)
        if before is not None:
            self.changes.publish("account", account_id)
        return before


def _find(connection: sqlite3.Connection, token_hash: str, at: datetime) -> StoredInvitation | None:
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM invitations WHERE token_hash = ? AND expires_at > ?",  # noqa: S608 - constant
        (token_hash, at.timestamp()),
    ).fetchone()
    return None if row is None else _invitation(row)


def _invitation(row: tuple[Any, ...]) -> StoredInvitation:
    return StoredInvitation(
        invitation_id=row[0],
        manufacturer_id=row[1],
        email=row[2],
        role=row[3],
        token_hash=row[4],
        invited_by=row[5],
        created_at=datetime.fromtimestamp(row[6], UTC),
        expires_at=datetime.fromtimestamp(row[7], UTC),
    )
