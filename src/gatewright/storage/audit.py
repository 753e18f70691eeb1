"""The audit log: entries in order, the head of their Merkle tree, signed checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from gatewright.records import Record


class StoredAuditEntry(Record, frozen=True, kw_only=True):
    """One event in the log. ``body`` is its canonical JSON and alone counts: the other fields repeat parts of
    it for searching, and ``leaf_hash`` is the RFC 9162 hash of it. ``index`` is assigned by the store."""

    index: int = -1
    event_id: str
    at: float
    kind: str
    severity: int
    manufacturer_id: str | None = None
    account_id: str | None = None
    ip_address: str | None = None
    request_id: str | None = None
    body: bytes
    leaf_hash: bytes


class AuditHead(Record, frozen=True, kw_only=True):
    """The log as a whole. ``stored`` is the number of entries that are really there, which must be ``size``."""

    size: int
    root: bytes
    stored: int


class StoredCheckpoint(Record, frozen=True, kw_only=True):
    """A signed statement of size and root; ``note`` is the signed text."""

    size: int
    root: bytes
    created_at: datetime
    note: str


class AuditQuery(Record, frozen=True, kw_only=True):
    """What to look for: newest first, below index ``before``; a ``kind`` that ends with ``*`` is a beginning."""

    kind: str | None = None
    manufacturer_id: str | None = None
    account_id: str | None = None
    ip_address: str | None = None
    request_id: str | None = None
    severity: int = 0
    since: float | None = None
    until: float | None = None
    before: int | None = None
    limit: int = 100


class AuditStore(Protocol):
    """Grows, never changes: there is no operation that alters or removes an entry."""

    async def append_audit(self, entries: Sequence[StoredAuditEntry]) -> AuditHead:
        """Add entries at the next indexes and move the head along with them, all or none.

        An entry whose ``event_id`` is in the log already is left out, so that a batch may be sent again when it
        is unknown whether it arrived. Safe for several processes.
        """
        ...

    async def audit_head(self) -> AuditHead: ...

    async def read_audit(self, start: int, limit: int) -> list[StoredAuditEntry]:
        """Entries with an index of ``start`` or above, in order."""
        ...

    async def scan_audit(self, start: int, limit: int) -> list[tuple[int, bytes, bytes]]:
        """Index, body and leaf hash of entries, as :meth:`read_audit`, for reading all of a long log."""
        ...

    async def disguised_audit(self, start: int, stop: int) -> int | None:
        """The first index from ``start`` to ``stop`` (exclusive) whose search fields are not those of its body."""
        ...

    async def find_audit(self, event_id: str) -> StoredAuditEntry | None: ...

    async def search_audit(self, query: AuditQuery) -> list[StoredAuditEntry]: ...

    async def audit_nodes(self, level: int, start: int, stop: int) -> list[bytes]:
        """Hashes of the subtrees ``start`` to ``stop`` (exclusive) at a level: 0 (leaves), 8, 16, 24 or 32."""
        ...

    async def add_checkpoint(self, checkpoint: StoredCheckpoint) -> None:
        """Keep a checkpoint; one of the same size is replaced."""
        ...

    async def list_checkpoints(self, *, limit: int = 1000) -> list[StoredCheckpoint]:
        """The newest checkpoints, in ascending order of size."""
        ...
