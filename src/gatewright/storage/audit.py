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
    """The searchable fields of an entry, in encoding order. ``at`` is in microseconds, ``severity`` is a rank."""

    at: int
    severity: int
    event_id: str
    kind: str
    manufacturer_id: str | None = None
    account_id: str | None = None
    ip_address: str | None = None
    request_id: str | None = None


class AuditBody(msgspec.Struct, omit_defaults=True, frozen=True):
    """An entry in the form that is hashed: canonical JSON, keys in this order, the keys of ``data`` sorted.

    ``fields`` comes first and is an array, so that a store can compare it with its search columns without parsing
    the rest: ``{"fields":[1767225600000000,2,"0195…","auth:login:failed","mfr_1",null,"192.0.2.1",null],…``.
    Strings contain no control characters.
    """

    fields: AuditFields
    session_id: str | None = None
    actor: str | None = None
    data: Mapping[str, Any] = {}


encode_body = msgspec.json.Encoder(order="deterministic").encode
decode_body = msgspec.json.Decoder(AuditBody).decode
"""Decodes a body; raises ValueError (``msgspec.DecodeError``) if it is malformed."""


class StoredAuditEntry(Record, frozen=True, kw_only=True):
    """One event in the log. ``body`` (see :class:`AuditBody`) is authoritative; the other fields repeat parts of it
    for searching. ``leaf_hash`` is its RFC 9162 hash, and the store assigns ``index``."""

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
    """Build the entry for an encoded body and its fields."""
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
    """Size and root of the log. ``stored`` counts the entries actually present, and must equal ``size``.
    ``rebound`` is set by an append to a log that no longer matched its last binding."""

    size: int
    root: bytes
    stored: int
    rebound: bool = False


class AuditBinding(Record, frozen=True, kw_only=True):
    """A MAC over the size and root of the log, keyed by the root secret and renewed on each append. It covers the
    entries from index ``bound_from``; earlier ones are covered by another binding, or by none."""

    bound_from: int
    size: int
    root: bytes
    mac: bytes


class AuditBinder(Protocol):
    """Creates and verifies bindings with the root secret."""

    def bind(self, bound_from: int, size: int, root: bytes) -> AuditBinding: ...

    def verify(self, binding: AuditBinding) -> bool: ...


class StoredCheckpoint(Record, frozen=True, kw_only=True):
    """A signed statement of the size and root of the log; ``note`` is the signed text."""

    size: int
    root: bytes
    created_at: datetime
    note: str


class AuditQuery(Record, frozen=True, kw_only=True):
    """A search: newest first, below index ``before``. A ``kind`` that ends with ``*`` matches a prefix."""

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
    """The append-only audit log. No operation changes or removes an entry."""

    async def append_audit(self, entries: Sequence[StoredAuditEntry], binder: AuditBinder | None = None) -> AuditHead:
        """Append entries and advance the head, all or none.

        ``binder`` binds the new head in the same transaction. The last binding is renewed only if it is valid for
        the log as found; otherwise a new binding is added and the last one is kept as evidence.

        Entries with an ``event_id`` that is already in the log are skipped, so a batch can be retried safely. Safe
        across processes.
        """
        ...

    async def audit_head(self) -> AuditHead: ...

    async def audit_bindings(self) -> tuple[AuditHead, list[AuditBinding]]:
        """Return the head and all bindings, oldest first, from one snapshot."""
        ...

    async def read_audit(self, start: int, limit: int) -> list[StoredAuditEntry]:
        """Return entries from index ``start`` on, in order."""
        ...

    async def scan_audit(self, start: int, limit: int) -> list[tuple[int, bytes, bytes]]:
        """Like :meth:`read_audit`, but return only index, body and leaf hash, to read a long log in full."""
        ...

    async def mismatched_audit(self, start: int, stop: int) -> int | None:
        """Return the first index in ``start`` to ``stop`` (exclusive) with search fields that differ from the body."""
        ...

    async def find_audit(self, event_id: str) -> StoredAuditEntry | None: ...

    async def search_audit(self, query: AuditQuery) -> list[StoredAuditEntry]: ...

    async def audit_nodes(self, level: int, start: int, stop: int) -> list[bytes]:
        """Return hashes of subtrees ``start`` to ``stop`` (exclusive) at level 0 (leaves), 8, 16, 24 or 32."""
        ...

    async def add_checkpoint(self, checkpoint: StoredCheckpoint) -> None:
        """Store a checkpoint, replacing one of the same size."""
        ...

    async def list_checkpoints(self, *, limit: int = 1000) -> list[StoredCheckpoint]:
        """Return the newest checkpoints, in ascending order of size."""
        ...


TIMELINE_LIMIT = 200
"""Maximum entries of a timeline. Beyond it, the oldest and newest halves are kept."""


class StoredIncident(Record, frozen=True, kw_only=True):
    """An incident. At most one is open per ``dedup_key``. ``timeline`` contains JSON objects
    ``{"at", "note", "event_id"}``, and ``source`` is the network of origin."""

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
    """Open and resolved incidents."""

    async def record_incident(self, incident: StoredIncident) -> tuple[StoredIncident, bool]:
        """Open an incident, or merge into the open one with the same ``dedup_key``: add counts and timelines, and
        keep the later time and the higher severity. Atomic across processes. Returns the incident and whether it
        is new."""
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
        """List incidents, most recently seen first."""
        ...

    async def resolve_incident(
        self, incident_id: str, *, at: datetime, by: str | None, note: str
    ) -> StoredIncident | None:
        """Resolve an open incident; None if it is unknown or already resolved."""
        ...


def merged(incident: StoredIncident, update: StoredIncident, severities: tuple[str, ...]) -> StoredIncident:
    """Return ``incident`` merged with ``update``."""
    timeline = (*incident.timeline, *update.timeline)
    if len(timeline) > TIMELINE_LIMIT:
        half = TIMELINE_LIMIT // 2
        timeline = (*timeline[:half], *timeline[-half:])
    return msgspec.structs.replace(
        incident,
        severity=max(incident.severity, update.severity, key=severities.index),
        summary=update.summary,
        event_count=incident.event_count + update.event_count,
        last_seen=max(incident.last_seen, update.last_seen),
        timeline=timeline,
        details={**incident.details, **update.details},
    )


class StoredProposal(Record, frozen=True, kw_only=True):
    """A proposed measure. ``status`` is ``proposed``, ``applied`` or ``rolled_back``. Applying it puts ``measure``
    in force for ``seconds``."""

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
    """Measures and proposals. Changes of measures are published under topic ``controls``."""

    async def save_measure(self, measure: Measure) -> None:
        """Put a measure in force, replacing one with the same id."""
        ...

    async def delete_measure(self, measure_id: str) -> Measure | None:
        """Lift a measure and return it; None if there was none."""
        ...

    async def list_measures(self, *, now: datetime) -> list[Measure]:
        """List measures that have not ended."""
        ...

    async def add_proposal(self, proposal: StoredProposal) -> StoredProposal:
        """Store a proposal. If one with this id is proposed or in force, return that one unchanged."""
        ...

    async def get_proposal(self, proposal_id: str) -> StoredProposal | None: ...

    async def list_proposals(self, *, status: str | None = None, limit: int = 100) -> list[StoredProposal]:
        """List proposals, newest first."""
        ...

    async def change_proposal(
        self, proposal_id: str, *, expected: tuple[str, ...], status: str, at: datetime, by: str | None
    ) -> StoredProposal | None:
        """Set the status if it is currently one of ``expected`` (compare-and-set); None otherwise."""
        ...
