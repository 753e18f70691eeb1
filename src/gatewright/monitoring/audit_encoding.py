"""Encoding of events for the audit log: bounded canonical JSON without secrets."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from gatewright.events import SecurityEvent, Severity
from gatewright.logs import any_may_contain_secret, clean_kind, plain_texts, redact, redact_text
from gatewright.records import Record
from gatewright.storage.audit import AuditBody, AuditFields, StoredAuditEntry, decode_body, encode_body, stored_entry

MAX_BODY = 64 * 1024
"""The maximum size of an entry. The data of a larger event is omitted, and the entry notes that."""

_MAX_FIELD = 256
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NAMES = tuple(severity.value for severity in Severity)
SEVERITIES: dict[str, int] = {name: rank for rank, name in enumerate(_NAMES)}


class AuditedEvent(Record, frozen=True, kw_only=True):
    """An event in the audit log. ``leaf_hash`` is in hex."""

    index: int
    leaf_hash: str
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


def entry_of(event: SecurityEvent) -> StoredAuditEntry:
    """Encode an event. Never fails: an event that cannot be read is kept without its data."""
    moment = event.timestamp if event.timestamp.tzinfo is not None else event.timestamp.replace(tzinfo=UTC)
    at = (moment - _EPOCH) // _MICROSECOND
    severity = SEVERITIES.get(event.severity, SEVERITIES[Severity.NOTICE])
    kind = clean_kind(str(event.kind))[:_MAX_FIELD]  # a kind such as auth:token:revoked is not a secret value
    ids = (event.manufacturer_id, event.account_id, event.ip_address, event.request_id)
    texts = (event.event_id, *ids)
    more = (event.session_id, event.actor)
    try:
        shown = plain_texts(event.data) if type(event.data) is dict and _is_plain((*texts, *more)) else None
        if shown is not None and not any_may_contain_secret([*shown, *filter(None, texts), *filter(None, more)]):
            fields = AuditFields(at, severity, event.event_id, kind, *ids)
            body = encode_body(AuditBody(fields, *more, data=event.data))
            if len(body) <= MAX_BODY:
                return stored_entry(body, fields)
        data = redact(event.data)
    except Exception as error:  # data objects of callers may raise anything, and the event must be kept
        data = {"unreadable": type(error).__name__}
    event_id, *others = (None if text is None else redact_text(str(text))[:_MAX_FIELD] for text in texts)
    session_id, actor = (None if text is None else redact_text(str(text))[:_MAX_FIELD] for text in more)
    fields = AuditFields(at, severity, event_id or "", kind, *others)
    body = encode_body(AuditBody(fields, session_id, actor, data))
    if len(body) > MAX_BODY:
        body = encode_body(AuditBody(fields, session_id, actor, {"left_out": f"{len(body)} bytes of data"}))
    return stored_entry(body, fields)


def entry_from(body: bytes) -> StoredAuditEntry:
    """The entry with an encoded body, as in the spool.

    Raises:
        ValueError: the body is not an entry.
    """
    return stored_entry(body, decode_body(body).fields)


def event_of(entry: StoredAuditEntry) -> AuditedEvent:
    """Decode an entry."""
    body = decode_body(entry.body)
    fields = body.fields
    return AuditedEvent(
        index=entry.index,
        leaf_hash=entry.leaf_hash.hex(),
        kind=fields.kind,
        event_id=fields.event_id,
        timestamp=_EPOCH + fields.at * _MICROSECOND,
        severity=_NAMES[min(max(fields.severity, 0), len(_NAMES) - 1)],
        manufacturer_id=fields.manufacturer_id,
        account_id=fields.account_id,
        session_id=body.session_id,
        ip_address=fields.ip_address,
        request_id=fields.request_id,
        actor=body.actor,
        data=body.data,
    )


def _is_plain(texts: tuple[str | None, ...]) -> bool:
    """Whether all texts are short and printable, so that they need no cleaning."""
    return all(text is None or (type(text) is str and len(text) <= _MAX_FIELD and text.isprintable()) for text in texts)
