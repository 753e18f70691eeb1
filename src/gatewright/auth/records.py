"""Public records of identity."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from gatewright.errors import FieldError
from gatewright.records import Record
from gatewright.storage.tenants import StoredAccount, StoredManufacturer


class AuthStatus(StrEnum):
    """How far a sign-in came."""

    AUTHENTICATED = "authenticated"
    MFA_REQUIRED = "mfa_required"


class Factor(StrEnum):
    """What was shown at sign-in."""

    PASSWORD = "pwd"  # noqa: S105 - the name of a factor (RFC 8176)
    TOTP = "otp"
    BACKUP_CODE = "backup_code"
    PASSKEY = "passkey"
    EMAIL_CODE = "email_code"
    DEVICE = "device"


SECOND_FACTORS = frozenset(
    factor.value for factor in (Factor.TOTP, Factor.BACKUP_CODE, Factor.PASSKEY, Factor.EMAIL_CODE, Factor.DEVICE)
)
"""Any of these beside (or, a passkey with user verification, instead of) the password makes two factors."""


class ClientInfo(Record, frozen=True):
    """Where a call comes from: the address as the trusted proxies tell it, the user agent, a trusted device's token."""

    ip_address: str | None = None
    user_agent: str | None = None
    device_token: str | None = None

    def __repr__(self) -> str:
        return f"ClientInfo(ip_address={self.ip_address!r}, user_agent={self.user_agent!r})"


class ManufacturerAccount(Record, frozen=True, kw_only=True):
    """A person of a manufacturer, with what the manufacturer is. ``warnings`` come of registration."""

    manufacturer_id: str
    account_id: str
    email: str
    company_name: str
    tier: str
    roles: list[str]
    role: str = "owner"
    status: str = "active"
    created_at: datetime
    last_login_at: datetime | None = None
    warnings: list[FieldError] = msgspec.field(default_factory=list)


class AuthResult(Record, frozen=True, kw_only=True):
    """The outcome of a sign-in step or a refresh. Tokens are shown here and nowhere else.

    ``expires_in`` is the access token's life in seconds. ``device_token`` is there when a device was remembered.
    """

    status: str
    access_token: str | None = None
    refresh_token: str | None = None
    token_type: str = "Bearer"  # noqa: S105 - the name of a scheme (RFC 6750)
    expires_in: float | None = None
    session_id: str | None = None
    manufacturer: ManufacturerAccount | None = None
    mfa_required: bool = False
    mfa_methods: list[str] = msgspec.field(default_factory=list)
    challenge_id: str | None = None
    device_token: str | None = None

    def __repr__(self) -> str:
        """Without tokens: results end up in logs."""
        return f"AuthResult(status={self.status!r}, session_id={self.session_id!r})"


class ManufacturerSession(Record, frozen=True, kw_only=True):
    """A session. ``session_id`` is a handle that may be listed and logged; it opens nothing by itself.

    ``device`` is the user agent in words (``Chrome on Windows``), ``place`` the network and, where known, the
    country. ``mfa_at`` is when a second factor was last shown; ``factors`` what was shown at sign-in.
    """

    session_id: str
    manufacturer_id: str
    account_id: str | None = None
    company_name: str | None = None
    email: str | None = None
    tier: str | None = None
    roles: list[str] = msgspec.field(default_factory=list)
    created_at: datetime
    expires_at: datetime
    absolute_expires_at: datetime
    last_activity: datetime
    activity_count: int = 0
    is_active: bool = True
    ip_address: str | None = None
    user_agent: str | None = None
    device: str | None = None
    place: str | None = None
    factors: list[str] = msgspec.field(default_factory=list)
    mfa_at: datetime | None = None
    ended_at: datetime | None = None
    ended_reason: str | None = None


class RiskAction(StrEnum):
    """What policy does with a grade of risk."""

    NONE = "none"
    NOTE = "note"
    REQUIRE_MFA = "require_mfa"
    END = "end"


class RiskSignal(Record, frozen=True, kw_only=True):
    """One thing that speaks for a stolen session. ``weight`` is from 0 to 1, ``detail`` a sentence."""

    name: str
    weight: float
    detail: str


class SessionRisk(Record, frozen=True, kw_only=True):
    """How likely a session is in other hands: ``score`` from 0 to 1, the signals, and what policy does."""

    session_id: str
    score: float
    signals: list[RiskSignal] = msgspec.field(default_factory=list)
    action: str = RiskAction.NONE.value


class MFAEnrolment(Record, frozen=True, kw_only=True):
    """A new TOTP secret and its backup codes, shown once."""

    secret: str
    provisioning_uri: str
    qr_code: str
    backup_codes: list[str]

    def __repr__(self) -> str:
        return "MFAEnrolment(...)"


class TrustedDevice(Record, frozen=True, kw_only=True):
    """A device that represents the second factor until it expires or is revoked.

    ``device_token`` is there only in the answer of ``register_trusted_device``.
    """

    device_id: str
    manufacturer_id: str
    account_id: str
    name: str
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None = None
    ip_address: str | None = None
    device_token: str | None = None

    def __repr__(self) -> str:
        return f"TrustedDevice(device_id={self.device_id!r}, name={self.name!r})"


class PasskeyInfo(Record, frozen=True, kw_only=True):
    """A registered passkey, without its key."""

    passkey_id: str
    account_id: str
    name: str
    created_at: datetime
    last_used_at: datetime | None = None
    backed_up: bool = False
    transports: list[str] = msgspec.field(default_factory=list)


class ApiKeyInfo(Record, frozen=True, kw_only=True):
    """A key for machines. ``key`` is there only in the answer of ``create_api_key``, and never again."""

    key_id: str
    manufacturer_id: str
    name: str
    permissions: list[str]
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None
    key: str | None = None

    def __repr__(self) -> str:
        return f"ApiKeyInfo(key_id={self.key_id!r}, name={self.name!r})"


Claims = dict[str, Any]
"""The claims of a verified token."""


def account_roles(account: StoredAccount, manufacturer: StoredManufacturer) -> list[str]:
    """The role of the manufacturer's tier, and the person's own role where it is a platform one."""
    own = [account.role] if account.role.startswith("platform") else []
    return [f"manufacturer_{manufacturer.tier}", *own]


def describe(account: StoredAccount, manufacturer: StoredManufacturer) -> ManufacturerAccount:
    """The account as callers see it: no hashes, no profile."""
    return ManufacturerAccount(
        manufacturer_id=manufacturer.manufacturer_id,
        account_id=account.account_id,
        email=account.email,
        company_name=manufacturer.company_name,
        tier=manufacturer.tier,
        roles=account_roles(account, manufacturer),
        role=account.role,
        status=account.status,
        created_at=account.created_at,
        last_login_at=account.last_login_at,
    )
