"""Public records of encryption."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from gatewright.records import Record

Envelope = dict[str, Any]
"""``{"encrypted_payload": str, "encryption_metadata": {...}}``, JSON-safe."""


class KeyRotationResult(Record, frozen=True, kw_only=True):
    """A new generation of data keys is in use; what was sealed under the old one still opens."""

    old_key_id: str
    new_key_id: str
    key_version: int
    rotated_at: datetime
    reason: str


class RootRotationResult(Record, frozen=True, kw_only=True):
    """Data keys are wrapped by the new root; ``rewrapped`` is how many were wrapped again."""

    old_root_id: str
    new_root_id: str
    rewrapped: int


class KeyInfo(Record, frozen=True, kw_only=True):
    """One generation of data keys, for lists of keys. ``status``: active, retired, revoked or destroyed."""

    key_id: str
    version: int
    status: str
    created_at: datetime
    retired_at: datetime | None = None
    reason: str | None = None


class ShredResult(Record, frozen=True, kw_only=True):
    """A manufacturer's keys are gone. ``durable`` tells whether they were destroyed in a key store, or only
    refused in this process because they are derived from the root."""

    manufacturer_id: str
    keys_destroyed: int
    durable: bool
    shredded_at: datetime


class ReencryptionReport(Record, frozen=True, kw_only=True):
    """How far a re-encryption came, or that it ended.

    ``contended`` counts records that a writer changed first (they were processed again), ``failed_ids`` names
    at most a hundred of the records that do not open; those were left as they were. ``shredded`` counts what no
    key opens any more because its manufacturer's keys were destroyed, which is no failure.
    """

    source: str
    target_version: int
    scanned: int
    reencrypted: int
    already_current: int
    contended: int
    shredded: int = 0
    failed: int
    failed_ids: list[str] = []
    finished: bool
    started_at: datetime
    updated_at: datetime


class EmergencyReport(Record, frozen=True, kw_only=True):
    """A compromised generation (``key_id``) was replaced, what was sealed under it re-encrypted, and it was revoked.

    ``rotation`` is None if a newer generation was already in use. ``complete`` is False while records are left
    under it; it is not revoked then, so that they stay readable. ``destroyed``: its keys are deleted.
    """

    key_id: str
    rotation: KeyRotationResult | None = None
    reencryptions: list[ReencryptionReport]
    revoked: bool
    destroyed: bool = False
    complete: bool


class ExportedRecord(Record, frozen=True, kw_only=True):
    """One record of an export in plaintext; ``readable`` is False, and ``data`` None, where it does not open."""

    source: str
    record_id: str
    field: str | None = None
    classification: str | None = None
    encrypted_at: str | None = None
    readable: bool
    data: Any = None


class ComplianceFinding(Record, frozen=True, kw_only=True):
    """One check: how it came out, and what to do about it.

    ``status`` is ``passed``, ``failed``, or ``info`` for a fact that no rule asks for; ``severity`` is that of
    an event.
    """

    check: str
    status: str
    severity: str
    detail: str
    remedy: str | None = None


class ComplianceReport(Record, frozen=True, kw_only=True):
    """Each check that was made. ``compliant``: none of them failed. Nothing is claimed beyond them."""

    compliant: bool
    findings: list[ComplianceFinding]
    checked_at: datetime
    algorithm: str
    key_version: int
