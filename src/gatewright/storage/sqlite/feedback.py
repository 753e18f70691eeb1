"""Feedback and model versions in SQLite."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from typing import Any

from gatewright.storage.feedback import StoredFeedback, StoredModelVersion
from gatewright.storage.sqlite.changes import SqliteBase

_FEEDBACK = (
    "feedback_id, actor, source, digest, text, threat_type, is_threat, reason, status, note, confidence, created_at"
)
_VERSION = "version, base, accepted, reason, metrics, active, created_by, created_at"


class SqliteFeedback(SqliteBase):
    """Implements FeedbackStore."""

    async def add_feedback(self, feedback: StoredFeedback, *, since: datetime, limit: int) -> StoredFeedback | None:
        count = "SELECT COUNT(*) FROM feedback WHERE actor = ? AND created_at >= ?"
        delete_earlier = "DELETE FROM feedback WHERE actor = ? AND digest = ? AND threat_type = ?"
        insert = f"INSERT INTO feedback ({_FEEDBACK}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - constant

        def work(connection: sqlite3.Connection) -> StoredFeedback | None:
            (given,) = connection.execute(count, (feedback.actor, since.timestamp())).fetchone()
            if given >= limit:
                return None
            connection.execute(delete_earlier, (feedback.actor, feedback.digest, feedback.threat_type))
            connection.execute(insert, _feedback_row(feedback))
            return feedback

        return await self.engine.write(work)

    async def list_feedback(self, *, statuses: tuple[str, ...] = (), limit: int = 10_000) -> list[StoredFeedback]:
        placeholders = ", ".join("?" * len(statuses))
        where = f"WHERE status IN ({placeholders})" if statuses else ""
        sql = f"SELECT {_FEEDBACK} FROM feedback {where} ORDER BY seq LIMIT ?"  # noqa: S608 - constants and placeholders
        return await self.engine.read(lambda c: [_feedback(row) for row in c.execute(sql, (*statuses, limit))])

    async def settle_feedback(self, feedback_ids: list[str], *, status: str, note: str) -> int:
        sql = "UPDATE feedback SET status = ?, note = ? WHERE feedback_id = ?"
        rows = [(status, note, feedback_id) for feedback_id in feedback_ids]
        return await self.engine.write(lambda c: c.executemany(sql, rows).rowcount if rows else 0)

    async def add_model_version(
        self, version: StoredModelVersion, *, expected_active: int
    ) -> StoredModelVersion | None:
        insert = (
            "INSERT INTO model_versions (base, accepted, reason, metrics, delta, active, created_by, created_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING version"
        )
        values = (version.base, version.accepted, version.reason, version.metrics, version.delta, version.accepted)

        def work(connection: sqlite3.Connection) -> int | None:
            if _active_number(connection) != expected_active:
                return None
            if version.accepted:
                connection.execute("UPDATE model_versions SET active = 0 WHERE active = 1")
                self.poll.record(connection, "model", "active")
            row = connection.execute(insert, (*values, version.created_by, version.created_at.timestamp())).fetchone()
            return int(row[0])

        number = await self.engine.write(work)
        if number is None:
            return None
        if version.accepted:
            self.changes.publish("model", "active")
        return await self.get_model_version(number)

    async def list_model_versions(self, *, limit: int = 1_000) -> list[StoredModelVersion]:
        sql = f"SELECT {_VERSION}, NULL FROM model_versions ORDER BY version DESC LIMIT ?"  # noqa: S608 - constant
        return await self.engine.read(lambda c: [_version(row) for row in c.execute(sql, (limit,))][::-1])

    async def get_model_version(self, version: int) -> StoredModelVersion | None:
        return await self._one_version("version = ?", version)

    async def active_model_version(self) -> StoredModelVersion | None:
        return await self._one_version("active = ?", 1)

    async def activate_model_version(self, version: int) -> bool:
        activatable = "SELECT 1 FROM model_versions WHERE version = ? AND accepted = 1 AND delta IS NOT NULL"

        def work(connection: sqlite3.Connection) -> bool:
            if version and connection.execute(activatable, (version,)).fetchone() is None:
                return False
            connection.execute("UPDATE model_versions SET active = 0 WHERE active = 1")
            connection.execute("UPDATE model_versions SET active = 1 WHERE version = ?", (version,))
            self.poll.record(connection, "model", "active")
            return True

        activated = await self.engine.write(work)
        if activated:
            self.changes.publish("model", "active")
        return activated

    async def _one_version(self, where: str, value: int) -> StoredModelVersion | None:
        sql = f"SELECT {_VERSION}, delta FROM model_versions WHERE {where}"  # noqa: S608 - constants
        row = await self.engine.read(lambda c: c.execute(sql, (value,)).fetchone())
        return _version(row) if row else None


def _active_number(connection: sqlite3.Connection) -> int:
    row = connection.execute("SELECT version FROM model_versions WHERE active = 1").fetchone()
    return int(row[0]) if row else 0


def _feedback_row(feedback: StoredFeedback) -> tuple[Any, ...]:
    return (
        feedback.feedback_id,
        feedback.actor,
        feedback.source,
        feedback.digest,
        feedback.text,
        feedback.threat_type,
        feedback.is_threat,
        feedback.reason,
        feedback.status,
        feedback.note,
        feedback.confidence,
        feedback.created_at.timestamp(),
    )


def _feedback(row: tuple[Any, ...]) -> StoredFeedback:
    return StoredFeedback(
        feedback_id=row[0],
        actor=row[1],
        source=row[2],
        digest=row[3],
        text=row[4],
        threat_type=row[5],
        is_threat=bool(row[6]),
        reason=row[7],
        status=row[8],
        note=row[9],
        confidence=row[10],
        created_at=datetime.fromtimestamp(row[11], UTC),
    )


def _version(row: tuple[Any, ...]) -> StoredModelVersion:
    return StoredModelVersion(
        version=row[0],
        base=row[1],
        accepted=bool(row[2]),
        reason=row[3],
        metrics=row[4],
        active=bool(row[5]),
        created_by=row[6],
        created_at=datetime.fromtimestamp(row[7], UTC),
        delta=row[8],
    )
