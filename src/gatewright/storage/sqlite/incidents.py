"""Incidents and measures in SQLite."""

from __future__ import annotations

import sqlite3
from datetime import datetime
from typing import Any

import msgspec

from gatewright.controls import Measure
from gatewright.events import Severity
from gatewright.storage.audit import StoredIncident, StoredProposal, merged
from gatewright.storage.sqlite.changes import SqliteBase

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(StoredIncident).decode
_SEVERITIES = tuple(severity.value for severity in Severity)


class SqliteIncidents(SqliteBase):
    """Implements IncidentStore."""

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
        return await self.engine.read(lambda c: _read(c, incident_id))

    async def list_incidents(
        self,
        *,
        status: str | None = None,
        kind: str | None = None,
        manufacturer_id: str | None = None,
        since: datetime | None = None,
        limit: int = 100,
    ) -> list[StoredIncident]:
        filters: dict[str, Any] = {
            "status = ?": status,
            "kind = ?": kind,
            "manufacturer_id = ?": manufacturer_id,
            "last_seen >= ?": since.timestamp() if since else None,
        }
        given = {condition: value for condition, value in filters.items() if value is not None}
        where = " AND ".join(given) or "1"
        sql = f"SELECT body FROM incidents WHERE {where} ORDER BY last_seen DESC, incident_id DESC LIMIT ?"  # noqa: S608 - constant parts
        rows = await self.engine.read(lambda c: c.execute(sql, (*given.values(), limit)).fetchall())
        return [_decode(row[0]) for row in rows]

    async def resolve_incident(
        self, incident_id: str, *, at: datetime, by: str | None, note: str
    ) -> StoredIncident | None:
        def work(connection: sqlite3.Connection) -> StoredIncident | None:
            existing = _read(connection, incident_id)
            if existing is None or existing.status != "open":
                return None
            resolved = msgspec.structs.replace(
                existing,
                status="resolved",
                resolved_at=at,
                resolved_by=by,
                resolution=note,
                timeline=(*existing.timeline, {"at": at.isoformat(), "note": f"resolved: {note}", "event_id": None}),
            )
            _update(connection, resolved)
            return _read(connection, incident_id)

        return await self.engine.write(work)


def _read(connection: sqlite3.Connection, incident_id: str) -> StoredIncident | None:
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


_TOPIC = "controls"
_encode_measure = msgspec.json.Encoder().encode
_decode_measure = msgspec.json.Decoder(Measure).decode
_decode_proposal = msgspec.json.Decoder(StoredProposal).decode


class SqliteMeasures(SqliteBase):
    """Implements MeasureStore."""

    async def save_measure(self, measure: Measure) -> None:
        until = measure.until.timestamp() if measure.until else None

        def work(connection: sqlite3.Connection) -> None:
            sql = "INSERT OR REPLACE INTO measures (measure_id, until, body) VALUES (?, ?, ?)"
            connection.execute(sql, (measure.measure_id, until, _encode_measure(measure)))
            self.poll.record(connection, _TOPIC, measure.measure_id)

        await self.engine.write(work)
        self.changes.publish(_TOPIC, measure.measure_id)

    async def delete_measure(self, measure_id: str) -> Measure | None:
        def work(connection: sqlite3.Connection) -> Measure | None:
            row = connection.execute("SELECT body FROM measures WHERE measure_id = ?", (measure_id,)).fetchone()
            if row is None:
                return None
            connection.execute("DELETE FROM measures WHERE measure_id = ?", (measure_id,))
            self.poll.record(connection, _TOPIC, measure_id)
            return _decode_measure(row[0])

        removed = await self.engine.write(work)
        if removed is not None:
            self.changes.publish(_TOPIC, measure_id)
        return removed

    async def list_measures(self, *, now: datetime) -> list[Measure]:
        sql = "SELECT body FROM measures WHERE until IS NULL OR until > ? ORDER BY measure_id"
        rows = await self.engine.read(lambda c: c.execute(sql, (now.timestamp(),)).fetchall())
        return [_decode_measure(row[0]) for row in rows]

    async def add_proposal(self, proposal: StoredProposal) -> StoredProposal:
        def work(connection: sqlite3.Connection) -> StoredProposal:
            existing = _proposal(connection, proposal.proposal_id)
            if existing is not None and existing.status != "rolled_back" and not _ended(existing, proposal.created_at):
                return existing
            connection.execute(
                "INSERT OR REPLACE INTO proposals (proposal_id, status, created_at, body) VALUES (?, ?, ?, ?)",
                (proposal.proposal_id, proposal.status, proposal.created_at.timestamp(), _encode_measure(proposal)),
            )
            return proposal

        return await self.engine.write(work)

    async def get_proposal(self, proposal_id: str) -> StoredProposal | None:
        return await self.engine.read(lambda c: _proposal(c, proposal_id))

    async def list_proposals(self, *, status: str | None = None, limit: int = 100) -> list[StoredProposal]:
        sql = (
            "SELECT body FROM proposals WHERE ?1 IS NULL OR status = ?1 ORDER BY created_at DESC, proposal_id LIMIT ?2"
        )
        rows = await self.engine.read(lambda c: c.execute(sql, (status, limit)).fetchall())
        return [_decode_proposal(row[0]) for row in rows]

    async def change_proposal(
        self, proposal_id: str, *, expected: tuple[str, ...], status: str, at: datetime, by: str | None
    ) -> StoredProposal | None:
        def work(connection: sqlite3.Connection) -> StoredProposal | None:
            existing = _proposal(connection, proposal_id)
            if existing is None or existing.status not in expected:
                return None
            changed = msgspec.structs.replace(existing, status=status, changed_at=at, changed_by=by)
            connection.execute(
                "UPDATE proposals SET status = ?, body = ? WHERE proposal_id = ?",
                (status, _encode_measure(changed), proposal_id),
            )
            return changed

        return await self.engine.write(work)


def _proposal(connection: sqlite3.Connection, proposal_id: str) -> StoredProposal | None:
    row = connection.execute("SELECT body FROM proposals WHERE proposal_id = ?", (proposal_id,)).fetchone()
    return _decode_proposal(row[0]) if row else None


def _ended(proposal: StoredProposal, now: datetime) -> bool:
    """Whether the proposal was applied and its measure has expired, so that it can be proposed again."""
    return proposal.status == "applied" and (now - proposal.changed_at).total_seconds() >= proposal.seconds
