"""Data export: all data of a manufacturer or one of its members, decrypted.

Answers a data subject access request (GDPR, article 15). Credentials (passwords, secrets, keys and their hashes) are
omitted: they say nothing about the person and are dangerous in the wrong hands. The export lists what is omitted.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from gatewright import event_kinds
from gatewright.errors import ValidationError
from gatewright.storage.audit import AuditQuery

if TYPE_CHECKING:
    from gatewright.encryption import RecordSource
    from gatewright.foundation import SecurityFoundation
    from gatewright.storage.tenants import StoredAccount

FORMAT = "gatewright-export-1"
LEFT_OUT = (
    "credentials: password hashes, secrets of second factors, backup codes, hashes of tokens and keys",
    "ended sessions: their start and end are in `events`",
    "attempt counters, which expire within hours",
)
_PAGE = 500
_SECRET = frozenset({"profile", "password_hash", "cookie_hash", "secret_hash", "token_hash", "secret", "binding"})
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


async def export_manufacturer(
    foundation: SecurityFoundation, manufacturer_id: str, sources: Sequence[RecordSource], *, actor: str
) -> dict[str, Any]:
    """All data of a manufacturer and its members.

    Args:
        sources: sources of encrypted records. Records of this manufacturer are decrypted; those that cannot be are
            listed with ``readable: false``.
        actor: who exports, for the audit log.

    Raises:
        ValidationError: unknown manufacturer (code ``UNKNOWN_MANUFACTURER``).
    """
    store, now = foundation.store, foundation.clock.now()
    stored = await store.get_manufacturer(manufacturer_id)
    if stored is None:
        raise ValidationError(
            f"Unknown manufacturer {manufacturer_id!r}. List them with `gatewright manufacturer list`.",
            code="UNKNOWN_MANUFACTURER",
        )
    accounts = await store.list_accounts(manufacturer_id)
    people = {account.account_id for account in accounts}
    records = [record async for record in foundation.encryption.export_manufacturer_data(manufacturer_id, sources)]
    _print_result(foundation, manufacturer_id, None, actor, records=len(records))
    return {
        **_about(now, manufacturer_id=manufacturer_id, account_id=None),
        "manufacturer": _public(stored),
        "records": [record.to_dict() for record in records],
        "accounts": [await _person(foundation, account) for account in accounts],
        "sessions": _all(await store.list_sessions(manufacturer_id, now=now)),
        "api_keys": _all(await store.list_api_keys(manufacturer_id)),
        "invitations": _all(await store.list_invitations(manufacturer_id, now)),
        "usage": _all(await store.usage_history(manufacturer_id)),
        "refused_over_limit": _all(await store.overage_attempts(manufacturer_id, since=_BEGINNING)),
        "refused_permissions": _all(await store.violations_of(manufacturer_id, since=_BEGINNING)),
        "permission_use": await _permission_use(foundation, manufacturer_id),
        "grants": _all(await store.grants_of(manufacturer_id, now)),
        "adjustments": _all(await store.list_adjustments(manufacturer_id)),
        "incidents": _all(await store.list_incidents(manufacturer_id=manufacturer_id, limit=10_000)),
        "feedback": await _feedback(foundation, people | {manufacturer_id}),
        "events": await _events(foundation, AuditQuery(manufacturer_id=manufacturer_id, limit=_PAGE)),
    }


async def export_member(
    foundation: SecurityFoundation, manufacturer_id: str, account_id: str, *, actor: str
) -> dict[str, Any]:
    """All data of one member, without the business data of the manufacturer.

    Raises:
        ValidationError: unknown member (code ``UNKNOWN_ACCOUNT``).
    """
    store, now = foundation.store, foundation.clock.now()
    account = await store.get_account(account_id)
    if account is None or account.manufacturer_id != manufacturer_id:
        raise ValidationError(
            f"Unknown member {account_id!r} of {manufacturer_id!r}. "
            f"List members with `gatewright manufacturer show {manufacturer_id}`.",
            code="UNKNOWN_ACCOUNT",
        )
    sessions = await store.list_sessions(manufacturer_id, now=now)
    keys = await store.list_api_keys(manufacturer_id)
    incidents = await store.list_incidents(manufacturer_id=manufacturer_id, limit=10_000)
    _print_result(foundation, manufacturer_id, account_id, actor)
    return {
        **_about(now, manufacturer_id=manufacturer_id, account_id=account_id),
        "accounts": [await _person(foundation, account)],
        "sessions": _all(one for one in sessions if one.account_id == account_id),
        "api_keys": _all(one for one in keys if one.account_id == account_id),
        "incidents": _all(one for one in incidents if one.account_id == account_id),
        "feedback": await _feedback(foundation, {account_id}),
        "events": await _events(foundation, AuditQuery(account_id=account_id, limit=_PAGE)),
    }


def write_private(path: Path, held: dict[str, Any]) -> None:
    """Write a new private JSON file. Existing files and links are never followed or overwritten."""
    text = msgspec.json.format(msgspec.json.encode(held, enc_hook=str), indent=2)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text + b"\n")


def _about(now: datetime, **whose: str | None) -> dict[str, Any]:
    return {"format": FORMAT, "exported_at": now, **whose, "left_out": list(LEFT_OUT)}


def _print_result(
    foundation: SecurityFoundation, manufacturer_id: str, account_id: str | None, actor: str, **data: Any
) -> None:
    """Record the export before any data is returned."""
    from gatewright.events import Severity, event

    foundation.sink.emit(
        event(
            event_kinds.ADMIN_MANUFACTURER_EXPORTED,
            severity=Severity.HIGH,
            manufacturer_id=manufacturer_id,
            account_id=account_id,
            actor=actor,
            **data,
        )
    )


async def _person(foundation: SecurityFoundation, account: StoredAccount) -> dict[str, Any]:
    store, now = foundation.store, foundation.clock.now()
    return {
        **_public(account),
        "has_password": account.password_hash is not None,
        "authenticator_apps": _all(await store.list_totp(account.account_id)),
        "backup_codes_left": await store.count_backup_codes(account.account_id),
        "passkeys": _all(await store.list_passkeys(account.account_id)),
        "trusted_devices": _all(await store.list_devices(account.account_id, now=now)),
    }


async def _permission_use(foundation: SecurityFoundation, manufacturer_id: str) -> dict[str, dict[str, str]]:
    used = await foundation.store.permission_use(manufacturer_id)
    return {name: {"first_day": _day(first), "last_day": _day(last)} for name, (first, last) in used.items()}


def _day(number: int) -> str:
    return datetime.fromtimestamp(number * 86_400, UTC).date().isoformat()


async def _feedback(foundation: SecurityFoundation, actors: set[str]) -> list[dict[str, Any]]:
    return _all(one for one in await foundation.store.list_feedback(limit=1_000_000) if one.actor in actors)


async def _events(foundation: SecurityFoundation, query: AuditQuery) -> list[dict[str, Any]]:
    """All audit events that match the query, newest first."""
    from gatewright.monitoring.audit_encoding import event_of

    await foundation.monitor.flush()
    found: list[dict[str, Any]] = []
    while page := await foundation.store.search_audit(query):
        found += [event_of(entry).to_dict() for entry in page]
        query = msgspec.structs.replace(query, before=page[-1].index)
    return found


def _all(records: Any) -> list[dict[str, Any]]:
    return [_public(record) for record in records]


def _public(record: Any) -> dict[str, Any]:
    """A stored record without encrypted fields and credentials."""
    return {name: value for name, value in record.to_dict().items() if name not in _SECRET}
