"""What may they do? Permissions and quotas by tier."""

from gatewright.rbac.insights.analytics import UsageAnalytics
from gatewright.rbac.insights.suggestions import PermissionSuggestion
from gatewright.rbac.insights.tiers import TierSuggestion
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

__all__ = [
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
    "TierSuggestion",
    "UsageAnalytics",
    "UsageLimits",
    "UsagePeriod",
    "UsageResult",
]
