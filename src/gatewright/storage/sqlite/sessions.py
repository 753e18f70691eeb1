"""Sessions and refresh-token families in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from gatewright.clock import CLOCK_SKEW
from gatewright.storage.sessions import RefreshOutcome, RefreshResult, RefreshRotation, StoredSession
from gatewright.storage.sqlite.changes import SqliteBase

_FIELDS = StoredSession.__struct_fields__
_COLUMNS = ", ".join(_FIELDS)
_TIMES = frozenset({"created_at", "expires_at", "absolute_expires_at", "last_activity", "mfa_at", "ended_at"})
_LISTS = frozenset({"roles", "factors"})
_LIVE = (
    "ended_at IS NULL AND expires_at > :now AND absolute_expires_at > :now"
    " AND (idle_seconds IS NULL OR last_activity + idle_seconds > :now)"
)
_OWNERS = frozenset({"account_id", "manufacturer_id"})


class SqliteSessions(SqliteBase):
    """Implements the sessions of SessionStore."""

    async def add_session(self, session: StoredSession, *, keep: int | None = None, owner: str) -> list[str]:
        if owner not in _OWNERS:
            raise TypeError(f"Cannot count sessions by {owner!r}. Pass owner as 'account_id' or 'manufacturer_id'.")
        key = session.account_id if owner == "account_id" else session.manufacturer_id

        def work(connection: sqlite3.Connection) -> list[str]:
            insert_session(connection, session)
            if keep is None or key is None:
                return []
            now = session.created_at.timestamp()
            scope = owner if owner == "account_id" else "account_id IS NULL AND manufacturer_id"
            sql = (
                f"SELECT session_id FROM sessions WHERE {scope} = :key AND {_LIVE}"  # noqa: S608 - constant
                " ORDER BY created_at DESC, rowid DESC LIMIT -1 OFFSET :keep"
            )
            excess = [row[0] for row in connection.execute(sql, {"key": key, "now": now, "keep": keep})]
            for session_id in excess:
                self._end(connection, session_id, now, "session_limit")
            return excess

        ended = await self.engine.write(work)
        self._publish_ended(ended)
        return ended

    async def get_session(self, session_id: str) -> StoredSession | None:
        return await self.engine.read(lambda c: read_session(c, session_id))

    async def list_sessions(self, manufacturer_id: str, *, now: datetime, limit: int = 1000) -> list[StoredSession]:
        sql = (
            f"SELECT {_COLUMNS} FROM sessions WHERE manufacturer_id = :key AND {_LIVE}"  # noqa: S608 - constant
            " ORDER BY created_at DESC, rowid DESC LIMIT :limit"
        )
        values = {"key": manufacturer_id, "now": now.timestamp(), "limit": limit}
        return await self.engine.read(lambda c: [_session(row) for row in c.execute(sql, values)])

    async def has_used_network(self, account_id: str, network: str, *, since: datetime) -> bool:
        sql = "SELECT 1 FROM sessions WHERE account_id = ? AND network = ? AND last_activity >= ? LIMIT 1"
        values = (account_id, network, since.timestamp())
        return await self.engine.read(lambda c: c.execute(sql, values).fetchone() is not None)

    async def touch_sessions(self, touches: Mapping[str, tuple[int, datetime]]) -> None:
        rows = [(count, at.timestamp(), session_id) for session_id, (count, at) in touches.items()]
        sql = (
            "UPDATE sessions SET activity_count = activity_count + ?, last_activity = MAX(last_activity, ?)"
            " WHERE session_id = ? AND ended_at IS NULL"
        )
        await self.engine.write(lambda c: c.executemany(sql, rows).rowcount)

    async def extend_session(self, session_id: str, *, now: datetime, expires_at: datetime) -> StoredSession | None:
        def work(connection: sqlite3.Connection) -> StoredSession | None:
            if not extend(connection, session_id, now.timestamp(), expires_at.timestamp()):
                return None
            self.poll.record(connection, "session", session_id)
            return read_session(connection, session_id)

        extended = await self.engine.write(work)
        if extended is not None:
            self.changes.publish("session", session_id)
        return extended

    async def set_session_mfa(self, session_id: str, *, now: datetime, mfa_at: datetime | None) -> bool:
        return await self._set(session_id, now, "mfa_at", mfa_at.timestamp() if mfa_at else None)

    async def set_session_cookie(self, session_id: str, *, now: datetime, cookie_hash: bytes) -> bool:
        return await self._set(session_id, now, "cookie_hash", cookie_hash)

    async def replace_session(self, session_id: str, successor: StoredSession, *, now: datetime) -> bool:
        def work(connection: sqlite3.Connection) -> bool:
            if not is_live(connection, session_id, now.timestamp()):
                return False
            connection.execute(
                "UPDATE refresh_families SET session_id = ? WHERE session_id = ?", (successor.session_id, session_id)
            )
            self._end(connection, session_id, now.timestamp(), "rotated")
            insert_session(connection, successor)
            return True

        replaced = await self.engine.write(work)
        if replaced:
            self._publish_ended([session_id])
        return replaced

    async def end_session(self, session_id: str, *, now: datetime, reason: str) -> bool:
        def work(connection: sqlite3.Connection) -> bool:
            was_live = is_live(connection, session_id, now.timestamp())
            self._end(connection, session_id, now.timestamp(), reason)
            return was_live

        ended = await self.engine.write(work)
        self._publish_ended([session_id])
        return ended

    async def end_sessions(
        self,
        manufacturer_id: str,
        *,
        now: datetime,
        reason: str,
        account_id: str | None = None,
        without_account: bool = False,
        keep: str | None = None,
    ) -> list[str]:
        sql = (
            f"SELECT session_id FROM sessions WHERE manufacturer_id = :manufacturer AND {_LIVE}"  # noqa: S608 - constant
            " AND (:account IS NULL OR account_id = :account OR (:without_account AND account_id IS NULL))"
            " AND session_id IS NOT :keep"
        )
        values = {
            "manufacturer": manufacturer_id,
            "account": account_id,
            "without_account": without_account,
            "keep": keep,
            "now": now.timestamp(),
        }

        def work(connection: sqlite3.Connection) -> list[str]:
            found = [row[0] for row in connection.execute(sql, values)]
            for session_id in found:
                self._end(connection, session_id, now.timestamp(), reason)
            return found

        ended = await self.engine.write(work)
        self._publish_ended(ended)
        return ended

    async def delete_expired_sessions(self, *, now: datetime, older_than: datetime) -> int:
        values = {"now": now.timestamp()}

        def work(connection: sqlite3.Connection) -> int:
            expired_now = f"ended_at IS NULL AND NOT ({_LIVE})"
            sql = f"UPDATE sessions SET ended_at = :now, ended_reason = 'expired' WHERE {expired_now}"  # noqa: S608 - constant
            expired = connection.execute(sql, values).rowcount
            cutoff = (older_than.timestamp(),)
            connection.execute(
                "DELETE FROM refresh_families WHERE session_id IN (SELECT session_id FROM sessions WHERE ended_at < ?)",
                cutoff,
            )
            connection.execute("DELETE FROM sessions WHERE ended_at < ?", cutoff)
            return expired

        return await self.engine.write(work)

    async def _set(self, session_id: str, now: datetime, column: str, value: Any) -> bool:
        sql = f"UPDATE sessions SET {column} = :value WHERE session_id = :session AND {_LIVE}"  # noqa: S608 - callers above
        values = {"value": value, "session": session_id, "now": now.timestamp()}

        def work(connection: sqlite3.Connection) -> bool:
            changed = connection.execute(sql, values).rowcount == 1
            if changed:
                self.poll.record(connection, "session", session_id)
            return changed

        changed = await self.engine.write(work)
        if changed:
            self.changes.publish("session", session_id)
        return changed

    def _end(self, connection: sqlite3.Connection, session_id: str, now: float, reason: str) -> None:
        """End a session, revoke its refresh families, and record the change for other processes."""
        connection.execute(
            "UPDATE sessions SET ended_at = ?, ended_reason = ? WHERE session_id = ? AND ended_at IS NULL",
            (now, reason, session_id),
        )
        connection.execute(
            "UPDATE refresh_families SET revoked_at = ? WHERE session_id = ? AND revoked_at IS NULL", (now, session_id)
        )
        self.poll.record(connection, "session", session_id)

    def _publish_ended(self, session_ids: list[str]) -> None:
        for session_id in session_ids:
            self.changes.publish("session", session_id)


def insert_session(connection: sqlite3.Connection, session: StoredSession) -> None:
    placeholders = ", ".join("?" for _ in _FIELDS)
    connection.execute(f"INSERT INTO sessions ({_COLUMNS}) VALUES ({placeholders})", _row(session))  # noqa: S608 - constant


def read_session(connection: sqlite3.Connection, session_id: str) -> StoredSession | None:
    row = connection.execute(f"SELECT {_COLUMNS} FROM sessions WHERE session_id = ?", (session_id,)).fetchone()  # noqa: S608 - constant
    return _session(row) if row else None


def is_live(connection: sqlite3.Connection, session_id: str, now: float) -> bool:
    sql = f"SELECT 1 FROM sessions WHERE session_id = :session AND {_LIVE}"  # noqa: S608 - constant
    return connection.execute(sql, {"session": session_id, "now": now}).fetchone() is not None


def extend(connection: sqlite3.Connection, session_id: str, now: float, expires_at: float) -> bool:
    """Extend the expiry and last activity of a session, if it is live."""
    assignments = (
        "expires_at = MIN(absolute_expires_at, MAX(expires_at, :expires)), last_activity = MAX(last_activity, :now)"
    )
    sql = f"UPDATE sessions SET {assignments} WHERE session_id = :session AND {_LIVE}"  # noqa: S608 - constant
    return connection.execute(sql, {"session": session_id, "now": now, "expires": expires_at}).rowcount == 1


def _row(session: StoredSession) -> list[Any]:
    values = []
    for name in _FIELDS:
        value = getattr(session, name)
        if isinstance(value, datetime):
            value = value.timestamp()
        elif name in _LISTS:
            value = msgspec.json.encode(value).decode()
        values.append(value)
    return values


def _session(row: tuple[Any, ...]) -> StoredSession:
    values = dict(zip(_FIELDS, row, strict=True))
    for name in _TIMES:
        if values[name] is not None:
            values[name] = datetime.fromtimestamp(values[name], UTC)
    for name in _LISTS:
        values[name] = msgspec.json.decode(values[name])
    return StoredSession(**values)


class SqliteRefresh(SqliteSessions):
    """Implements the refresh-token families of SessionStore."""

    async def add_refresh_family(
        self, session: StoredSession, *, family_id: str, token_hash: bytes, now: datetime, expires_at: datetime
    ) -> None:
        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO refresh_families (family_id, session_id, created_at) VALUES (?, ?, ?)",
                (family_id, session.session_id, now.timestamp()),
            )
            _add_token(connection, token_hash, family_id, now.timestamp(), expires_at.timestamp())

        await self.engine.write(work)

    async def rotate_refresh_token(self, rotation: RefreshRotation) -> RefreshResult:
        result = await self.engine.write(lambda connection: self._rotate(connection, rotation))
        if result.session is not None and result.outcome in (RefreshOutcome.REUSED, RefreshOutcome.ROTATED):
            self.changes.publish("session", result.session.session_id)
        return result

    async def refresh_session_of(self, family_id: str) -> str | None:
        return await self.engine.read(lambda connection: _session_of(connection, family_id))

    def _rotate(self, connection: sqlite3.Connection, r: RefreshRotation) -> RefreshResult:
        row = connection.execute(
            "SELECT family_id, session_id, t.created_at, expires_at, used_at, client_key, sealed, revoked_at"
            " FROM refresh_tokens t JOIN refresh_families USING (family_id) WHERE token_hash = ?",
            (r.token_hash,),
        ).fetchone()
        now = r.now.timestamp()
        if row is None:
            return self._reused(connection, _session_of(connection, r.family_id), now)
        family_id, session_id, created_at, expires_at, used_at, client_key, sealed, revoked_at = row
        session = read_session(connection, session_id)
        if used_at is not None:
            same_client = client_key is not None and client_key == r.client_key
            if revoked_at is None and same_client and -CLOCK_SKEW <= now - used_at <= r.grace_seconds:
                outcome = RefreshOutcome.REPEATED if is_live(connection, session_id, now) else RefreshOutcome.REVOKED
                return RefreshResult(outcome=outcome.value, session=session, sealed=sealed)
            return self._reused(connection, session_id, now)
        if revoked_at is not None:
            return RefreshResult(outcome=RefreshOutcome.REVOKED.value, session=session)
        if expires_at <= now:
            return RefreshResult(outcome=RefreshOutcome.EXPIRED.value, session=session)
        if session is None or not extend(connection, session_id, now, r.session_expires_at.timestamp()):
            return RefreshResult(outcome=RefreshOutcome.REVOKED.value, session=session)
        self.poll.record(connection, "session", session_id)
        connection.execute(
            "UPDATE refresh_tokens SET used_at = ?, client_key = ?, sealed = ? WHERE token_hash = ?",
            (now, r.client_key, r.sealed, r.token_hash),
        )
        successor_expires_at = min(r.successor_expires_at, session.absolute_expires_at)
        _add_token(connection, r.successor_hash, family_id, now, successor_expires_at.timestamp())
        connection.execute(
            "DELETE FROM refresh_tokens WHERE family_id = ? AND used_at < ?", (family_id, now - r.grace_seconds)
        )
        return RefreshResult(
            outcome=RefreshOutcome.ROTATED.value,
            session=read_session(connection, session_id),
            sealed=r.sealed,
            seconds_since_rotation=now - created_at,
        )

    def _reused(self, connection: sqlite3.Connection, session_id: str | None, now: float) -> RefreshResult:
        """End the session of a reused token, or of one unknown to the family that it claims."""
        if session_id is None:
            return RefreshResult(outcome=RefreshOutcome.UNKNOWN.value)
        self._end(connection, session_id, now, "refresh_token_reused")
        return RefreshResult(outcome=RefreshOutcome.REUSED.value, session=read_session(connection, session_id))


def _add_token(
    connection: sqlite3.Connection, token_hash: bytes, family_id: str, now: float, expires_at: float
) -> None:
    connection.execute(
        "INSERT INTO refresh_tokens (token_hash, family_id, created_at, expires_at) VALUES (?, ?, ?, ?)",
        (token_hash, family_id, now, expires_at),
    )


def _session_of(connection: sqlite3.Connection, family_id: str) -> str | None:
    row = connection.execute("SELECT session_id FROM refresh_families WHERE family_id = ?", (family_id,)).fetchone()
    return str(row[0]) if row else None
