"""What may they do? Permissions and quotas by tier."""

from gatewright.rbac.manager import ManufacturerRBACManager
from gatewright.rbac.names import ManufacturerPermission, ManufacturerRole
from gatewright.rbac.records import (
    ManufacturerContext,
    PermissionResult,
    UsageLimits,
    UsagePeriod,
    UsageResult,
)
from gatewright.storage.grants import PermissionViolation
from gatewright.storage.usage import OverageAttempt

__all__ = [
    "ManufacturerContext",
    "ManufacturerPermission",
    "ManufacturerRBACManager",
    "ManufacturerRole",
    "OverageAttempt",
    "PermissionResult",
    "PermissionViolation",
    "UsageLimits",
    "UsagePeriod",
    "UsageResult",
]
