"""Invitations in SQLite."""

from __future__ import annotations

import sqlite3
import time
from datetime import UTC, datetime
from typing import Any

from gatewright.errors import DuplicateAccountError, ValidationError
from gatewright.storage.invitations import StoredInvitation
from gatewright.storage.sqlite.base import SqliteBase
from gatewright.storage.sqlite.tenants import account_of
from gatewright.storage.tenants import PLATFORM_TENANT, StoredAccount

_COLUMNS = "invitation_id, manufacturer_id, email, role, token_hash, invited_by, created_at, expires_at"
_ACCOUNT = (
    "account_id, manufacturer_id, email, email_key, password_hash, role, status, created_at, updated_at, last_login_at"
)


class SqliteInvitations(SqliteBase):
    """The InvitationStore slice."""

    async def add_invitation(self, invitation: StoredInvitation, *, most: int) -> bool:
        i = invitation

        def work(connection: sqlite3.Connection) -> bool:
            connection.execute(
                "DELETE FROM invitations WHERE (manufacturer_id = ? AND email = ?) OR expires_at <= ?",
                (i.manufacturer_id, i.email, i.created_at.timestamp()),
            )
            opened = connection.execute(
                "SELECT COUNT(*) FROM invitations WHERE manufacturer_id = ?", (i.manufacturer_id,)
            ).fetchone()[0]
            if opened >= most:
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
                raise DuplicateAccountError("An account with this e-mail address exists already.") from error
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
        head = "platform_admin" if manufacturer_id == PLATFORM_TENANT else "owner"

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
                (manufacturer_id, head),
            ).fetchone()[0]
            if not owners:
                rule = f"Somebody must stay {head}: give another active person this role first."
                raise ValidationError(rule, code="LAST_OWNER")
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
