"""API keys for machines: creation, verification, rotation and revocation.

The store has a keyed hash of a key's secret; the key itself is shown once.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from gatewright import event_kinds
from gatewright.auth.account_directory import Person
from gatewright.auth.api_key_rules import ID_LENGTH, KeyPermissions, new_key, no_api_access, split_key
from gatewright.auth.records import ApiKeyInfo, ClientInfo
from gatewright.auth.root_secret import KeyedHash, bounded_text
from gatewright.clock import Clock, SystemClock, to_utc
from gatewright.errors import (
    AuthorizationError,
    FieldError,
    InvalidCredentialsError,
    ValidationError,
)
from gatewright.events import EventSink, NullSink, Severity, event
from gatewright.records import Record
from gatewright.storage.changes import ALL, Changes
from gatewright.storage.credentials import ApiKeyStore, StoredApiKey
from gatewright.storage.tenants import StoredAccount, StoredManufacturer, TenantStore

MOST_KEYS = 100
MAX_NAME_LENGTH = 100
OVERLAP = timedelta(days=1)
"""How long a rotated key still works, if nothing else is said."""

TOUCH_EVERY = 60.0
"""Seconds between two notes of the last use: a busy key is not a busy writer."""

REMEMBER = 10_000
WINDOW = 30.0
"""Seconds for which a verified key is remembered; a revocation is learned of sooner."""

_CEILING_TOPICS = ("manufacturer", "account", "grants", "policy")
"""Whatever changes here may change what a key is allowed."""


class ApiKeyIdentity(Record, frozen=True, kw_only=True):
    """Who a key speaks for: its manufacturer, the person who made it, and what it may do now."""

    key_id: str
    name: str
    manufacturer_id: str
    account_id: str | None
    company_name: str
    email: str
    tier: str
    roles: list[str]
    permissions: list[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime


class _Known(Record, frozen=True, kw_only=True):
    stored: StoredApiKey
    manufacturer: StoredManufacturer | None
    account: StoredAccount | None
    allowed: list[str]
    usable: bool = True
    """Whether the person behind the key may use keys at all."""


class ApiKeys:
    """Makes, checks, rotates and ends keys.

    Args:
        permissions: what a key may be given, and what is left of it.
        strict: whether keys of manufacturers that the store does not know are refused.
    """

    def __init__(
        self,
        store: ApiKeyStore,
        tenants: TenantStore,
        keyed: KeyedHash,
        changes: Changes,
        *,
        permissions: KeyPermissions,
        strict: bool = False,
        sink: EventSink | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._store = store
        self._tenants = tenants
        self._keyed = keyed
        self._permissions = permissions
        self._strict = strict
        self._sink = sink or NullSink()
        self._clock = clock or SystemClock()
        self._verified: OrderedDict[str, tuple[_Known, float]] = OrderedDict()
        self._notices = 0
        self._touched: OrderedDict[str, float] = OrderedDict()
        self._stops = [
            changes.subscribe("api_key", self._forget),
            *(changes.subscribe(topic, self._forget_all) for topic in _CEILING_TOPICS),
        ]

    def close(self) -> None:
        """Stop listening for changes."""
        for stop in self._stops:
            stop()
        self._stops = []

    async def create(
        self, person: Person, name: object, *, permissions: Iterable[object], expires_at: datetime | None = None
    ) -> ApiKeyInfo:
        """A new key; the result has it in ``key``, once.

        Raises:
            ValidationError: name, expiry or number of keys are out of bounds, or a permission is unknown.
            InsufficientPermissionsError: a permission that the person does not have, or no ``api_access``.
        """
        wanted = self._permissions.checked(permissions)
        await self._permissions.require(person, wanted)
        text = _checked_name(name)
        expires = self._checked_expiry(expires_at)
        key, stored = self._new(
            manufacturer_id=person.manufacturer_id,
            account_id=person.account_id,
            name=text,
            permissions=wanted,
            expires_at=expires,
        )
        if not await self._store.add_api_key(stored, limit=MOST_KEYS):
            raise ValidationError(
                f"A manufacturer has at most {MOST_KEYS} API keys; revoke one first.", code="TOO_MANY_API_KEYS"
            )
        self._emit(event_kinds.AUTH_API_KEY_CREATED, Severity.NOTICE, stored, permissions=list(wanted))
        return _describe(stored, key=key)

    async def verify(self, key: object, *, client: ClientInfo | None = None) -> ApiKeyIdentity:
        """Whose key this is, and what it may do now.

        Raises:
            InvalidCredentialsError: no key of this service, revoked or expired (code ``INVALID_API_KEY``).
            InsufficientPermissionsError: the person who made it has no ``api_access`` any longer.
        """
        parts = split_key(key)
        if parts is None:
            raise _invalid()
        key_id, secret = parts
        known = await self._look(key_id)
        fault = self._fault(known, self._keyed.of("api-key", key_id, secret))
        if known is None or fault is not None:
            stored = known.stored if known else None
            self._emit(event_kinds.AUTH_API_KEY_REFUSED, Severity.WARNING, stored, client, reason=fault, key_id=key_id)
            raise _invalid()
        stored, now = known.stored, self._clock.now()
        if not known.usable:
            self._emit(event_kinds.AUTH_API_KEY_REFUSED, Severity.WARNING, stored, client, reason="api_access")
            raise no_api_access(stored.manufacturer_id)
        await self._touch(stored, now)
        return _identify(known, now)

    async def rotate(
        self, manufacturer_id: str, key_id: str, *, overlap: timedelta = OVERLAP, person: Person | None = None
    ) -> ApiKeyInfo:
        """A new key in place of another, which still works for ``overlap``; each is rotated once.

        The caller sees the new key: rotating a colleague's must lead to nothing that one could not have made oneself.

        Args:
            person: who rotates it, and whose key the new one is; None: the one whose key the old one is.

        Raises:
            ValidationError: an overlap below 0 or above 90 days.
            AuthorizationError: no such key that could be rotated (code ``UNKNOWN_API_KEY``).
            InsufficientPermissionsError: someone else's key, with a permission that ``person`` does not have.
        """
        if not timedelta(0) <= overlap <= timedelta(days=90):
            raise ValidationError("overlap must be 0 to 90 days.", code="INVALID_OVERLAP")
        old = await self._store.get_api_key(bounded_text(key_id, ID_LENGTH))
        if old is None or old.manufacturer_id != manufacturer_id:
            raise _unknown()
        if person is not None and person.account_id != old.account_id:
            await self._permissions.require(person, old.permissions)
        key, stored = self._new(
            manufacturer_id=manufacturer_id,
            account_id=old.account_id if person is None else person.account_id,
            name=old.name,
            permissions=old.permissions,
            expires_at=old.expires_at,
            replaces=old.key_id,
        )
        if not await self._store.rotate_api_key(stored, old_expires_at=self._clock.now() + overlap):
            raise _unknown()
        self._emit(event_kinds.AUTH_API_KEY_ROTATED, Severity.NOTICE, stored, replaces=old.key_id)
        return _describe(stored, key=key)

    async def listed(self, manufacturer_id: str) -> list[ApiKeyInfo]:
        """All keys of a manufacturer, newest first, without secrets."""
        return [_describe(stored) for stored in await self._store.list_api_keys(manufacturer_id)]

    async def revoke(self, key_id: str, *, manufacturer_id: str | None = None) -> bool:
        """Revoke a key immediately, in every process; False if this manufacturer has no such active key."""
        stored = await self._store.get_api_key(bounded_text(key_id, ID_LENGTH))
        if stored is None or (manufacturer_id is not None and stored.manufacturer_id != manufacturer_id):
            return False
        revoked = await self._store.revoke_api_key(key_id, now=self._clock.now())
        if revoked:
            self._emit(event_kinds.AUTH_API_KEY_REVOKED, Severity.NOTICE, stored)
        return revoked

    async def revoke_unfounded(self, person_id: str, manufacturer_id: str) -> int:
        """End the keys that an account made and that it could not make now, after a change of its role or status.

        Returns:
            How many ended.
        """
        account = await self._tenants.get_account(person_id)
        active = account is not None and account.status == "active"
        ended = 0
        for stored in await self._store.list_api_keys(manufacturer_id):
            if stored.account_id != person_id or stored.revoked_at is not None:
                continue
            left = await self._permissions.left_of(stored)
            if not active or not left.usable or len(left.permissions) < len(stored.permissions):
                ended += await self.revoke(stored.key_id, manufacturer_id=manufacturer_id)
        return ended

    # ------------------------------------------------------------------------------------------------------------

    async def _look(self, key_id: str) -> _Known | None:
        """The stored key of this id and its owner, from memory while that is fresh."""
        looked, notices = self._clock.monotonic(), self._notices
        known, since = self._verified.get(key_id, (None, 0.0))
        if known is not None and looked - since < WINDOW:
            return known
        stored = await self._store.get_api_key(key_id)
        if stored is None:
            return None
        left = await self._permissions.left_of(stored)
        known = _Known(
            stored=stored,
            manufacturer=await self._tenants.get_manufacturer(stored.manufacturer_id),
            account=await self._tenants.get_account(stored.account_id) if stored.account_id else None,
            allowed=left.permissions,
            usable=left.usable,
        )
        if notices == self._notices:  # nothing changed while the store was asked
            self._verified[key_id] = (known, looked)
            while len(self._verified) > REMEMBER:
                self._verified.popitem(last=False)
        return known

    def _fault(self, known: _Known | None, secret_hash: str) -> str | None:
        """Why a key is refused, for the event; the caller learns nothing of it."""
        expected = known.stored.secret_hash if known else "0" * 64
        if not secrets.compare_digest(expected, secret_hash) or known is None:
            return "unknown"
        if known.stored.revoked_at is not None:
            return "revoked"
        if known.stored.expires_at is not None and known.stored.expires_at <= self._clock.now():
            return "expired"
        if known.manufacturer is None:
            return "owner" if self._strict else None
        disabled = known.manufacturer.status != "active" or (known.account and known.account.status != "active")
        return "owner" if disabled else None

    def _checked_expiry(self, expires_at: datetime | None) -> datetime | None:
        if expires_at is None:
            return None
        if not isinstance(expires_at, datetime):
            raise _bad_expiry("expires_at must be a datetime, such as 2027-01-31T00:00:00Z.")
        moment = to_utc(expires_at if expires_at.tzinfo else expires_at.replace(tzinfo=UTC))
        if moment is None:
            raise _bad_expiry("expires_at must fall between the years 1 and 9999 in UTC.")
        if moment <= self._clock.now():
            raise _bad_expiry("expires_at must be in the future.")
        return moment

    def _new(self, **fields: Any) -> tuple[str, StoredApiKey]:
        key_id, secret, key = new_key()
        stored = StoredApiKey(
            key_id=key_id,
            secret_hash=self._keyed.of("api-key", key_id, secret),
            created_at=self._clock.now(),
            **fields,
        )
        return key, stored

    async def _touch(self, stored: StoredApiKey, now: datetime) -> None:
        moment = self._clock.monotonic()
        if moment - self._touched.get(stored.key_id, -TOUCH_EVERY) < TOUCH_EVERY:
            return
        self._touched[stored.key_id] = moment
        while len(self._touched) > REMEMBER:
            self._touched.popitem(last=False)
        await self._store.touch_api_key(stored.key_id, now=now)

    def _forget_all(self, _: str) -> None:
        self._forget(ALL)

    def _forget(self, key_id: str) -> None:
        self._notices += 1
        if key_id == ALL:
            self._verified.clear()
        else:
            self._verified.pop(key_id, None)

    def _emit(
        self,
        kind: str,
        severity: Severity,
        stored: StoredApiKey | None,
        client: ClientInfo | None = None,
        **data: Any,
    ) -> None:
        self._sink.emit(
            event(
                kind,
                severity=severity,
                timestamp=self._clock.now(),
                manufacturer_id=stored.manufacturer_id if stored else None,
                account_id=stored.account_id if stored else None,
                ip_address=client.ip_address if client else None,
                **{"key_id": stored.key_id if stored else None, **data},
            )
        )


def _bad_expiry(message: str) -> ValidationError:
    error = FieldError(field="expires_at", error_type="INVALID_EXPIRY", message=message)
    return ValidationError(message, errors=[error], code="INVALID_EXPIRY")


def _checked_name(name: object) -> str:
    text = bounded_text(name, MAX_NAME_LENGTH).strip()
    if not text or not text.isprintable():
        raise ValidationError(
            f"A key's name must have 1 to {MAX_NAME_LENGTH} printable characters.", code="INVALID_NAME"
        )
    return text


def _identify(known: _Known, now: datetime) -> ApiKeyIdentity:
    stored, manufacturer, account = known.stored, known.manufacturer, known.account
    return ApiKeyIdentity(
        key_id=stored.key_id,
        name=stored.name,
        manufacturer_id=stored.manufacturer_id,
        account_id=stored.account_id,
        company_name=manufacturer.company_name if manufacturer else "",
        email=account.email if account else "",
        tier=manufacturer.tier if manufacturer else "",
        roles=[f"manufacturer_{manufacturer.tier}"] if manufacturer else [],
        permissions=list(known.allowed),
        created_at=stored.created_at,
        expires_at=stored.expires_at,
        last_used_at=now,
    )


def _describe(stored: StoredApiKey, *, key: str | None = None) -> ApiKeyInfo:
    return ApiKeyInfo(
        key_id=stored.key_id,
        manufacturer_id=stored.manufacturer_id,
        name=stored.name,
        permissions=list(stored.permissions),
        created_at=stored.created_at,
        expires_at=stored.expires_at,
        last_used_at=stored.last_used_at,
        revoked_at=stored.revoked_at,
        key=key,
    )


def _invalid() -> InvalidCredentialsError:
    return InvalidCredentialsError(
        "The API key is invalid.",
        code="INVALID_API_KEY",
        recommended_action="Check the key, or create a new one.",
    )


def _unknown() -> AuthorizationError:
    return AuthorizationError("Unknown or revoked API key. List keys with GET /v1/api-keys.", code="UNKNOWN_API_KEY")
