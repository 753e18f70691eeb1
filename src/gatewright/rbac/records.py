"""Names and records of access: roles, permissions, tiers, and results of checks."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from gatewright.records import Record
from gatewright.references import plain


class ManufacturerRole(StrEnum):
    """The role of a manufacturer, one for each tier."""

    MANUFACTURER_FREE = "manufacturer_free"
    MANUFACTURER_PROFESSIONAL = "manufacturer_professional"
    MANUFACTURER_ENTERPRISE = "manufacturer_enterprise"


class ManufacturerPermission(StrEnum):
    """The permissions of the default policy; a policy may have others, which are named by strings."""

    UPLOAD_PRODUCTS = "upload_products"
    VIEW_BASIC_ANALYTICS = "view_basic_analytics"
    ACCESS_ML_TOOLS = "access_ml_tools"
    EXPORT_DATA = "export_data"
    API_ACCESS = "api_access"
    ADVANCED_ANALYTICS = "advanced_analytics"
    BULK_OPERATIONS = "bulk_operations"
    WHITE_LABEL_ACCESS = "white_label_access"


_OLD_TIERS = {"paid": "professional"}
_OLD_ROLES = {"manufacturer_paid": "manufacturer_professional"}


def tier_name(name: Any) -> str:
    """A tier by its present name (``paid`` is ``professional``)."""
    value = plain(name)
    return _OLD_TIERS.get(value, value)


def role_name(name: Any) -> str:
    """A role by its present name (``manufacturer_paid`` is ``manufacturer_professional``)."""
    value = plain(name)
    return _OLD_ROLES.get(value, value)


class ManufacturerContext(Record, frozen=True):
    """Who acts: a manufacturer, its tier, and the person. Callers may bring any object with ``manufacturer_id``,
    ``tier`` and ``roles`` instead."""

    manufacturer_id: str
    company_name: str = ""
    email: str = ""
    tier: Any = ""
    roles: list[Any] = []
    account_id: str | None = None
    ip_address: str | None = None
    user_agent: str | None = None
    session_id: str | None = None
    request_id: str | None = None


class UsageLimits(Record, frozen=True, kw_only=True):
    """The monthly limits of a tier; -1 is unlimited."""

    product_uploads_monthly: int
    ml_tool_requests_monthly: int
    api_calls_monthly: int
    data_exports_monthly: int


class PermissionResult(Record, frozen=True, kw_only=True):
    """The answer to "may they?".

    ``reason`` is ``tier_permission_granted``, ``role_permission_granted`` (one of Gatewright's own calls),
    ``granted_temporarily``, ``insufficient_tier``, ``restricted``, ``role_not_permitted`` or ``unknown_permission``;
    ``required_tier`` is the lowest tier that would do, where one would.
    """

    granted: bool
    reason: str
    permission: str
    tier: str
    required_tier: str | None = None

    def __bool__(self) -> bool:
        return self.granted


class UsageResult(Record, frozen=True, kw_only=True):
    """A quota after the call. Unlimited is ``limit == remaining == -1``; a refusal has ``reason``
    ``quota_exceeded``. ``current`` counts what is ``leased`` to workers and not spent as used."""

    allowed: bool
    remaining: int
    limit: int
    current: int
    resource: str
    tier: str
    resets_at: datetime
    reason: str | None = None
    leased: int = 0

    def __bool__(self) -> bool:
        return self.allowed


class UsagePeriod(Record, frozen=True, kw_only=True):
    """What was used of a resource in one window."""

    resource: str
    period_start: datetime
    period_end: datetime
    used: int
