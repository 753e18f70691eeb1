"""Permissions of Gatewright's own calls: who may manage people, keys, business data and the platform.

The permissions that a platform sells by tier stand in its policy (``[permissions]``); these are fixed, because routes
of ours ask for them. Roles hold both kinds. A tier is the ceiling of the first kind only.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

TENANT_ACCESS: Mapping[str, str] = MappingProxyType(
    {
        "sessions:own": "List and end one's own sessions",
        "factors:own": "Manage one's own password, second factors, passkeys and trusted devices",
        "sessions:manage": "List and end the sessions of other members",
        "members:read": "List members and open invitations",
        "members:manage": "Invite members, change their roles, disable them",
        "keys:read": "List API keys",
        "keys:manage": "Create, rotate and revoke API keys",
        "profile:read": "Read the company's business data",
        "profile:write": "Change the company's business data, bank account included",
        "usage:read": "See quotas, usage and forecasts",
        "security:read": "Read the company's own security events",
    }
)
"""Permissions of the people of a manufacturer, each with what it allows."""

PLATFORM_ACCESS: Mapping[str, str] = MappingProxyType(
    {
        "platform:tenants:read": "List manufacturers, their people and usage",
        "platform:tenants:write": "Disable and enable manufacturers",
        "platform:tiers:write": "Change a manufacturer's tier",
        "platform:grants:write": "Grant permissions for a time, apply and roll back suggestions",
        "platform:factors:reset": "Remove the second factors of a person who lost them",
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
"""Permissions of the platform's staff; they mean nothing in a manufacturer."""

PERSONAL_ACCESS = frozenset({"sessions:own", "factors:own"})
"""What every active person may do, whatever the role: nobody can be kept from securing their own account."""

KEY_ACCESS = frozenset({"usage:read", "security:read"})
"""What an API key may name beside the permissions of the policy: nothing over people, sessions, factors or keys."""

KEY_DEFAULT_ACCESS = frozenset({"usage:read"})
"""What every API key has without naming it: a server must be able to see the quotas that it spends."""

EVERYTHING = "*"
"""In a role: all that the tier gives, and all access of its kind (tenant or platform)."""

BUILT_IN_ROLES: Mapping[str, bool] = MappingProxyType({"owner": False, "platform_admin": True})
"""Roles that exist under every policy with all permissions, and whether they are the platform's: a policy that does
not name them would leave nobody who may manage anything."""
