"""Permissions of Gatewright's own API: who may manage members, keys, business data and the platform.

The permissions that a platform sells by tier are defined in its policy (``[permissions]``). Those here are fixed,
because the built-in routes require them. A role may contain both kinds; a tier limits only the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

TENANT_ACCESS: Mapping[str, str] = MappingProxyType(
    {
        "sessions:own": "List and end your own sessions",
        "factors:own": "Manage your own password, second factors, passkeys and trusted devices",
        "sessions:manage": "List and end the sessions of other members",
        "members:read": "List members and open invitations",
        "members:manage": "Invite members, change their roles, and disable them",
        "keys:read": "List API keys",
        "keys:manage": "Create, rotate and revoke API keys",
        "profile:read": "Read the company's business data",
        "profile:write": "Change the company's business data, including its bank account",
        "usage:read": "See quotas, usage and forecasts",
        "security:read": "Read the company's own security events",
    }
)
"""Permissions of a manufacturer's members, with descriptions."""

PLATFORM_ACCESS: Mapping[str, str] = MappingProxyType(
    {
        "platform:tenants:read": "List manufacturers, their members and usage",
        "platform:tenants:write": "Disable and enable manufacturers",
        "platform:tiers:write": "Change a manufacturer's tier",
        "platform:grants:write": "Grant temporary permissions, apply and roll back suggestions",
        "platform:factors:reset": "Reset the second factors of a member who lost them",
        "platform:audit:read": "Search, verify and prove the audit log",
        "platform:audit:sign": "Sign a checkpoint of the audit log",
        "platform:incidents:read": "List incidents",
        "platform:incidents:write": "Resolve incidents",
        "platform:posture:read": "Read posture findings, proposals and performance",
        "platform:posture:apply": "Apply and roll back posture measures",
        "platform:policy:read": "Read the policy in force",
        "platform:model:read": "Read the detector's statistics and versions",
        "platform:model:write": "Give feedback, retrain the detector, change its version",
        "platform:keys:rotate": "Rotate signing and encryption keys",
    }
)
"""Permissions of platform staff. They have no effect in a manufacturer."""

PERSONAL_ACCESS = frozenset({"sessions:own", "factors:own"})
"""Permissions of every active account, whatever its role: everyone can secure their own account."""

KEY_ACCESS = frozenset({"usage:read", "security:read"})
"""What an API key may have besides policy permissions: nothing over members, sessions, factors or keys."""

KEY_DEFAULT_ACCESS = frozenset({"usage:read"})
"""What every API key has implicitly: a server can always see the quotas that it consumes."""

EVERYTHING = "*"
"""In a role: all permissions of the tier, and all access of the role's kind (tenant or platform)."""

BUILT_IN_ROLES: Mapping[str, bool] = MappingProxyType({"owner": False, "platform_admin": True})
"""Roles that every policy has, with all permissions, and whether they are platform roles. Without them, a policy
could leave nobody able to manage anything."""
