"""A policy as bit sets: one bit a permission, one mask a tier and a role."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gatewright.policy import EVERYTHING, Policy
from gatewright.rbac.names import plain, role_name, tier_name

_REMEMBERED_ROLES = 1_000
"""Different lists of roles that are remembered; callers write them, so there must be an end."""


class CompiledPolicy:
    """What checks read of a policy; never changed once it is made.

    Args:
        policy: a checked policy.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.bits = {name: 1 << number for number, name in enumerate(policy.permissions)}
        self.everything = (1 << len(self.bits)) - 1
        self.tiers = {tier: self.mask(policy.permissions_of_tier(tier)) for tier in policy.tiers}
        self.limits = {tier: policy.limits_of_tier(tier) for tier in policy.tiers}
        self.resources = frozenset(resource for limits in self.limits.values() for resource in limits)
        self._own = {name: self._of_role(role.permissions) for name, role in policy.roles.items() if not role.platform}
        self._staff = {name: self._of_role(role.permissions) for name, role in policy.roles.items() if role.platform}
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
        """The permissions of a mask, in the policy's order."""
        return [name for name, bit in self.bits.items() if mask & bit]

    def role_mask(self, roles: tuple[Any, ...]) -> int:
        """What the roles in a caller's context leave of the tier: all of it, unless a person's role cuts it.

        Roles of the platform's staff mean nothing in a manufacturer.
        """
        mask = self.role_masks.get(roles)
        if mask is None:
            own = [self._own[name] for name in map(role_name, roles) if name in self._own]
            mask = 0 if own else self.everything
            for bits in own:
                mask |= bits
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

    def _of_role(self, permissions: tuple[str, ...]) -> int:
        return self.everything if EVERYTHING in permissions else self.mask(permissions)
