"""Incidents in SQLite."""

from __future__ import annotations

import sqlite3
from datetime import datetime
from typing import Any

import msgspec

from gatewright.events import Severity
from gatewright.storage.incidents import StoredIncident, merged
from gatewright.storage.sqlite.base import SqliteBase

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(StoredIncident).decode
_SEVERITIES = tuple(severity.value for severity in Severity)


class SqliteIncidents(SqliteBase):
    """The IncidentStore slice."""

    async def record_incident(self, incident: StoredIncident) -> tuple[StoredIncident, bool]:
        def work(connection: sqlite3.Connection) -> tuple[StoredIncident, bool]:
            sql = "SELECT body FROM incidents WHERE dedup_key = ? AND status = 'open'"
            row = connection.execute(sql, (incident.dedup_key,)).fetchone()
            if row is None:
                _insert(connection, incident)
                return incident, True
            combined = merged(_decode(row[0]), incident, _SEVERITIES)
            _update(connection, combined)
            return combined, False

        return await self.engine.write(work)

    async def get_incident(self, incident_id: str) -> StoredIncident | None:
        return await self.engine.read(lambda c: _one(c, incident_id))

    async def list_incidents(
        self,
        *,
        status: str | None = None,
        kind: str | None = None,
        manufacturer_id: str | None = None,
        since: datetime | None = None,
        limit: int = 100,
    ) -> list[StoredIncident]:
        wanted: dict[str, Any] = {
            "status = ?": status,
            "kind = ?": kind,
            "manufacturer_id = ?": manufacturer_id,
            "last_seen >= ?": since.timestamp() if since else None,
        }
        used = {condition: value for condition, value in wanted.items() if value is not None}
        where = " AND ".join(used) or "1"
        sql = f"SELECT body FROM incidents WHERE {where} ORDER BY last_seen DESC, incident_id DESC LIMIT ?"  # noqa: S608 - constant parts
        rows = await self.engine.read(lambda c: c.execute(sql, (*used.values(), limit)).fetchall())
        return [_decode(row[0]) for row in rows]

    async def resolve_incident(
        self, incident_id: str, *, at: datetime, by: str | None, note: str
    ) -> StoredIncident | None:
        def work(connection: sqlite3.Connection) -> StoredIncident | None:
            known = _one(connection, incident_id)
            if known is None or known.status != "open":
                return None
            closed = msgspec.structs.replace(
                known,
                status="resolved",
                resolved_at=at,
                resolved_by=by,
                resolution=note,
                timeline=(*known.timeline, {"at": at.isoformat(), "note": f"resolved: {note}", "event_id": None}),
            )
            _update(connection, closed)
            return _one(connection, incident_id)

        return await self.engine.write(work)


def _one(connection: sqlite3.Connection, incident_id: str) -> StoredIncident | None:
    row = connection.execute("SELECT body FROM incidents WHERE incident_id = ?", (incident_id,)).fetchone()
    return _decode(row[0]) if row else None


def _insert(connection: sqlite3.Connection, incident: StoredIncident) -> None:
    connection.execute(
        "INSERT INTO incidents (incident_id, dedup_key, kind, status, manufacturer_id, last_seen, body)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            incident.incident_id,
            incident.dedup_key,
            incident.kind,
            incident.status,
            incident.manufacturer_id,
            incident.last_seen.timestamp(),
            _encode(incident),
        ),
    )


def _update(connection: sqlite3.Connection, incident: StoredIncident) -> None:
    connection.execute(
        "UPDATE incidents SET status = ?, last_seen = ?, body = ? WHERE incident_id = ?",
        (incident.status, incident.last_seen.timestamp(), _encode(incident), incident.incident_id),
    )
