"""Standing: what the store knows of a manufacturer's tier, status, billing day and grants, in memory.

A standing is dropped the moment a change is heard of, from this process or another, so that checks cost no
query. The memory is bounded.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from gatewright.clock import Clock
from gatewright.errors import AuthorizationError, ValidationError
from gatewright.policy import EVERYTHING, Policy
from gatewright.rbac.names import plain, role_name, tier_name
from gatewright.storage.changes import ALL
from gatewright.storage.grants import StoredGrant
from gatewright.storage.protocol import Store

REMEMBERED = 20_000


class Standing:
    """A manufacturer's tier, billing day and grants as bits; ``until`` is when the first grant ends."""

    __slots__ = ("billing_day", "granted", "known", "restricted", "tier", "tier_mask", "until")

    def __init__(self, tier: str, tier_mask: int, billing_day: int, *, known: bool) -> None:
        self.tier = tier
        self.tier_mask = tier_mask
        self.billing_day = billing_day
        self.known = known
        self.granted = 0
        self.restricted = 0
        self.until = float("inf")


class CompiledPolicy:
    """A policy as bit sets: one bit a permission, one mask a tier and a role."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.bits = {name: 1 << number for number, name in enumerate(policy.permissions)}
        self.everything = (1 << len(self.bits)) - 1
        self.tiers = {tier: self.mask(policy.permissions_of_tier(tier)) for tier in policy.tiers}
        self.limits = {tier: policy.limits_of_tier(tier) for tier in policy.tiers}
        self.resources = frozenset(resource for limits in self.limits.values() for resource in limits)
        self._roles = {
            name: self.everything if EVERYTHING in role.permissions else self.mask(frozenset(role.permissions))
            for name, role in policy.roles.items()
        }
        self._role_masks: dict[tuple[Any, ...], int] = {}

    def mask(self, names: frozenset[str]) -> int:
        """The bits of these permissions."""
        mask = 0
        for name in names:
            mask |= self.bits[name]
        return mask

    def role_mask(self, roles: tuple[Any, ...]) -> int:
        """What these roles leave of the tier: everything, unless a person's role cuts it."""
        mask = self._role_masks.get(roles)
        if mask is None:
            own = [self._roles[name] for name in map(role_name, roles) if name in self._roles]
            mask = self.everything if not own else 0
            for bits in own:
                mask |= bits
            if len(self._role_masks) < 1_000:
                self._role_masks[roles] = mask
        return mask

    def tier(self, name: Any) -> str:
        """The policy's name of a tier; the default tier where the name says nothing known."""
        known = tier_name(name)
        return known if known in self.tiers else self.policy.default_tier


class Standings:
    """Looks standings up and remembers them.

    Args:
        strict: refuse manufacturers that the store does not know; otherwise the caller's context counts.
    """

    def __init__(self, store: Store, compiled: CompiledPolicy, clock: Clock, *, strict: bool) -> None:
        self.compiled = compiled
        self._store = store
        self._clock = clock
        self._strict = strict
        self._known: OrderedDict[str, Standing] = OrderedDict()
        self._changes = 0
        self._stops: list[Callable[[], None]] = [
            store.changes.subscribe(topic, self.forget) for topic in ("manufacturer", "grants")
        ]

    def close(self) -> None:
        for stop in self._stops:
            stop()

    def forget(self, manufacturer_id: str = ALL) -> None:
        """Drop what is remembered of one, or of all."""
        self._changes += 1
        if manufacturer_id == ALL:
            self._known.clear()
        else:
            self._known.pop(manufacturer_id, None)

    def remembered(self, manufacturer_id: str) -> Standing | None:
        """The standing if it is known without a query."""
        standing = self._known.get(manufacturer_id)
        if standing is not None and standing.until <= self._clock.timestamp():
            return None
        return standing

    async def of(self, manufacturer: Any) -> Standing:
        """The standing of a manufacturer id or context.

        Raises:
            ValidationError: no manufacturer id in it.
            AuthorizationError: unknown or disabled, where that is refused.
        """
        manufacturer_id = id_of(manufacturer)
        standing = self.remembered(manufacturer_id)
        if standing is None:
            standing = await self._look_up(manufacturer_id)
        if standing.known:
            return standing
        if self._strict:
            raise _refused(manufacturer_id)
        tier = self.compiled.tier(getattr(manufacturer, "tier", ""))
        if tier == standing.tier:
            return standing
        own = Standing(tier, self.compiled.tiers[tier], standing.billing_day, known=False)
        own.granted, own.restricted = standing.granted, standing.restricted
        return own

    async def _look_up(self, manufacturer_id: str) -> Standing:
        changes = self._changes
        stored = await self._store.get_manufacturer(manufacturer_id)
        grants = await self._store.grants_of(manufacturer_id, self._clock.now())
        if stored is not None and stored.status != "active":
            raise _refused(manufacturer_id)
        tier = self.compiled.tier(stored.tier if stored else "")
        standing = Standing(
            tier, self.compiled.tiers[tier], stored.billing_day if stored else 1, known=stored is not None
        )
        self._apply(standing, grants)
        if changes == self._changes:  # else something changed while the store was asked: use it once, keep nothing
            self._known[manufacturer_id] = standing
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return standing

    def _apply(self, standing: Standing, grants: list[StoredGrant]) -> None:
        for grant in grants:
            bit = self.compiled.bits.get(grant.permission, 0)
            if grant.effect == "restrict":
                standing.restricted |= bit
            else:
                standing.granted |= bit
            if grant.until is not None:
                standing.until = min(standing.until, grant.until.timestamp())


def id_of(manufacturer: Any) -> str:
    """The id in an id or a context. Raises ValidationError when there is none."""
    found = manufacturer if isinstance(manufacturer, str) else plain(getattr(manufacturer, "manufacturer_id", None))
    if not found or len(found) > 128:
        raise ValidationError(
            "A manufacturer is an id of 1 to 128 characters, or an object with `manufacturer_id`.",
            code="INVALID_MANUFACTURER_ID",
        )
    return found


def _refused(manufacturer_id: str) -> AuthorizationError:
    return AuthorizationError(
        "This manufacturer is unknown or disabled.",
        code="UNKNOWN_MANUFACTURER",
        context={"manufacturer_id": manufacturer_id},
    )
