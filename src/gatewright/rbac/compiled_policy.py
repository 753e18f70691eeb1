"""The compiled policy: a bit per permission, and a mask per tier and role.

The policy's own permissions have the low bits, those of Gatewright's own calls the bits above them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gatewright.access import BUILT_IN_ROLES, EVERYTHING, PERSONAL_ACCESS, PLATFORM_ACCESS, TENANT_ACCESS
from gatewright.policy import Policy, Role
from gatewright.rbac.records import role_name, tier_name
from gatewright.references import plain

_REMEMBERED_ROLES = 1_000
"""Different lists of roles that are remembered; callers write them, so there must be an end."""


class CompiledPolicy:
    """What checks read of a policy; never changed once it is made.

    Args:
        policy: a checked policy.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        names = (*policy.permissions, *TENANT_ACCESS, *PLATFORM_ACCESS)
        self.bits = {name: 1 << number for number, name in enumerate(names)}
        self.everything = (1 << len(policy.permissions)) - 1
        """All permissions that tiers give."""
        self.access = ((1 << len(self.bits)) - 1) & ~self.everything
        """All permissions of our own calls, which no tier gives and no role of a caller's context."""
        self.tiers = {tier: self.mask(policy.permissions_of_tier(tier)) for tier in policy.tiers}
        self.limits = {tier: policy.limits_of_tier(tier) for tier in policy.tiers}
        self.resources = frozenset(resource for limits in self.limits.values() for resource in limits)
        self.roles = {
            **{name: Role(permissions=(EVERYTHING,), platform=staff) for name, staff in BUILT_IN_ROLES.items()},
            **policy.roles,
        }
        self._own = {name: self._of_role(role) for name, role in self.roles.items() if not role.platform}
        self._staff = {name: self._of_role(role) for name, role in self.roles.items() if role.platform}
        self.role_masks: dict[tuple[Any, ...], int] = {}

    def bit(self, permission: Any) -> int:
        """The bit of a permission in any form; 0 for one that the policy does not know."""
        try:
            return self.bits[permission]
        except (KeyError, TypeError):
            return self.bits.get(plain(permission), 0)

    def mask(self, names: Iterable[str]) -> int:
        """The bits of these permissions."""
        mask = 0
        for name in names:
            mask |= self.bits[name]
        return mask

    def names(self, mask: int) -> list[str]:
        """The policy's permissions of a mask, in the policy's order."""
        return [name for name in self.policy.permissions if mask & self.bits[name]]

    def access_names(self, mask: int) -> list[str]:
        """The permissions of our own calls in a mask."""
        return [name for name in (*TENANT_ACCESS, *PLATFORM_ACCESS) if mask & self.bits[name]]

    def role_mask(self, roles: tuple[Any, ...]) -> int:
        """What the roles in a caller's context leave of the tier: all of it, unless a person's role cuts it.

        Roles of the platform's staff mean nothing in a manufacturer, and what a context says of itself opens none of
        our own calls: those go by the stored role of a person.
        """
        mask = self.role_masks.get(roles)
        if mask is None:
            own = [self._own[name] for name in map(role_name, roles) if name in self._own]
            mask = 0 if own else self.everything
            for bits in own:
                mask |= bits & self.everything
            if len(self.role_masks) < _REMEMBERED_ROLES:
                self.role_masks[roles] = mask
        return mask

    def member_mask(self, role: str, *, staff: bool) -> int:
        """What a stored role leaves; a role that the policy does not know leaves nothing."""
        return (self._staff if staff else self._own).get(role_name(role), 0)

    def tier(self, name: Any) -> str:
        """The policy's name of a tier; the default tier where the name says nothing known."""
        known = tier_name(name)
        return known if known in self.tiers else self.policy.default_tier

    def _of_role(self, role: Role) -> int:
        access = {**TENANT_ACCESS, **(PLATFORM_ACCESS if role.platform else {})}
        if EVERYTHING in role.permissions:
            return self.everything | self.mask(access)
        return self.mask((*role.permissions, *PERSONAL_ACCESS))
