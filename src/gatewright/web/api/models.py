"""Request and response models of the HTTP API."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field


def json_response(value: Any, status: int = 200, *, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response of records, mappings and lists of them."""
    return Response(
        msgspec.json.encode(value, enc_hook=_plain),
        status_code=status,
        media_type="application/json",
        headers={"cache-control": "no-store", **(headers or {})},
    )


def page(items: list[Any], cursor: str | None) -> dict[str, Any]:
    """One page of a list; ``next`` is the cursor of the following one, None at the end."""
    return {"items": items, "next": cursor}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


Text = Annotated[str, Field(max_length=512)]
Secret = Annotated[str, Field(max_length=4_096)]
Identifier = Annotated[str, Field(min_length=1, max_length=128)]


class Body(BaseModel):
    """A JSON object of Gatewright."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Address(Body):
    street: Text | None = None
    city: Text | None = None
    state: Text | None = None
    zip: Text | None = None
    country: Text | None = None


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
    token: Secret


class Login(Body):
    email: Text
    password: Secret
    mfa_code: Annotated[str, Field(max_length=32)] | None = None
    device_token: Secret | None = None


class MFACompletion(Body):
    challenge_id: Identifier
    code: Annotated[str, Field(max_length=32)] | None = None
    assertion: dict[str, Any] | None = None
    remember_device: bool = False


class Refresh(Body):
    refresh_token: Secret
    device_token: Secret | None = None


class Forgot(Body):
    email: Text


class Reset(Body):
    token: Secret
    new_password: Secret
    mfa_code: Annotated[str, Field(max_length=32)] | None = None


class PasswordChange(Body):
    current_password: Secret
    new_password: Secret


class StepUp(Body):
    code: Annotated[str, Field(max_length=32)] | None = None
    challenge_id: Identifier | None = None
    assertion: dict[str, Any] | None = None


class Code(Body):
    code: Annotated[str, Field(max_length=32)]


class PasskeyRegistration(Body):
    challenge_id: Identifier
    credential: dict[str, Any]
    name: Text = "passkey"


class PasskeyLogin(Body):
    email: Text | None = None


class PasskeyAssertion(Body):
    challenge_id: Identifier
    assertion: dict[str, Any]


class NewApiKey(Body):
    name: Annotated[str, Field(min_length=1, max_length=100)]
    permissions: Annotated[list[Text], Field(max_length=64)]
    expires_at: Annotated[datetime, Field(strict=False)] | None = None


class Invite(Body):
    email: Text
    role: Identifier


class Acceptance(Body):
    token: Secret
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
    reason: Annotated[str, Field(min_length=3, max_length=300)]


class StatusChange(Body):
    reason: Annotated[str, Field(min_length=3, max_length=300)]


class Grant(Body):
    permission: Identifier
    until: Annotated[datetime, Field(strict=False)]
    reason: Annotated[str, Field(min_length=3, max_length=300)]


class Feedback(Body):
    data: Any
    threat_type: Identifier
    is_threat: bool
    reason: Text | None = None


class IncidentResolution(Body):
    note: Annotated[str, Field(min_length=3, max_length=2_000)]


class Product(Body):
    """A row of the demo marketplace."""

    name: Annotated[str, Field(min_length=1, max_length=500)]
    description: Annotated[str, Field(max_length=20_000)] = ""
    sku: Annotated[str, Field(max_length=100)] | None = None
    price_cents: Annotated[int, Field(ge=0, le=10**12)] | None = None
    attributes: dict[str, Any] = Field(default_factory=dict)
