"""Access: what may they do? Permissions, members and quotas by tier."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewright._lazy import lazy_names

if TYPE_CHECKING:
    from gatewright.rbac.billing_periods import month_start, next_month_start
    from gatewright.rbac.entitlements import Caller
    from gatewright.rbac.insights.analytics import UsageAnalytics
    from gatewright.rbac.insights.forecast import days_until, fit, span
    from gatewright.rbac.insights.suggestions import PermissionSuggestion
    from gatewright.rbac.insights.tiers import Refusals, TierSuggestion, wanted
    from gatewright.rbac.manager import ManufacturerRBACManager
    from gatewright.rbac.members import Invitation, Member
    from gatewright.rbac.permissions import Explanation
    from gatewright.rbac.records import (
        ManufacturerContext,
        ManufacturerPermission,
        ManufacturerRole,
        PermissionResult,
        UsageLimits,
        UsagePeriod,
        UsageResult,
    )
    from gatewright.storage.tenants import PermissionViolation
    from gatewright.storage.usage import OverageAttempt

_NAMES = {
    "gatewright.rbac.entitlements": ("Caller",),
    "gatewright.rbac.billing_periods": (
        "month_start",
        "next_month_start",
    ),
    "gatewright.rbac.insights.analytics": ("UsageAnalytics",),
    "gatewright.rbac.insights.forecast": (
        "days_until",
        "fit",
        "span",
    ),
    "gatewright.rbac.insights.suggestions": ("PermissionSuggestion",),
    "gatewright.rbac.insights.tiers": (
        "Refusals",
        "TierSuggestion",
        "wanted",
    ),
    "gatewright.rbac.manager": ("ManufacturerRBACManager",),
    "gatewright.rbac.members": (
        "Invitation",
        "Member",
    ),
    "gatewright.rbac.permissions": ("Explanation",),
    "gatewright.rbac.records": (
        "ManufacturerContext",
        "ManufacturerPermission",
        "ManufacturerRole",
        "PermissionResult",
        "UsageLimits",
        "UsagePeriod",
        "UsageResult",
    ),
    "gatewright.storage.tenants": ("PermissionViolation",),
    "gatewright.storage.usage": ("OverageAttempt",),
}

__all__ = [
    "Caller",
    "Explanation",
    "Invitation",
    "ManufacturerContext",
    "ManufacturerPermission",
    "ManufacturerRBACManager",
    "ManufacturerRole",
    "Member",
    "OverageAttempt",
    "PermissionResult",
    "PermissionSuggestion",
    "PermissionViolation",
    "Refusals",
    "TierSuggestion",
    "UsageAnalytics",
    "UsageLimits",
    "UsagePeriod",
    "UsageResult",
    "days_until",
    "fit",
    "month_start",
    "next_month_start",
    "span",
    "wanted",
]

__getattr__ = lazy_names(__name__, _NAMES)
