"""Measures and proposals in SQLite."""

from __future__ import annotations

import sqlite3
from datetime import datetime

import msgspec

from gatewright.controls import Measure
from gatewright.storage.measures import StoredProposal
from gatewright.storage.sqlite.base import SqliteBase

_TOPIC = "controls"
_encode = msgspec.json.Encoder().encode
_decode_measure = msgspec.json.Decoder(Measure).decode
_decode_proposal = msgspec.json.Decoder(StoredProposal).decode


class SqliteMeasures(SqliteBase):
    """The MeasureStore slice."""

    async def save_measure(self, measure: Measure) -> None:
        until = measure.until.timestamp() if measure.until else None

        def work(connection: sqlite3.Connection) -> None:
            sql = "INSERT OR REPLACE INTO measures (measure_id, until, body) VALUES (?, ?, ?)"
            connection.execute(sql, (measure.measure_id, until, _encode(measure)))
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
            known = _proposal(connection, proposal.proposal_id)
            if known is not None and known.status != "rolled_back" and not _ended(known, proposal.created_at):
                return known
            connection.execute(
                "INSERT OR REPLACE INTO proposals (proposal_id, status, created_at, body) VALUES (?, ?, ?, ?)",
                (proposal.proposal_id, proposal.status, proposal.created_at.timestamp(), _encode(proposal)),
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
            known = _proposal(connection, proposal_id)
            if known is None or known.status not in expected:
                return None
            changed = msgspec.structs.replace(known, status=status, changed_at=at, changed_by=by)
            connection.execute(
                "UPDATE proposals SET status = ?, body = ? WHERE proposal_id = ?",
                (status, _encode(changed), proposal_id),
            )
            return changed

        return await self.engine.write(work)


def _proposal(connection: sqlite3.Connection, proposal_id: str) -> StoredProposal | None:
    row = connection.execute("SELECT body FROM proposals WHERE proposal_id = ?", (proposal_id,)).fetchone()
    return _decode_proposal(row[0]) if row else None


def _ended(proposal: StoredProposal, now: datetime) -> bool:
    """Whether it was applied and its measure has run out, so that the same may be proposed anew."""
    return proposal.status == "applied" and (now - proposal.changed_at).total_seconds() >= proposal.seconds
