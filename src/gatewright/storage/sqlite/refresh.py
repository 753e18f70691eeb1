"""Refresh families in SQLite."""

from __future__ import annotations

import sqlite3
from datetime import datetime

from gatewright.clock import CLOCK_SKEW
from gatewright.storage.sessions import RefreshOutcome, RefreshResult, RefreshRotation, StoredSession
from gatewright.storage.sqlite.sessions import SqliteSessions, alive, extend, read_session


class SqliteRefresh(SqliteSessions):
    """The refresh families of the SessionStore slice."""

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
                outcome = RefreshOutcome.REPEATED if alive(connection, session_id, now) else RefreshOutcome.REVOKED
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
        ends = min(r.successor_expires_at, session.absolute_expires_at)
        _add_token(connection, r.successor_hash, family_id, now, ends.timestamp())
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
        """A token that was used before, or is no token of its family any more: the session is over."""
        if session_id is None:
            return RefreshResult(outcome=RefreshOutcome.UNKNOWN.value)
        self._end(connection, session_id, now, "refresh_token_reused")
        return RefreshResult(outcome=RefreshOutcome.REUSED.value, session=read_session(connection, session_id))


def _add_token(connection: sqlite3.Connection, token_hash: bytes, family_id: str, now: float, ends: float) -> None:
    connection.execute(
        "INSERT INTO refresh_tokens (token_hash, family_id, created_at, expires_at) VALUES (?, ?, ?, ?)",
        (token_hash, family_id, now, ends),
    )


def _session_of(connection: sqlite3.Connection, family_id: str) -> str | None:
    row = connection.execute("SELECT session_id FROM refresh_families WHERE family_id = ?", (family_id,)).fetchone()
    return str(row[0]) if row else None
