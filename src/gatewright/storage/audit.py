"""The storage protocol of the audit log, incidents and measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec

from gatewright.controls import Measure
from gatewright.records import Record
from gatewright.storage.merkle import leaf_hash


class AuditFields(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What an entry can be found by, in this order: microseconds since the epoch, the severity's rank, ids."""

    at: int
    severity: int
    event_id: str
    kind: str
    manufacturer_id: str | None = None
    account_id: str | None = None
    ip_address: str | None = None
    request_id: str | None = None


class AuditBody(msgspec.Struct, omit_defaults=True, frozen=True):
    """An entry as it is hashed: canonical JSON, members in this order, the keys of ``data`` sorted.

    ``fields`` is an array at the very beginning, so that a store compares it with its search columns without
    reading the rest: ``{"fields":[1767225600000000,2,"0195…","auth:login:failed","mfr_1",null,"192.0.2.1",null],…``.
    Texts hold no control characters.
    """

    fields: AuditFields
    session_id: str | None = None
    actor: str | None = None
    data: Mapping[str, Any] = {}


encode_body = msgspec.json.Encoder(order="deterministic").encode
decode_body = msgspec.json.Decoder(AuditBody).decode
"""Raises ValueError (``msgspec.DecodeError``) for what is no body."""


class StoredAuditEntry(Record, frozen=True, kw_only=True):
    """One event in the log. ``body`` (see :class:`AuditBody`) alone counts: the other fields repeat parts of it
    for searching, and ``leaf_hash`` is the RFC 9162 hash of it. ``index`` is assigned by the store."""

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


def stored_entry(body: bytes, fields: AuditFields) -> StoredAuditEntry:
    """The entry of an encoded body and the fields in it."""
    return StoredAuditEntry(
        event_id=fields.event_id,
        at=fields.at / 1e6,
        kind=fields.kind,
        severity=fields.severity,
        manufacturer_id=fields.manufacturer_id,
        account_id=fields.account_id,
        ip_address=fields.ip_address,
        request_id=fields.request_id,
        body=body,
        leaf_hash=leaf_hash(body),
    )


class AuditHead(Record, frozen=True, kw_only=True):
    """The log as a whole. ``stored`` is the number of entries that are really there, which must be ``size``.
    ``rebound`` is set by an append that did not find the log as the last binding left it."""

    size: int
    root: bytes
    stored: int
    rebound: bool = False


class AuditBinding(Record, frozen=True, kw_only=True):
    """A MAC over size and root of the log, made from the root secret when entries were appended. It covers the log
    since it had ``bound_from`` entries: what came before was bound by another, or by none."""

    bound_from: int
    size: int
    root: bytes
    mac: bytes


class AuditBinder(Protocol):
    """What knows the root secret."""

    def bind(self, bound_from: int, size: int, root: bytes) -> AuditBinding: ...

    def holds(self, binding: AuditBinding) -> bool: ...


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

    async def append_audit(self, entries: Sequence[StoredAuditEntry], binder: AuditBinder | None = None) -> AuditHead:
        """Add entries at the next indexes and move the head along with them, all or none.

        ``binder`` binds the new head in the same transaction. It renews the last binding only when that one holds
        for the log as it was found; otherwise a further binding is added and the last one stays, as evidence.

        An entry whose ``event_id`` is in the log already is left out, so that a batch may be sent again when it
        is unknown whether it arrived. Safe for several processes.
        """
        ...

    async def audit_head(self) -> AuditHead: ...

    async def audit_bindings(self) -> tuple[AuditHead, list[AuditBinding]]:
        """The head and all bindings, oldest first, read at one moment."""
        ...

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


TIMELINE_LIMIT = 200
"""Entries of a timeline that are kept: the first half and the newest."""


class StoredIncident(Record, frozen=True, kw_only=True):
    """An incident. While it is open there is one for each ``dedup_key``; ``timeline`` holds plain JSON entries
    ``{"at", "note", "event_id"}``; ``source`` is the network it came from."""

    incident_id: str
    dedup_key: str
    kind: str
    severity: str
    status: str = "open"
    summary: str
    manufacturer_id: str | None = None
    account_id: str | None = None
    source: str | None = None
    event_count: int = 0
    first_seen: datetime
    last_seen: datetime
    timeline: tuple[Mapping[str, Any], ...] = ()
    details: Mapping[str, Any] = {}
    resolved_at: datetime | None = None
    resolved_by: str | None = None
    resolution: str | None = None


class IncidentStore(Protocol):
    """Incidents."""

    async def record_incident(self, incident: StoredIncident) -> tuple[StoredIncident, bool]:
        """Open an incident, or add to the open one of the same ``dedup_key``: its count, timeline, last time and
        the higher severity. Atomic across processes; returns the incident and whether it is new."""
        ...

    async def get_incident(self, incident_id: str) -> StoredIncident | None: ...

    async def list_incidents(
        self,
        *,
        status: str | None = None,
        kind: str | None = None,
        manufacturer_id: str | None = None,
        since: datetime | None = None,
        limit: int = 100,
    ) -> list[StoredIncident]:
        """Those last seen most recently first."""
        ...

    async def resolve_incident(
        self, incident_id: str, *, at: datetime, by: str | None, note: str
    ) -> StoredIncident | None:
        """Close an open incident; None when it is unknown or closed already."""
        ...


def merged(known: StoredIncident, more: StoredIncident, severities: tuple[str, ...]) -> StoredIncident:
    """``known`` with what ``more`` adds."""
    timeline = (*known.timeline, *more.timeline)
    if len(timeline) > TIMELINE_LIMIT:
        half = TIMELINE_LIMIT // 2
        timeline = (*timeline[:half], *timeline[-half:])
    return msgspec.structs.replace(
        known,
        severity=max(known.severity, more.severity, key=severities.index),
        summary=more.summary,
        event_count=known.event_count + more.event_count,
        last_seen=max(known.last_seen, more.last_seen),
        timeline=timeline,
        details={**known.details, **more.details},
    )


class StoredProposal(Record, frozen=True, kw_only=True):
    """A measure that was proposed. ``status`` is ``proposed``, ``applied`` or ``rolled_back``; ``measure`` is
    what applying it puts in force, for ``seconds`` from then on."""

    proposal_id: str
    finding: str
    summary: str
    status: str = "proposed"
    measure: Measure
    seconds: float
    evidence: tuple[str, ...] = ()
    created_at: datetime
    changed_at: datetime
    changed_by: str | None = None


class MeasureStore(Protocol):
    """Measures and proposals. A change of a measure is a change of topic ``controls``."""

    async def save_measure(self, measure: Measure) -> None:
        """Put a measure in force, replacing the one of the same id."""
        ...

    async def delete_measure(self, measure_id: str) -> Measure | None:
        """Lift a measure; returns it, None when there was none."""
        ...

    async def list_measures(self, *, now: datetime) -> list[Measure]:
        """Those that have not ended."""
        ...

    async def add_proposal(self, proposal: StoredProposal) -> StoredProposal:
        """Keep a proposal; one of the same id that is proposed or applied stays as it is and is returned."""
        ...

    async def get_proposal(self, proposal_id: str) -> StoredProposal | None: ...

    async def list_proposals(self, *, status: str | None = None, limit: int = 100) -> list[StoredProposal]:
        """The newest first."""
        ...

    async def change_proposal(
        self, proposal_id: str, *, expected: tuple[str, ...], status: str, at: datetime, by: str | None
    ) -> StoredProposal | None:
        """Set the status if it is one of ``expected`` (compare-and-set); None when it is not."""
        ...
