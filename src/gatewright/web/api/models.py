"""Request and response models of the HTTP API."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field


def json_response(value: Any, status: int = 200, *, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response of records, mappings, and lists of them. Never cached unless ``headers`` says so."""
    return Response(
        msgspec.json.encode(value, enc_hook=_encode),
        status_code=status,
        media_type="application/json",
        headers={"cache-control": "no-store", **(headers or {})},
    )


def page(items: list[Any], cursor: str | None) -> dict[str, Any]:
    """A page of a list. ``next`` is the cursor of the next page, or None on the last one."""
    return {"items": items, "next": cursor}


def _encode(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} cannot be encoded as JSON")


Text = Annotated[str, Field(max_length=512)]
Secret = Annotated[str, Field(max_length=4_096)]
Identifier = Annotated[str, Field(min_length=1, max_length=128)]
FactorCode = Annotated[str, Field(max_length=32, description="A code from the second factor.")]
EmailedToken = Annotated[Secret, Field(description="The token from the email.")]
DeviceToken = Annotated[Secret, Field(description="The token of a trusted device.")]
ChallengeId = Annotated[Identifier, Field(description="The `challenge_id` of the call that started this flow.")]
Assertion = Annotated[dict[str, Any], Field(description="The result of `navigator.credentials.get`, as JSON.")]
Reason = Annotated[str, Field(min_length=3, max_length=300, description="Recorded in the audit log.")]


class Body(BaseModel):
    """A JSON request body. Unknown fields are refused, and types are not converted."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Address(Body):
    street: Text | None = None
    city: Text | None = None
    state: Text | None = None
    zip: Text | None = None
    country: Annotated[Text | None, Field(description="Country code or name.")] = None


class Registration(Body):
    email: Text
    password: Secret
    company_name: Text
    business_license: Text | None = None
    tax_id: Text | None = None
    website: Text | None = None
    phone: Text | None = None
    address: Address | None = None
    bank_account: Text | None = None


class Verification(Body):
    token: EmailedToken


class Login(Body):
    email: Text
    password: Secret
    mfa_code: FactorCode | None = None
    device_token: DeviceToken | None = None


class MFACompletion(Body):
    challenge_id: ChallengeId
    code: FactorCode | None = None
    assertion: Assertion | None = None
    remember_device: Annotated[
        bool, Field(description="Trust this device. The response then includes a `device_token`.")
    ] = False


class Refresh(Body):
    refresh_token: Secret
    device_token: DeviceToken | None = None


class Forgot(Body):
    email: Text


class Reset(Body):
    token: EmailedToken
    new_password: Secret
    mfa_code: FactorCode | None = None


class PasswordChange(Body):
    current_password: Secret
    new_password: Secret


class StepUp(Body):
    code: FactorCode | None = None
    challenge_id: ChallengeId | None = None
    assertion: Assertion | None = None


class Code(Body):
    code: FactorCode


class PasskeyRegistration(Body):
    challenge_id: ChallengeId
    credential: Annotated[dict[str, Any], Field(description="The result of `navigator.credentials.create`, as JSON.")]
    name: Annotated[Text, Field(description="A name to recognize the passkey by.")] = "passkey"


class PasskeyLogin(Body):
    email: Annotated[Text | None, Field(description="Omit to let the user choose a passkey on the device.")] = None


class PasskeyAssertion(Body):
    challenge_id: ChallengeId
    assertion: Assertion


class NewApiKey(Body):
    name: Annotated[str, Field(min_length=1, max_length=100)]
    permissions: Annotated[
        list[Text], Field(max_length=64, description="Permissions of the key, at most those of its creator.")
    ]
    expires_at: Annotated[datetime, Field(strict=False, description="Omit for a key that does not expire.")] | None = (
        None
    )


class Invite(Body):
    email: Text
    role: Identifier


class Acceptance(Body):
    token: EmailedToken
    password: Secret


class MemberChange(Body):
    role: Identifier | None = None
    status: Literal["active", "disabled"] | None = None


class Profile(Body):
    company_name: Text | None = None
    business_license: Text | None = None
    tax_id: Text | None = None
    website: Text | None = None
    phone: Text | None = None
    address: Address | None = None
    bank_account: Text | None = None


class TierChange(Body):
    tier: Identifier
    reason: Reason


class StatusChange(Body):
    reason: Reason


class Grant(Body):
    permission: Identifier
    until: Annotated[datetime, Field(strict=False, description="When the grant ends.")]
    reason: Reason


class Feedback(Body):
    data: Annotated[Any, Field(description="The value that was inspected.")]
    threat_type: Annotated[Identifier, Field(description="The type of threat that it is, or was mistaken for.")]
    is_threat: bool
    reason: Text | None = None


class IncidentResolution(Body):
    note: Annotated[str, Field(min_length=3, max_length=2_000)]


class Product(Body):
    """A product of the demo marketplace."""

    name: Annotated[str, Field(min_length=1, max_length=500)]
    description: Annotated[str, Field(max_length=20_000)] = ""
    sku: Annotated[str, Field(max_length=100)] | None = None
    price_cents: Annotated[int, Field(ge=0, le=10**12)] | None = None
    attributes: dict[str, Any] = Field(default_factory=dict)
