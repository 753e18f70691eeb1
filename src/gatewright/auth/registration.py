"""Registration of a tenant and its owner. Over HTTP it continues by email and reveals no known address."""

from __future__ import annotations

import asyncio
import base64
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from enum import Enum
from typing import Any, Protocol

import msgspec

from gatewright import event_kinds
from gatewright.auth.account_parts import AccountParts
from gatewright.auth.passwords import PasswordPolicy
from gatewright.auth.records import ClientInfo, ManufacturerAccount, describe
from gatewright.business import canonical_email, validate_business_data
from gatewright.encryption.secretbox import SecretBox
from gatewright.errors import DuplicateAccountError, FieldError, InvalidTokenError, ValidationError
from gatewright.events import Severity, event
from gatewright.notify import Directions
from gatewright.records import Record
from gatewright.storage.tenants import PLATFORM_TENANT, StoredAccount, StoredManufacturer

VERIFY = "verify-email"
LIFETIME = timedelta(hours=24)
BUSINESS_FIELDS = ("business_email", "business_license", "tax_id", "website", "phone", "address", "bank_account")
MAX_EXTRA = 16_384
"""Bytes, as JSON, of what a library caller stores besides."""

_OWN = frozenset({"email", "password", "company_name", "manufacturer_id", "tier"})
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_OLD_TIERS = {"paid": "professional"}


class BusinessFindings(Protocol):
    """What a validator found: errors, warnings, and the fields in their one spelling."""

    @property
    def errors(self) -> list[FieldError]: ...

    @property
    def warnings(self) -> list[FieldError]: ...

    @property
    def normalized(self) -> dict[str, Any]: ...


BusinessValidator = Callable[[Mapping[str, Any]], Awaitable[BusinessFindings]]
"""Checks ``company_name``, ``email`` and the business fields that are given."""


class ProfileSealer(Protocol):
    """Encrypts business data at rest."""

    async def seal_profile(self, manufacturer_id: str, fields: Mapping[str, Any]) -> str:
        """The fields as encrypted text."""
        ...


class BoxedProfiles:
    """The sealer of a manager that is built alone: a :class:`SecretBox`."""

    def __init__(self, box: SecretBox) -> None:
        self._box = box

    async def seal_profile(self, manufacturer_id: str, fields: Mapping[str, Any]) -> str:
        sealed = self._box.seal(msgspec.json.encode(fields), f"profile\x00{manufacturer_id}".encode())
        return base64.b64encode(sealed).decode()

    def open_profile(self, manufacturer_id: str, profile: str) -> dict[str, Any]:
        """The fields again."""
        plain = self._box.open(base64.b64decode(profile), f"profile\x00{manufacturer_id}".encode())
        return dict(msgspec.json.decode(plain))


async def check_business(data: Mapping[str, Any]) -> BusinessFindings:
    """The validator of a manager that is built alone; in a thread, for the first use reads the data of phones."""
    return await asyncio.to_thread(validate_business_data, data)


class _Applicant(Record, frozen=True, kw_only=True):
    """A registration whose fields are right."""

    email: str
    company_name: str
    manufacturer_id: str
    tier: str
    password_hash: str
    profile: dict[str, Any]
    warnings: list[FieldError] = []


class Registration:
    """Makes tenants.

    Args:
        box: seals registrations that wait for their mail.
        tiers: the policy's tiers; ``default_tier`` is where a public registration starts.
        validator: of company, address and business fields.
        directions: how a mail tells to use its token.
    """

    def __init__(
        self,
        parts: AccountParts,
        *,
        policy: PasswordPolicy,
        profiles: ProfileSealer,
        box: SecretBox,
        tiers: tuple[str, ...] = ("free", "professional", "enterprise"),
        default_tier: str = "free",
        validator: BusinessValidator = check_business,
        directions: Directions | None = None,
    ) -> None:
        self._store = parts.store
        self._hashing = parts.hashing
        self._policy = policy
        self._profiles = profiles
        self._challenges = parts.challenges
        self._throttle = parts.throttle
        self._keyed = parts.keyed
        self._box = box
        self._mailer = parts.mailer
        self._tiers = tiers
        self._default_tier = default_tier
        self._validator = validator
        self._directions = directions or Directions()
        self._sink = parts.sink
        self._clock = parts.clock

    async def register(self, data: Mapping[str, Any]) -> ManufacturerAccount:
        """Make a manufacturer at once, for library callers, who may set its tier and id.

        Raises:
            ValidationError: every field's error.
            DuplicateAccountError: the address or the id is known.
        """
        applicant = await self._checked(data, public=False)
        if await self._store.find_account(canonical_email(applicant.email)) is not None:
            raise DuplicateAccountError("An account with this email address or manufacturer id already exists.")
        return await self._create(applicant)

    async def register_staff(self, email: str, password: str, role: str) -> ManufacturerAccount:
        """Make an account of the platform's own tenant; the tenant too when it is the first.

        Raises:
            ValidationError: address or password break their rules.
            DuplicateAccountError: the address is known.
        """
        data = {"email": email, "password": password, "company_name": "Platform"}
        checked = await self._checked(data, public=False)
        applicant = msgspec.structs.replace(checked, manufacturer_id=PLATFORM_TENANT, tier=self._tiers[-1], profile={})
        return await self._create(applicant, role=role)

    async def hash_password(self, password: object, words: Sequence[str] = ()) -> str:
        """The hash of a new password, for a person who joins by invitation; raises ValidationError."""
        errors = await self._policy.check(password, words=words)
        if errors:
            raise ValidationError("The password cannot be used.", errors=errors)
        return await self._hashing.hash(str(password))

    async def request(self, data: Mapping[str, Any], *, client: ClientInfo | None = None) -> None:
        """Take a public registration; the same is done and answered for known and new addresses.

        A new address gets a mail with a token, a known one a mail that says so.

        Raises:
            ValidationError: every field's error; none of them tells whether the address is known.
            RateLimitExceededError: too many attempts from this network.
        """
        await self._throttle.admit(client)
        applicant = await self._checked(data, public=True)
        key = self._keyed.of("account", canonical_email(applicant.email))
        known = await self._store.find_account(canonical_email(applicant.email)) is not None
        admitted = await self._throttle.admit_mail("register", key)
        sealed = self._box.seal(msgspec.json.encode(applicant), key.encode())
        token = await self._challenges.create(
            f"{VERIFY}-decoy" if known else VERIFY,
            key,
            lifetime=LIFETIME,
            data={"sealed": base64.b64encode(sealed).decode()},
        )
        self._emit(event_kinds.AUTH_REGISTRATION_REQUESTED, client, known=known, mailed=admitted)
        if admitted:
            await self._mail(applicant.email, None if known else token)

    async def verify(self, token: object) -> ManufacturerAccount:
        """Make the manufacturer whose address the token proves, on the default tier.

        Raises:
            InvalidTokenError: unknown, used or expired, or the address was taken meanwhile (code
                ``INVALID_VERIFICATION_TOKEN``).
        """
        secret = await self._challenges.take(VERIFY, token)
        if secret is None:
            raise _invalid_token()
        sealed = base64.b64decode(str(secret.data["sealed"]))
        applicant = msgspec.json.decode(self._box.open(sealed, secret.subject.encode()), type=_Applicant)
        try:
            account = await self._create(applicant)
        except DuplicateAccountError:
            raise _invalid_token() from None
        await self._challenges.drop(VERIFY, secret.subject)
        return account

    # ------------------------------------------------------------------------------------------------------------

    async def _checked(self, data: Mapping[str, Any], *, public: bool) -> _Applicant:
        if not isinstance(data, Mapping):
            raise ValidationError(
                "Registration data must be a mapping of field names to values.", code="INVALID_FIELD_TYPE"
            )
        email, company = data.get("email"), data.get("company_name")
        business = {name: data[name] for name in BUSINESS_FIELDS if data.get(name) is not None}
        given = {name: value for name, value in (("email", email), ("company_name", company)) if value is not None}
        findings = await self._validator({**given, **business})
        errors = list(findings.errors)
        words = [word for word in (email, company) if isinstance(word, str)]
        errors += await self._policy.check(data.get("password"), words=words)
        extra = {} if public else {k: v for k, v in data.items() if k not in _OWN and k not in BUSINESS_FIELDS}
        tier = self._default_tier if public else self._tier(data.get("tier"), errors)
        manufacturer_id = None if public else data.get("manufacturer_id")
        _check_id(manufacturer_id, errors)
        _check_extra(extra, errors)
        if errors:
            raise ValidationError(errors[0].message, errors=errors)
        normal = findings.normalized
        return _Applicant(
            email=str(normal.get("email", email)).strip(),
            company_name=str(normal.get("company_name", company)),
            manufacturer_id=str(manufacturer_id) if manufacturer_id is not None else f"mfr_{secrets.token_hex(10)}",
            tier=tier,
            password_hash=await self._hashing.hash(str(data["password"])),
            profile={**{name: normal.get(name, value) for name, value in business.items()}, **extra},
            warnings=list(findings.warnings),
        )

    async def _create(self, applicant: _Applicant, *, role: str = "owner") -> ManufacturerAccount:
        now = self._clock.now()
        profile = None
        if applicant.profile:
            profile = await self._profiles.seal_profile(applicant.manufacturer_id, applicant.profile)
        manufacturer = StoredManufacturer(
            manufacturer_id=applicant.manufacturer_id,
            company_name=applicant.company_name,
            tier=applicant.tier,
            billing_day=now.day,
            profile=profile,
            created_at=now,
            updated_at=now,
        )
        owner = StoredAccount(
            account_id=f"acc_{secrets.token_hex(12)}",
            manufacturer_id=applicant.manufacturer_id,
            email=applicant.email,
            email_key=canonical_email(applicant.email),
            password_hash=applicant.password_hash,
            role=role,
            created_at=now,
            updated_at=now,
        )
        if role != "owner" and await self._store.get_manufacturer(manufacturer.manufacturer_id) is not None:
            await self._store.add_account(owner)
        else:
            await self._store.create_manufacturer(manufacturer, owner)
        self._sink.emit(
            event(
                event_kinds.AUTH_MANUFACTURER_REGISTERED,
                severity=Severity.NOTICE,
                timestamp=now,
                manufacturer_id=manufacturer.manufacturer_id,
                account_id=owner.account_id,
                tier=manufacturer.tier,
            )
        )
        return msgspec.structs.replace(describe(owner, manufacturer), warnings=applicant.warnings)

    def _tier(self, given: Any, errors: list[FieldError]) -> str:
        if given is None:
            return self._default_tier
        text = given.value if isinstance(given, Enum) else given
        name = _OLD_TIERS.get(text, text) if isinstance(text, str) else text
        if name not in self._tiers:
            known = ", ".join(self._tiers)
            errors.append(FieldError(field="tier", error_type="UNKNOWN_TIER", message=f"The tiers are {known}."))
            return self._default_tier
        return str(name)

    async def _mail(self, to: str, token: str | None) -> None:
        if token is None:
            await self._mailer.post(
                to,
                "You already have an account",
                "Someone, perhaps you, registered with this email address, which already has an account. Sign in, or"
                " reset your password if you have forgotten it.",
                kind="already_registered",
            )
            return
        how, data = self._directions.for_token(token, "/v1/manufacturers/verify", "verify")
        await self._mailer.post(
            to,
            "Confirm your email address",
            f"To finish the registration, {how}\n\nThe token can be used once, within 24 hours. If this was"
            " not you, ignore this email.",
            kind="verify_email",
            data=data,
        )

    def _emit(self, kind: str, client: ClientInfo | None, **data: Any) -> None:
        address = client.ip_address if client else None
        self._sink.emit(event(kind, timestamp=self._clock.now(), ip_address=address, **data))


def _check_id(manufacturer_id: Any, errors: list[FieldError]) -> None:
    if manufacturer_id is None:
        return
    if not isinstance(manufacturer_id, str) or not _ID.fullmatch(manufacturer_id) or manufacturer_id == PLATFORM_TENANT:
        errors.append(
            FieldError(
                field="manufacturer_id",
                error_type="INVALID_MANUFACTURER_ID",
                message="manufacturer_id must be 1 to 128 letters, digits, dots, colons, hyphens or underscores.",
            )
        )


def _check_extra(extra: Mapping[str, Any], errors: list[FieldError]) -> None:
    """What is stored beside must be JSON of bounded size."""
    try:
        fits = len(msgspec.json.encode(extra)) <= MAX_EXTRA
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError):
        fits = False
    if not fits:
        message = f"Further fields must be JSON values of at most {MAX_EXTRA} bytes together."
        errors.append(FieldError(field="*", error_type="INVALID_FIELD_TYPE", message=message))


def _invalid_token() -> InvalidTokenError:
    return InvalidTokenError(
        "The verification token is invalid: unknown, used or expired.",
        code="INVALID_VERIFICATION_TOKEN",
        recommended_action="Register again to receive another email.",
    )
