"""The audit log in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from gatewright.storage.audit import AuditHead, AuditQuery, StoredAuditEntry, StoredCheckpoint
from gatewright.storage.merkle import Growth
from gatewright.storage.sqlite.base import SqliteBase

_COLUMNS = "idx, event_id, at, kind, severity, manufacturer_id, account_id, ip_address, request_id, body, leaf_hash"
_HASH = 32

# The columns as the array at the beginning of the body; comparing texts is a third of the cost of parsing JSON.
_DISGUISED = """
SELECT idx FROM audit_entries WHERE idx >= ? AND idx < ? AND instr(body, CAST('{"fields":' || json_array(
    CAST(round(at * 1000000) AS INTEGER), severity, event_id, kind, manufacturer_id, account_id, ip_address, request_id
) AS BLOB)) IS NOT 1 ORDER BY idx LIMIT 1
"""


class SqliteAudit(SqliteBase):
    """The AuditStore slice."""

    async def append_audit(self, entries: Sequence[StoredAuditEntry]) -> AuditHead:
        return await self.engine.write(lambda connection: _append(connection, entries))

    async def audit_head(self) -> AuditHead:
        return await self.engine.read(_head)

    async def read_audit(self, start: int, limit: int) -> list[StoredAuditEntry]:
        sql = f"SELECT {_COLUMNS} FROM audit_entries WHERE idx >= ? ORDER BY idx LIMIT ?"  # noqa: S608 - constant
        return await self.engine.read(lambda c: [_entry(*row) for row in c.execute(sql, (start, limit))])

    async def scan_audit(self, start: int, limit: int) -> list[tuple[int, bytes, bytes]]:
        sql = "SELECT idx, body, leaf_hash FROM audit_entries WHERE idx >= ? ORDER BY idx LIMIT ?"
        return await self.engine.read(lambda c: c.execute(sql, (start, limit)).fetchall())

    async def disguised_audit(self, start: int, stop: int) -> int | None:
        row = await self.engine.read(lambda c: c.execute(_DISGUISED, (start, stop)).fetchone())
        return row[0] if row else None

    async def find_audit(self, event_id: str) -> StoredAuditEntry | None:
        sql = f"SELECT {_COLUMNS} FROM audit_entries WHERE event_id = ?"  # noqa: S608 - constant
        row = await self.engine.read(lambda c: c.execute(sql, (event_id,)).fetchone())
        return _entry(*row) if row else None

    async def search_audit(self, query: AuditQuery) -> list[StoredAuditEntry]:
        conditions, values = _conditions(query)
        sql = f"SELECT {_COLUMNS} FROM audit_entries WHERE {conditions} ORDER BY idx DESC LIMIT ?"  # noqa: S608 - constant parts
        return await self.engine.read(lambda c: [_entry(*row) for row in c.execute(sql, (*values, query.limit))])

    async def audit_nodes(self, level: int, start: int, stop: int) -> list[bytes]:
        if level == 0:
            sql, values = "SELECT leaf_hash FROM audit_entries WHERE idx >= ? AND idx < ? ORDER BY idx", (start, stop)
            return await self.engine.read(lambda c: [row[0] for row in c.execute(sql, values)])
        sql = "SELECT hash FROM audit_nodes WHERE level = ? AND idx >= ? AND idx < ? ORDER BY idx"
        return await self.engine.read(lambda c: [row[0] for row in c.execute(sql, (level, start, stop))])

    async def add_checkpoint(self, checkpoint: StoredCheckpoint) -> None:
        values = (checkpoint.size, checkpoint.root, checkpoint.created_at.timestamp(), checkpoint.note)
        sql = "INSERT OR REPLACE INTO audit_checkpoints (size, root, created_at, note) VALUES (?, ?, ?, ?)"
        await self.engine.write(lambda c: c.execute(sql, values).rowcount)

    async def list_checkpoints(self, *, limit: int = 1000) -> list[StoredCheckpoint]:
        sql = "SELECT size, root, created_at, note FROM audit_checkpoints ORDER BY size DESC LIMIT ?"
        rows = await self.engine.read(lambda c: c.execute(sql, (limit,)).fetchall())
        return [
            StoredCheckpoint(size=size, root=root, created_at=datetime.fromtimestamp(at, UTC), note=note)
            for size, root, at, note in reversed(rows)
        ]


def _append(connection: sqlite3.Connection, entries: Sequence[StoredAuditEntry]) -> AuditHead:
    size, peaks = connection.execute("SELECT size, peaks FROM audit_head").fetchone()
    growth = Growth(size, (peaks[at : at + _HASH] for at in range(0, len(peaks), _HASH)))
    known = _known(connection, entries)
    rows = []
    for entry in entries:
        if entry.event_id in known:
            continue
        known.add(entry.event_id)
        rows.append((growth.size, *_values(entry)))
        growth.append(entry.leaf_hash)
    connection.executemany(
        f"INSERT INTO audit_entries ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - constant
        rows,
    )
    # A subtree that stands there already can only be left of a tampered head; the newest wins, verify() tells.
    connection.executemany("INSERT OR REPLACE INTO audit_nodes (level, idx, hash) VALUES (?, ?, ?)", growth.finished)
    connection.execute("UPDATE audit_head SET size = ?, peaks = ?", (growth.size, b"".join(growth.peaks)))
    return AuditHead(size=growth.size, root=growth.root(), stored=growth.size)


def _known(connection: sqlite3.Connection, entries: Sequence[StoredAuditEntry]) -> set[str]:
    ids = msgspec.json.encode([entry.event_id for entry in entries]).decode()
    sql = "SELECT event_id FROM audit_entries WHERE event_id IN (SELECT value FROM json_each(?))"
    return {row[0] for row in connection.execute(sql, (ids,))}


def _head(connection: sqlite3.Connection) -> AuditHead:
    sql = "SELECT size, peaks, (SELECT COALESCE(MAX(idx) + 1, 0) FROM audit_entries) FROM audit_head"
    size, peaks, stored = connection.execute(sql).fetchone()
    growth = Growth(size, (peaks[at : at + _HASH] for at in range(0, len(peaks), _HASH)))
    return AuditHead(size=size, root=growth.root(), stored=stored)


def _conditions(query: AuditQuery) -> tuple[str, list[Any]]:
    """The WHERE clause, of constant parts, and the values for it."""
    parts: list[tuple[str, Any]] = [("severity >= ?", query.severity)]
    if query.kind is not None and query.kind.endswith("*"):
        beginning = query.kind[:-1]
        parts += [("kind >= ?", beginning), ("kind < ?", beginning + "\U0010ffff")]
    elif query.kind is not None:
        parts.append(("kind = ?", query.kind))
    optional = {
        "manufacturer_id = ?": query.manufacturer_id,
        "account_id = ?": query.account_id,
        "ip_address = ?": query.ip_address,
        "request_id = ?": query.request_id,
        "at >= ?": query.since,
        "at < ?": query.until,
        "idx < ?": query.before,
    }
    parts += [(condition, value) for condition, value in optional.items() if value is not None]
    return " AND ".join(condition for condition, _ in parts), [value for _, value in parts]


def _values(entry: StoredAuditEntry) -> tuple[Any, ...]:
    return (
        entry.event_id,
        entry.at,
        entry.kind,
        entry.severity,
        entry.manufacturer_id,
        entry.account_id,
        entry.ip_address,
        entry.request_id,
        entry.body,
        entry.leaf_hash,
    )


def _entry(
    index: int,
    event_id: str,
    at: float,
    kind: str,
    severity: int,
    manufacturer_id: str | None,
    account_id: str | None,
    ip_address: str | None,
    request_id: str | None,
    body: bytes,
    leaf_hash: bytes,
) -> StoredAuditEntry:
    return StoredAuditEntry(
        index=index,
        event_id=event_id,
        at=at,
        kind=kind,
        severity=severity,
        manufacturer_id=manufacturer_id,
        account_id=account_id,
        ip_address=ip_address,
        request_id=request_id,
        body=body,
        leaf_hash=leaf_hash,
    )
