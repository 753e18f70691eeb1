"""Throttles, lockout and one-time tokens in SQLite."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from gatewright.clock import CLOCK_SKEW
from gatewright.storage.attempts import (
    DISTINCT_LIMIT,
    AttemptDecision,
    AttemptPolicy,
    LockoutState,
    OneTimeSecret,
    Outcome,
    Rate,
    ThrottleResult,
    decide,
    reserve,
    settle,
)
from gatewright.storage.sqlite.changes import SqliteBase


class SqliteThrottles(SqliteBase):
    """Implements Throttle, with wall-clock time since processes share no monotonic clock."""

    async def throttle(self, key: str, rate: Rate, *, cost: int = 1) -> ThrottleResult:
        def work(connection: sqlite3.Connection) -> ThrottleResult:
            now = time.time()
            row = connection.execute("SELECT tat FROM throttles WHERE key = ?", (key,)).fetchone()
            # If the clock was set back, a key must not stay blocked for longer than one period.
            tat = min(row[0], now + rate.period) if row else None
            result, next_tat = decide(tat, now, rate, cost)
            if cost and result.allowed:
                connection.execute(
                    "INSERT INTO throttles (key, tat) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET tat = excluded.tat",
                    (key, next_tat),
                )
                connection.execute(
                    "DELETE FROM throttles WHERE key IN (SELECT key FROM throttles WHERE tat < ? LIMIT 2)", (now,)
                )
            return result

        return await self.engine.write(work)

    async def clear_throttle(self, key: str) -> None:
        await self.engine.write(lambda c: c.execute("DELETE FROM throttles WHERE key = ?", (key,)).rowcount)


_ONE_TIME_FIELDS = "key, purpose, subject, data, attempts, created_at, expires_at"
_LIVE = "purpose = ? AND key = ? AND expires_at > ? AND created_at <= ?"


class SqliteOneTime(SqliteBase):
    """Implements OneTimeStore."""

    async def put_one_time(self, secret: OneTimeSecret) -> None:
        row = (
            secret.key,
            secret.purpose,
            secret.subject,
            _json(secret.data),
            secret.attempts,
            secret.created_at.timestamp(),
            secret.expires_at.timestamp(),
        )

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(f"INSERT INTO one_time_secrets ({_ONE_TIME_FIELDS}) VALUES (?, ?, ?, ?, ?, ?, ?)", row)  # noqa: S608
            connection.execute(
                "DELETE FROM one_time_secrets WHERE (purpose, key) IN"
                " (SELECT purpose, key FROM one_time_secrets WHERE expires_at < ? LIMIT 4)",
                (secret.created_at.timestamp(),),
            )

        await self.engine.write(work)

    async def get_one_time(self, purpose: str, key: str, *, now: datetime) -> OneTimeSecret | None:
        sql = f"SELECT {_ONE_TIME_FIELDS} FROM one_time_secrets WHERE {_LIVE}"  # noqa: S608
        row = await self.engine.read(lambda c: c.execute(sql, (purpose, key, *_live_bounds(now))).fetchone())
        return _secret(row)

    async def attempt_one_time(self, purpose: str, key: str, *, now: datetime, limit: int) -> OneTimeSecret | None:
        sql = (
            f"UPDATE one_time_secrets SET attempts = attempts + 1 WHERE {_LIVE} AND attempts < ? "  # noqa: S608
            f"RETURNING {_ONE_TIME_FIELDS}"
        )
        values = (purpose, key, *_live_bounds(now), limit)
        return _secret(await self.engine.write(lambda c: c.execute(sql, values).fetchone()))

    async def take_one_time(self, purpose: str, key: str, *, now: datetime) -> OneTimeSecret | None:
        sql = f"DELETE FROM one_time_secrets WHERE {_LIVE} RETURNING {_ONE_TIME_FIELDS}"  # noqa: S608
        values = (purpose, key, *_live_bounds(now))
        return _secret(await self.engine.write(lambda c: c.execute(sql, values).fetchone()))

    async def drop_one_time(self, purpose: str, subject: str) -> int:
        sql = "DELETE FROM one_time_secrets WHERE purpose = ? AND subject = ?"
        return await self.engine.write(lambda c: c.execute(sql, (purpose, subject)).rowcount)

    async def list_one_time(self, purpose: str, *, after: str = "", limit: int = 100) -> list[OneTimeSecret]:
        sql = f"SELECT {_ONE_TIME_FIELDS} FROM one_time_secrets WHERE purpose = ? AND key > ? ORDER BY key LIMIT ?"  # noqa: S608
        rows = await self.engine.read(lambda c: c.execute(sql, (purpose, after, limit)).fetchall())
        return [secret for row in rows if (secret := _secret(row)) is not None]

    async def replace_one_time(
        self, purpose: str, key: str, *, expected: Mapping[str, Any], data: Mapping[str, Any]
    ) -> bool:
        sql = "UPDATE one_time_secrets SET data = ? WHERE purpose = ? AND key = ? AND data = ?"
        values = (_json(data), purpose, key, _json(expected))
        return await self.engine.write(lambda c: c.execute(sql, values).rowcount == 1)


def _live_bounds(now: datetime) -> tuple[float, float]:
    """Return the bounds of a live secret: it expires after the first and was created by the second."""
    moment = now.timestamp()
    return moment, moment + CLOCK_SKEW


def _json(data: Mapping[str, Any]) -> str:
    return msgspec.json.encode(data).decode()


def _secret(row: tuple[Any, ...] | None) -> OneTimeSecret | None:
    if row is None:
        return None
    return OneTimeSecret(
        key=row[0],
        purpose=row[1],
        subject=row[2],
        data=msgspec.json.decode(row[3]),
        attempts=row[4],
        created_at=datetime.fromtimestamp(row[5], UTC),
        expires_at=datetime.fromtimestamp(row[6], UTC),
    )


_LOCKOUT_FIELDS = ", ".join(LockoutState.__struct_fields__)


class SqliteAttempts(SqliteBase):
    """Implements AttemptStore. The key of a counter is stored in the column ``door``."""

    async def reserve_attempt(self, key: str, policy: AttemptPolicy, *, now: datetime) -> AttemptDecision:
        moment = now.timestamp()

        def work(connection: sqlite3.Connection) -> AttemptDecision:
            decision, state = reserve(_state(connection, key), policy, moment)
            _store(connection, key, state)
            connection.execute(
                "DELETE FROM doors WHERE door IN"
                " (SELECT door FROM doors WHERE last_at < :old AND locked_until < :old AND pending_at < :old LIMIT 2)",
                {"old": moment - policy.lock_memory},
            )
            return decision

        return await self.engine.write(work)

    async def settle_attempt(
        self, key: str, policy: AttemptPolicy, outcome: Outcome, *, now: datetime
    ) -> AttemptDecision:
        moment = now.timestamp()

        def work(connection: sqlite3.Connection) -> AttemptDecision:
            decision, state = settle(_state(connection, key), policy, outcome, moment)
            _store(connection, key, state)
            return decision

        return await self.engine.write(work)

    async def clear_attempts(self, key: str) -> None:
        await self.engine.write(lambda c: c.execute("DELETE FROM doors WHERE door = ?", (key,)).rowcount)

    async def count_distinct(self, topic: str, member: str, *, now: datetime, window: float) -> int:
        moment = now.timestamp()

        def work(connection: sqlite3.Connection) -> int:
            connection.execute(
                "DELETE FROM sightings WHERE (topic, member) IN"
                " (SELECT topic, member FROM sightings WHERE at < ? LIMIT 16)",
                (moment - window,),
            )
            count = _count(connection, topic, moment - window)
            if count < DISTINCT_LIMIT:
                connection.execute(
                    "INSERT INTO sightings (topic, member, at) VALUES (?, ?, ?)"
                    " ON CONFLICT (topic, member) DO UPDATE SET at = excluded.at",
                    (topic, member, moment),
                )
                count = _count(connection, topic, moment - window)
            return count

        return await self.engine.write(work)


def _count(connection: sqlite3.Connection, topic: str, since: float) -> int:
    sql = "SELECT COUNT(*) FROM sightings WHERE topic = ? AND at >= ?"
    return int(connection.execute(sql, (topic, since)).fetchone()[0])


def _state(connection: sqlite3.Connection, key: str) -> LockoutState | None:
    row = connection.execute(f"SELECT {_LOCKOUT_FIELDS} FROM doors WHERE door = ?", (key,)).fetchone()  # noqa: S608
    return None if row is None else LockoutState(**dict(zip(LockoutState.__struct_fields__, row, strict=True)))


def _store(connection: sqlite3.Connection, key: str, state: LockoutState | None) -> None:
    if state is None:
        return
    if not (state.failures or state.pending or state.refused or state.locks):
        connection.execute("DELETE FROM doors WHERE door = ?", (key,))
        return
    connection.execute(
        f"INSERT OR REPLACE INTO doors (door, {_LOCKOUT_FIELDS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        (key, *(getattr(state, name) for name in LockoutState.__struct_fields__)),
    )
