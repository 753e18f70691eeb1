"""Public records of encryption."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from gatewright.records import Record

Envelope = dict[str, Any]
"""``{"encrypted_payload": str, "encryption_metadata": {...}}``, JSON-safe."""


class KeyRotationResult(Record, frozen=True, kw_only=True):
    """A new generation of data keys is active. Envelopes of the old one can still be decrypted."""

    old_key_id: str
    new_key_id: str
    key_version: int
    rotated_at: datetime
    reason: str


class RootRotationResult(Record, frozen=True, kw_only=True):
    """The root key was replaced. ``rewrapped`` is the number of data keys that were rewrapped."""

    old_root_id: str
    new_root_id: str
    rewrapped: int


class KeyInfo(Record, frozen=True, kw_only=True):
    """A generation of data keys. ``status`` is active, retired, revoked or destroyed."""

    key_id: str
    version: int
    status: str
    created_at: datetime
    retired_at: datetime | None = None
    reason: str | None = None


class ShredResult(Record, frozen=True, kw_only=True):
    """A manufacturer's keys were destroyed. ``durable`` is False if they are derived from the root key, so that only
    this process refuses them."""

    manufacturer_id: str
    keys_destroyed: int
    durable: bool
    shredded_at: datetime


class ReencryptionReport(Record, frozen=True, kw_only=True):
    """The progress or result of a re-encryption.

    ``contended`` counts records that another writer changed first; they were processed again. ``failed_ids`` lists up
    to 100 records that could not be decrypted; they were not changed. ``shredded`` counts records of manufacturers
    whose keys were destroyed, which is not a failure.
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
    """The response to a compromised generation, ``key_id``.

    ``rotation`` is None if a newer generation was already active. ``complete`` is False while records remain under the
    generation. It is not revoked then, so that they stay readable. ``destroyed`` is whether its keys were deleted.
    """

    key_id: str
    rotation: KeyRotationResult | None = None
    reencryptions: list[ReencryptionReport]
    revoked: bool
    destroyed: bool = False
    complete: bool


class ExportedRecord(Record, frozen=True, kw_only=True):
    """One exported record in plaintext. If it cannot be decrypted, ``readable`` is False and ``data`` is None."""

    source: str
    record_id: str
    field: str | None = None
    classification: str | None = None
    encrypted_at: str | None = None
    readable: bool
    data: Any = None


class ComplianceFinding(Record, frozen=True, kw_only=True):
    """The result of one check, with its remedy.

    ``status`` is ``passed``, ``failed``, or ``info`` for a fact without a requirement. ``severity`` is that of an
    event.
    """

    check: str
    status: str
    severity: str
    detail: str
    remedy: str | None = None


class ComplianceReport(Record, frozen=True, kw_only=True):
    """The results of all checks. ``compliant`` means that none of them failed, and nothing more."""

    compliant: bool
    findings: list[ComplianceFinding]
    checked_at: datetime
    algorithm: str
    key_version: int
