"""Attempts in SQLite: one transaction reads, decides and writes."""

from __future__ import annotations

import sqlite3
from datetime import datetime

from gatewright.storage.attempts import (
    DISTINCT_LIMIT,
    AttemptDecision,
    AttemptPolicy,
    DoorState,
    Outcome,
    reserve,
    settle,
)
from gatewright.storage.sqlite.base import SqliteBase

_FIELDS = ", ".join(DoorState.__struct_fields__)


class SqliteAttempts(SqliteBase):
    """The AttemptStore slice."""

    async def reserve_attempt(self, door: str, policy: AttemptPolicy, *, now: datetime) -> AttemptDecision:
        moment = now.timestamp()

        def work(connection: sqlite3.Connection) -> AttemptDecision:
            decision, state = reserve(_state(connection, door), policy, moment)
            _keep(connection, door, state)
            connection.execute(
                "DELETE FROM doors WHERE door IN"
                " (SELECT door FROM doors WHERE last_at < :old AND locked_until < :old AND pending_at < :old LIMIT 2)",
                {"old": moment - policy.lock_memory},
            )
            return decision

        return await self.engine.write(work)

    async def settle_attempt(
        self, door: str, policy: AttemptPolicy, outcome: Outcome, *, now: datetime
    ) -> AttemptDecision:
        moment = now.timestamp()

        def work(connection: sqlite3.Connection) -> AttemptDecision:
            decision, state = settle(_state(connection, door), policy, outcome, moment)
            _keep(connection, door, state)
            return decision

        return await self.engine.write(work)

    async def clear_attempts(self, door: str) -> None:
        await self.engine.write(lambda c: c.execute("DELETE FROM doors WHERE door = ?", (door,)).rowcount)

    async def count_distinct(self, topic: str, member: str, *, now: datetime, window: float) -> int:
        moment = now.timestamp()

        def work(connection: sqlite3.Connection) -> int:
            connection.execute(
                "DELETE FROM sightings WHERE (topic, member) IN"
                " (SELECT topic, member FROM sightings WHERE at < ? LIMIT 16)",
                (moment - window,),
            )
            seen = _count(connection, topic, moment - window)
            if seen < DISTINCT_LIMIT:
                connection.execute(
                    "INSERT INTO sightings (topic, member, at) VALUES (?, ?, ?)"
                    " ON CONFLICT (topic, member) DO UPDATE SET at = excluded.at",
                    (topic, member, moment),
                )
                seen = _count(connection, topic, moment - window)
            return seen

        return await self.engine.write(work)


def _count(connection: sqlite3.Connection, topic: str, since: float) -> int:
    sql = "SELECT COUNT(*) FROM sightings WHERE topic = ? AND at >= ?"
    return int(connection.execute(sql, (topic, since)).fetchone()[0])


def _state(connection: sqlite3.Connection, door: str) -> DoorState | None:
    row = connection.execute(f"SELECT {_FIELDS} FROM doors WHERE door = ?", (door,)).fetchone()  # noqa: S608 - constant
    return None if row is None else DoorState(**dict(zip(DoorState.__struct_fields__, row, strict=True)))


def _keep(connection: sqlite3.Connection, door: str, state: DoorState | None) -> None:
    if state is None:
        return
    if not (state.failures or state.pending or state.refused or state.locks):
        connection.execute("DELETE FROM doors WHERE door = ?", (door,))
        return
    connection.execute(
        f"INSERT OR REPLACE INTO doors (door, {_FIELDS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - constant
        (door, *(getattr(state, name) for name in DoorState.__struct_fields__)),
    )
