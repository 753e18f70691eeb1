"""The audit log in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from gatewright.storage.audit import (
    AuditBinder,
    AuditBinding,
    AuditHead,
    AuditQuery,
    StoredAuditEntry,
    StoredCheckpoint,
)
from gatewright.storage.merkle import CompactMerkleTree
from gatewright.storage.sqlite.changes import SqliteBase

_COLUMNS = "idx, event_id, at, kind, severity, manufacturer_id, account_id, ip_address, request_id, body, leaf_hash"
_BINDING = "bound_from, size, root, mac"
_HASH = 32

# Encodes the columns like the array at the start of the body: comparing strings costs a third of parsing JSON.
_MISMATCHED = """
SELECT idx FROM audit_entries WHERE idx >= ? AND idx < ? AND instr(body, CAST('{"fields":' || json_array(
    CAST(round(at * 1000000) AS INTEGER), severity, event_id, kind, manufacturer_id, account_id, ip_address, request_id
) AS BLOB)) IS NOT 1 ORDER BY idx LIMIT 1
"""


class SqliteAudit(SqliteBase):
    """Implements AuditStore."""

    async def append_audit(self, entries: Sequence[StoredAuditEntry], binder: AuditBinder | None = None) -> AuditHead:
        return await self.engine.write(lambda connection: _append(connection, entries, binder))

    async def audit_head(self) -> AuditHead:
        return await self.engine.read(_head)

    async def audit_bindings(self) -> tuple[AuditHead, list[AuditBinding]]:
        return await self.engine.read(_head_and_bindings)

    async def read_audit(self, start: int, limit: int) -> list[StoredAuditEntry]:
        sql = f"SELECT {_COLUMNS} FROM audit_entries WHERE idx >= ? ORDER BY idx LIMIT ?"  # noqa: S608 - constant
        return await self.engine.read(lambda c: [_entry(*row) for row in c.execute(sql, (start, limit))])

    async def scan_audit(self, start: int, limit: int) -> list[tuple[int, bytes, bytes]]:
        sql = "SELECT idx, body, leaf_hash FROM audit_entries WHERE idx >= ? ORDER BY idx LIMIT ?"
        return await self.engine.read(lambda c: c.execute(sql, (start, limit)).fetchall())

    async def mismatched_audit(self, start: int, stop: int) -> int | None:
        row = await self.engine.read(lambda c: c.execute(_MISMATCHED, (start, stop)).fetchone())
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


def _append(
    connection: sqlite3.Connection, entries: Sequence[StoredAuditEntry], binder: AuditBinder | None
) -> AuditHead:
    tree = _tree(*connection.execute("SELECT size, peaks FROM audit_head").fetchone())
    before = tree.size, tree.root()
    existing = _existing_ids(connection, entries)
    rows = []
    for entry in entries:
        if entry.event_id in existing:
            continue
        existing.add(entry.event_id)
        rows.append((tree.size, *_values(entry)))
        tree.append(entry.leaf_hash)
    connection.executemany(
        f"INSERT INTO audit_entries ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - constant
        rows,
    )
    # A subtree that already exists can only come from a tampered head. The newest wins; verify() detects it.
    connection.executemany("INSERT OR REPLACE INTO audit_nodes (level, idx, hash) VALUES (?, ?, ?)", tree.finished)
    connection.execute("UPDATE audit_head SET size = ?, peaks = ?", (tree.size, b"".join(tree.peaks)))
    head = AuditHead(size=tree.size, root=tree.root(), stored=tree.size)
    if rows and binder is not None and _bind(connection, binder, *before, head):
        return msgspec.structs.replace(head, rebound=True)
    return head


def _bind(connection: sqlite3.Connection, binder: AuditBinder, size: int, root: bytes, head: AuditHead) -> bool:
    """Bind ``head``, which extends ``size`` and ``root``; True if the last binding does not match those."""
    row = connection.execute(f"SELECT id, {_BINDING} FROM audit_bindings ORDER BY id DESC LIMIT 1").fetchone()  # noqa: S608 - constant
    last = None if row is None else _binding(*row[1:])
    if last is not None and (last.size, last.root) == (size, root) and binder.verify(last):
        new = binder.bind(last.bound_from, head.size, head.root)
        sql = "UPDATE audit_bindings SET size = ?, root = ?, mac = ? WHERE id = ?"
        connection.execute(sql, (new.size, new.root, new.mac, row[0]))
        return False
    new = binder.bind(size, head.size, head.root)
    sql = f"INSERT INTO audit_bindings ({_BINDING}) VALUES (?, ?, ?, ?)"  # noqa: S608 - constant
    connection.execute(sql, (new.bound_from, new.size, new.root, new.mac))
    return last is not None


def _existing_ids(connection: sqlite3.Connection, entries: Sequence[StoredAuditEntry]) -> set[str]:
    ids = msgspec.json.encode([entry.event_id for entry in entries]).decode()
    sql = "SELECT event_id FROM audit_entries WHERE event_id IN (SELECT value FROM json_each(?))"
    return {row[0] for row in connection.execute(sql, (ids,))}


def _head(connection: sqlite3.Connection) -> AuditHead:
    sql = "SELECT size, peaks, (SELECT COALESCE(MAX(idx) + 1, 0) FROM audit_entries) FROM audit_head"
    size, peaks, stored = connection.execute(sql).fetchone()
    return AuditHead(size=size, root=_tree(size, peaks).root(), stored=stored)


def _head_and_bindings(connection: sqlite3.Connection) -> tuple[AuditHead, list[AuditBinding]]:
    # One statement, so that no append can come between the two reads.
    sql = """
    SELECT h.size, h.peaks, (SELECT COALESCE(MAX(idx) + 1, 0) FROM audit_entries), b.bound_from, b.size, b.root, b.mac
    FROM audit_head AS h LEFT JOIN audit_bindings AS b ORDER BY b.id
    """
    rows = connection.execute(sql).fetchall()
    size, peaks, stored = rows[0][:3]
    head = AuditHead(size=size, root=_tree(size, peaks).root(), stored=stored)
    return head, [_binding(*row[3:]) for row in rows if row[3] is not None]


def _tree(size: int, peaks: bytes) -> CompactMerkleTree:
    return CompactMerkleTree(size, (peaks[at : at + _HASH] for at in range(0, len(peaks), _HASH)))


def _binding(bound_from: int, size: int, root: bytes, mac: bytes) -> AuditBinding:
    return AuditBinding(bound_from=bound_from, size=size, root=root, mac=mac)


def _conditions(query: AuditQuery) -> tuple[str, list[Any]]:
    """Return the WHERE clause, built of constant parts, and its values."""
    parts: list[tuple[str, Any]] = [("severity >= ?", query.severity)]
    if query.kind is not None and query.kind.endswith("*"):
        prefix = query.kind[:-1]
        parts += [("kind >= ?", prefix), ("kind < ?", prefix + "\U0010ffff")]
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
