"""What an event looks like in the audit log: canonical JSON, bounded, without secrets."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from gatewright.events import SecurityEvent, Severity
from gatewright.logs import may_hold_secret, needs_no_redaction, redact, redact_text
from gatewright.records import Record
from gatewright.storage.audit import StoredAuditEntry
from gatewright.storage.merkle import leaf_hash

MAX_BODY = 64 * 1024
"""Bytes of one entry; the data of a larger one is left out, and the entry says so."""

_MAX_FIELD = 256
_OPTIONAL = ("manufacturer_id", "account_id", "session_id", "ip_address", "request_id", "actor")
_OURS = frozenset({"timestamp", "severity"})
SEVERITIES: dict[str, int] = {severity.value: rank for rank, severity in enumerate(Severity)}
_encode = msgspec.json.Encoder(order="sorted").encode


class AuditedEvent(Record, frozen=True, kw_only=True):
    """An event as the audit log has it; ``leaf_hash`` in hex."""

    index: int = -1
    leaf_hash: str = ""
    kind: str
    event_id: str
    timestamp: datetime
    severity: str
    manufacturer_id: str | None = None
    account_id: str | None = None
    session_id: str | None = None
    ip_address: str | None = None
    request_id: str | None = None
    actor: str | None = None
    data: Mapping[str, Any] = {}


_decode = msgspec.json.Decoder(AuditedEvent).decode


def entry_of(event: SecurityEvent) -> StoredAuditEntry:
    """The entry for an event. Never fails: an event that cannot be read is kept without its data."""
    fields: dict[str, Any] = {
        "kind": event.kind,
        "event_id": event.event_id,
        "timestamp": event.timestamp.astimezone(UTC),
        "severity": event.severity if event.severity in SEVERITIES else Severity.NOTICE.value,
    }
    for name in _OPTIONAL:
        value = getattr(event, name)
        if value is not None:
            fields[name] = value
    try:
        body = _plain_body(event, fields)
        if body is None:
            fields = {k: v if k in _OURS else redact_text(str(v))[:_MAX_FIELD] for k, v in fields.items()}
            body = _encode({**fields, "data": redact(event.data)})
    except Exception as error:  # the caller's object misbehaves, and the event must be kept all the same
        fields = {k: v if k in _OURS else redact_text(str(v))[:_MAX_FIELD] for k, v in fields.items()}
        body = _encode({**fields, "data": {"unreadable": type(error).__name__}})
    if len(body) > MAX_BODY:
        body = _encode({**fields, "data": {"left_out": f"{len(body)} bytes of data"}})
    return _entry(body, fields)


def _plain_body(event: SecurityEvent, fields: dict[str, Any]) -> bytes | None:
    """The body of an event in which there is nothing to redact, as in most; None when a closer look is needed."""
    data = event.data
    if type(data) is not dict or not needs_no_redaction(data):
        return None
    for name, value in fields.items():
        if name not in _OURS and (type(value) is not str or len(value) > _MAX_FIELD or not value.isprintable()):
            return None
    body = _encode({**fields, "data": data})
    return None if may_hold_secret(body.decode()) else body


def entry_from(body: bytes) -> StoredAuditEntry:
    """The entry for a body that was written before, as by the spool.

    Raises:
        ValueError: the body is no entry.
    """
    event = _decode(body)
    return _entry(body, {name: getattr(event, name) for name in AuditedEvent.__struct_fields__})


def event_of(entry: StoredAuditEntry) -> AuditedEvent:
    """The event in an entry."""
    return msgspec.structs.replace(_decode(entry.body), index=entry.index, leaf_hash=entry.leaf_hash.hex())


def _entry(body: bytes, fields: Mapping[str, Any]) -> StoredAuditEntry:
    return StoredAuditEntry(
        event_id=fields["event_id"],
        at=fields["timestamp"].timestamp(),
        kind=fields["kind"],
        severity=SEVERITIES[fields["severity"]],
        manufacturer_id=fields.get("manufacturer_id"),
        account_id=fields.get("account_id"),
        ip_address=fields.get("ip_address"),
        request_id=fields.get("request_id"),
        body=body,
        leaf_hash=leaf_hash(body),
    )
