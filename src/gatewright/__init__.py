"""Gatewright: the security foundation for business-to-business APIs.

Every public name is importable from here; each is loaded when it is first used, so that the import itself
costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gatewright._version import __version__

if TYPE_CHECKING:  # the same names once more, for type checkers and editors
    from gatewright.auth import (
        ApiKeyInfo as ApiKeyInfo,
        AuthResult as AuthResult,
        ClientInfo as ClientInfo,
        ManufacturerAccount as ManufacturerAccount,
        ManufacturerAuthManager as ManufacturerAuthManager,
        ManufacturerSession as ManufacturerSession,
        MFAEnrolment as MFAEnrolment,
        PasskeyInfo as PasskeyInfo,
        SessionRisk as SessionRisk,
        TrustedDevice as TrustedDevice,
    )
    from gatewright.clock import (
        Clock as Clock,
        ManualClock as ManualClock,
        SystemClock as SystemClock,
    )
    from gatewright.controls import (
        Controls as Controls,
        Measure as Measure,
    )
    from gatewright.encryption import (
        EncryptedField as EncryptedField,
        KeyRotationResult as KeyRotationResult,
        ManufacturerEncryptionManager as ManufacturerEncryptionManager,
    )
    from gatewright.errors import (
        FieldError as FieldError,
        SecurityError as SecurityError,
    )
    from gatewright.events import (
        EventSink as EventSink,
        FanOut as FanOut,
        ListSink as ListSink,
        NullSink as NullSink,
        SecurityEvent as SecurityEvent,
        Severity as Severity,
    )
    from gatewright.foundation import (
        SecurityFoundation as SecurityFoundation,
    )
    from gatewright.monitoring import (
        SecurityMonitor as SecurityMonitor,
    )
    from gatewright.notify import (
        ConsoleNotifier as ConsoleNotifier,
        FileNotifier as FileNotifier,
        MemoryNotifier as MemoryNotifier,
        Message as Message,
        Notifier as Notifier,
        SmtpNotifier as SmtpNotifier,
    )
    from gatewright.performance import (
        performance_monitor as performance_monitor,
    )
    from gatewright.policy import (
        Policy as Policy,
        load_policy as load_policy,
    )
    from gatewright.rbac import (
        ManufacturerContext as ManufacturerContext,
        ManufacturerPermission as ManufacturerPermission,
        ManufacturerRBACManager as ManufacturerRBACManager,
        ManufacturerRole as ManufacturerRole,
        PermissionResult as PermissionResult,
        PermissionViolation as PermissionViolation,
        TierSuggestion as TierSuggestion,
        UsageLimits as UsageLimits,
        UsageResult as UsageResult,
    )
    from gatewright.records import (
        Record as Record,
    )
    from gatewright.settings import (
        Settings as Settings,
    )
    from gatewright.storage import (
        Cache as Cache,
        MemoryCache as MemoryCache,
        SqliteStore as SqliteStore,
        Store as Store,
    )
    from gatewright.threats import (
        Inspection as Inspection,
        ManufacturerSecurityValidator as ManufacturerSecurityValidator,
        ModelVersion as ModelVersion,
        RateLimitResult as RateLimitResult,
        SanitizedValue as SanitizedValue,
        ThreatDetectionResult as ThreatDetectionResult,
        ThreatType as ThreatType,
        ValidationResult as ValidationResult,
    )
    from gatewright.web import (
        GatewrightMiddleware as GatewrightMiddleware,
        PathRules as PathRules,
        RouteRule as RouteRule,
        create_app as create_app,
        install as install,
        requires as requires,
    )

_NAMES: dict[str, tuple[str, ...]] = {
    "gatewright.foundation": ("SecurityFoundation",),
    "gatewright.settings": ("Settings",),
    "gatewright.records": ("Record",),
    "gatewright.policy": ("Policy", "load_policy"),
    "gatewright.clock": ("Clock", "ManualClock", "SystemClock"),
    "gatewright.controls": ("Controls", "Measure"),
    "gatewright.events": ("EventSink", "FanOut", "ListSink", "NullSink", "SecurityEvent", "Severity"),
    "gatewright.errors": ("FieldError", "SecurityError"),
    "gatewright.notify": ("ConsoleNotifier", "FileNotifier", "MemoryNotifier", "Message", "Notifier", "SmtpNotifier"),
    "gatewright.performance": ("performance_monitor",),
    "gatewright.auth": (
        "ApiKeyInfo",
        "AuthResult",
        "ClientInfo",
        "MFAEnrolment",
        "ManufacturerAccount",
        "ManufacturerAuthManager",
        "ManufacturerSession",
        "PasskeyInfo",
        "SessionRisk",
        "TrustedDevice",
    ),
    "gatewright.rbac": (
        "ManufacturerContext",
        "ManufacturerPermission",
        "ManufacturerRBACManager",
        "ManufacturerRole",
        "PermissionResult",
        "PermissionViolation",
        "TierSuggestion",
        "UsageLimits",
        "UsageResult",
    ),
    "gatewright.threats": (
        "Inspection",
        "ManufacturerSecurityValidator",
        "ModelVersion",
        "RateLimitResult",
        "SanitizedValue",
        "ThreatDetectionResult",
        "ThreatType",
        "ValidationResult",
    ),
    "gatewright.encryption": ("EncryptedField", "KeyRotationResult", "ManufacturerEncryptionManager"),
    "gatewright.monitoring": ("SecurityMonitor",),
    "gatewright.storage": ("Cache", "MemoryCache", "SqliteStore", "Store"),
    "gatewright.web": ("GatewrightMiddleware", "PathRules", "RouteRule", "create_app", "install", "requires"),
}

_HOME = {name: module for module, names in _NAMES.items() for name in names}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    module = _HOME.get(name)
    if module is None:
        raise AttributeError(f"module 'gatewright' has no attribute {name!r}")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
