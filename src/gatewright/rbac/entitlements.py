"""Entitlements: a manufacturer's tier, grants and members, cached in memory.

A permission check costs a dictionary look-up and no query. Entries are dropped as soon as this or another process
announces a change.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import Any

from gatewright.access import KEY_DEFAULT_ACCESS
from gatewright.caching import ALL, BoundedCache
from gatewright.clock import Clock
from gatewright.errors import AuthorizationError
from gatewright.rbac.compiled_policy import CompiledPolicy
from gatewright.references import manufacturer_id_of
from gatewright.storage.protocol import Store
from gatewright.storage.tenants import PLATFORM_TENANT, StoredAccount, StoredGrant

CAPACITY = 20_000
"""Manufacturers whose entitlements are cached."""
_MAX_STRANGERS = 64
"""Unknown account ids remembered per manufacturer, so that repeated requests cost no query."""

EndDue = Callable[[str], Awaitable[float | None]]
"""Ends what is due in a manufacturer, and returns when the next thing ends (seconds since the epoch)."""


class Entitlements:
    """The entitlements of one manufacturer.

    ``tier`` is the stored tier, or None if only the caller's context names one. ``until`` is when the first grant
    ends. ``members`` maps account ids to the permissions that their role allows, and is None if no roles are stored.
    ``roles`` has the stored roles of active members.
    """

    __slots__ = (
        "active",
        "billing_day",
        "by_tier",
        "granted",
        "known",
        "members",
        "restricted",
        "roles",
        "stored_tier",
        "strangers",
        "tier",
        "until",
    )

    def __init__(self, tier: str | None, billing_day: int, *, known: bool, active: bool) -> None:
        self.tier = tier
        self.stored_tier: str | None = None
        self.billing_day = billing_day
        self.known = known
        self.active = active
        self.granted = 0
        self.restricted = 0
        self.until: float | None = None
        self.members: dict[str, int] | None = None
        self.roles: dict[str, str] = {}
        self.strangers: set[str] = set()
        self.by_tier: dict[Any, int] = {}

    def mask(self, compiled: CompiledPolicy, tier: Any) -> int:
        """The most that any member may do, on the stored tier or else on ``tier``.

        This is what tier and grants allow, and all permissions of Gatewright's own API, which the stored role of a
        member then limits.
        """
        mask = self.by_tier.get(tier)
        if mask is None:
            allowed = compiled.tiers[self.tier or compiled.tier(tier)] | self.granted
            mask = allowed & ~self.restricted | compiled.access if self.active else 0
            if len(self.by_tier) < _MAX_STRANGERS:
                self.by_tier[tier] = mask
        return mask


class Caller:
    """The caller of a request with its entitlements, resolved once and passed to every check.

    It can be passed wherever a manufacturer is expected. Checks use what was resolved as long as nothing changed
    since, and resolve it again otherwise: a change of tier, role, grant or policy applies to requests under way.
    """

    __slots__ = (
        "account_id",
        "entitlements",
        "ip_address",
        "manufacturer_id",
        "mask",
        "roles",
        "tier",
        "version",
    )

    def __init__(self, context: Any, entitlements: Entitlements, *, tier: str, mask: int, version: int) -> None:
        self.manufacturer_id: str = context.manufacturer_id
        self.account_id: str | None = context.account_id
        self.ip_address: str | None = context.ip_address
        self.roles: list[str] = context.roles
        self.entitlements = entitlements
        self.tier = tier
        self.mask = mask
        self.version = version


class EntitlementCache:
    """Looks up entitlements and caches them.

    Args:
        end_due: called before a look-up, to end temporary adjustments.
        strict: refuse manufacturers and accounts that are not stored. Otherwise the caller's context is trusted for
            what is not stored.
    """

    def __init__(
        self, store: Store, compiled: CompiledPolicy, clock: Clock, *, strict: bool, end_due: EndDue | None = None
    ) -> None:
        self.compiled = compiled
        self.strict = strict
        self.cached: BoundedCache[str, Entitlements] = BoundedCache(CAPACITY)
        self._store = store
        self._clock = clock
        self._end_due = end_due
        self._owners: dict[str, str] = {}
        self._stops: list[Callable[[], None]] = [
            store.changes.subscribe("manufacturer", self.invalidate),
            store.changes.subscribe("grants", self.invalidate),
            store.changes.subscribe("account", self._invalidate_account),
        ]

    def close(self) -> None:
        """Stop listening to changes."""
        for stop in self._stops:
            stop()
        self._stops = []

    def adopt(self, compiled: CompiledPolicy) -> None:
        """Use another policy from now on."""
        self.compiled = compiled
        self.invalidate()

    def invalidate(self, manufacturer_id: str = ALL) -> None:
        """Drop the entitlements of one manufacturer, or of all."""
        self.cached.invalidate(manufacturer_id)
        if manufacturer_id == ALL:
            self._owners.clear()

    def _invalidate_account(self, account_id: str) -> None:
        self.invalidate(ALL if account_id == ALL else self._owners.get(account_id, ""))

    async def resolve(self, context: Any) -> Caller:
        """Resolve the entitlements of a request's caller, for all checks of the request."""
        version = self.cached.version
        entitlements = self.cached.get(context.manufacturer_id)
        if entitlements is None or entitlements.until is not None:
            entitlements = await self.of(context)
        mask = self.cached_mask(context)
        if mask is None:
            mask = await self.mask_of(context)
        return Caller(
            context,
            entitlements,
            tier=entitlements.tier or self.compiled.tier(context.tier),
            mask=mask,
            version=version,
        )

    def is_current(self, caller: Caller) -> bool:
        """Whether nothing changed since the caller was resolved."""
        until = caller.entitlements.until
        return caller.version == self.cached.version and (until is None or self._clock.timestamp() < until)

    def cached_mask(self, manufacturer: Any) -> int | None:
        """The permissions of a context, from memory alone, or None if that is not enough. This is the hot path."""
        try:
            if (
                type(manufacturer) is Caller
                and manufacturer.version == self.cached.version
                and (manufacturer.entitlements.until is None or self.is_current(manufacturer))
            ):
                return manufacturer.mask
            entitlements = self.cached.get(manufacturer.manufacturer_id)
            if entitlements is None or (
                entitlements.until is not None and entitlements.until <= self._clock.timestamp()
            ):
                return None
            mask = entitlements.by_tier[None if entitlements.tier is not None else manufacturer.tier]
            if entitlements.members is not None and (account := getattr(manufacturer, "account_id", None)) is not None:
                return mask & entitlements.members[account]
            roles = manufacturer.roles
            return mask & (self.compiled.role_masks[tuple(roles)] if roles else self.compiled.everything)
        except (AttributeError, KeyError, TypeError):
            return None

    async def mask_of(self, manufacturer: Any) -> int:
        """The permissions of a manufacturer and the member in its context, as bits. None for unknown ones."""
        mask = self.cached_mask(manufacturer)
        if mask is not None:
            return mask
        entitlements = await self.of(manufacturer)
        if self.strict and not entitlements.known:
            return 0
        tier = None if entitlements.tier is not None else getattr(manufacturer, "tier", None)
        allowed = entitlements.mask(self.compiled, tier if isinstance(tier, Hashable) else None)
        return allowed & await self.role_mask_of(manufacturer, entitlements)

    async def role_mask_of(self, manufacturer: Any, entitlements: Entitlements) -> int:
        """The permissions that the role of the member allows."""
        account = getattr(manufacturer, "account_id", None)
        if entitlements.members is not None and isinstance(account, str):
            mask = entitlements.members.get(account)
            if mask is None and account not in entitlements.strangers:
                # Someone may have joined since. Ask once, then remember the account as unknown.
                fresh = await self._look_up(manufacturer_id_of(manufacturer))
                mask = (fresh.members or {}).get(account)
                if mask is None and len(fresh.strangers) < _MAX_STRANGERS:
                    fresh.strangers.add(account)
            if mask is not None:
                return mask
            if self.strict:
                return 0
        roles = getattr(manufacturer, "roles", None)
        if isinstance(roles, str) or not isinstance(roles, Iterable):
            roles = (roles,) if roles else ()
        return self.compiled.role_mask(tuple(role if isinstance(role, Hashable) else "" for role in roles))

    async def of(self, manufacturer: Any) -> Entitlements:
        """The entitlements of a manufacturer. Raises ValidationError if the reference contains no id."""
        if type(manufacturer) is Caller and self.is_current(manufacturer):
            return manufacturer.entitlements
        manufacturer_id = manufacturer_id_of(manufacturer)
        entitlements = self.cached.get(manufacturer_id)
        if entitlements is None or (entitlements.until is not None and entitlements.until <= self._clock.timestamp()):
            entitlements = await self._look_up(manufacturer_id)
        return entitlements

    async def admitted(self, manufacturer: Any) -> tuple[Entitlements, str]:
        """The entitlements, and the tier in force: the stored tier, or else that of the context.

        Raises:
            AuthorizationError: the manufacturer is disabled, or unknown in strict mode.
        """
        if type(manufacturer) is Caller and manufacturer.mask and self.is_current(manufacturer):
            return manufacturer.entitlements, manufacturer.tier  # admitted with any permission at all
        entitlements = await self.of(manufacturer)
        if not entitlements.active or (self.strict and not entitlements.known):
            code = "MANUFACTURER_DISABLED" if entitlements.known else "UNKNOWN_MANUFACTURER"
            raise AuthorizationError(
                "This manufacturer is unknown or disabled.",
                code=code,
                context={"manufacturer_id": manufacturer_id_of(manufacturer)},
            )
        if self.strict and getattr(manufacturer, "account_id", None) is not None:
            await self._require_member(manufacturer, entitlements)
        return entitlements, entitlements.tier or self.compiled.tier(getattr(manufacturer, "tier", ""))

    async def readable(self, manufacturer: Any) -> tuple[Entitlements, str]:
        """The entitlements and the id, to read history. The history of a disabled manufacturer may be read.

        Raises:
            AuthorizationError: the account in the context is not a member (code ``NOT_A_MEMBER``).
        """
        entitlements = await self.of(manufacturer)
        if self.strict:
            await self._require_member(manufacturer, entitlements)
        return entitlements, manufacturer_id_of(manufacturer)

    async def _require_member(self, manufacturer: Any, entitlements: Entitlements) -> None:
        account = getattr(manufacturer, "account_id", None)
        if not isinstance(account, str) or (entitlements.members or {}).get(account):
            return
        if not await self.role_mask_of(manufacturer, entitlements):
            raise AuthorizationError(
                "This account is not a member of the manufacturer.",
                code="NOT_A_MEMBER",
                context={"manufacturer_id": manufacturer_id_of(manufacturer)},
            )

    async def _look_up(self, manufacturer_id: str) -> Entitlements:
        due = None if self._end_due is None else await self._end_due(manufacturer_id)
        version = self.cached.version
        stored = await self._store.get_manufacturer(manufacturer_id)
        grants = await self._store.grants_of(manufacturer_id, self._clock.now())
        if stored is None:
            tier = await self._store.tier_of_unregistered(manufacturer_id)
            entitlements = Entitlements(tier and self.compiled.tier(tier), 1, known=False, active=True)
            entitlements.stored_tier = tier
        else:
            active = stored.status == "active"
            entitlements = Entitlements(self.compiled.tier(stored.tier), stored.billing_day, known=True, active=active)
            entitlements.stored_tier = stored.tier
            accounts = await self._store.list_accounts(manufacturer_id)
            entitlements.members = self._members(manufacturer_id, accounts)
            entitlements.roles = {a.account_id: a.role for a in accounts if a.status == "active"}
        entitlements.until = due
        self._apply(entitlements, grants)
        if entitlements.known or not self.strict:
            entitlements.mask(self.compiled, None)
        self.cached.put(manufacturer_id, entitlements, version=version)
        return entitlements

    def _members(self, manufacturer_id: str, accounts: list[StoredAccount]) -> dict[str, int]:
        staff = manufacturer_id == PLATFORM_TENANT
        # Tokens issued for the manufacturer as a whole have its id as account id. They are not a person: they have
        # what the tier allows and can see remaining quotas, like an API key, and nothing more.
        members = {manufacturer_id: self.compiled.everything | self.compiled.mask(KEY_DEFAULT_ACCESS)}
        for account in accounts:
            active = account.status == "active"
            members[account.account_id] = self.compiled.member_mask(account.role, staff=staff) if active else 0
            self._owners[account.account_id] = manufacturer_id
        if len(self._owners) > CAPACITY * 10:
            self.invalidate()
        return members

    def _apply(self, entitlements: Entitlements, grants: list[StoredGrant]) -> None:
        for grant in grants:
            bit = self.compiled.bits.get(grant.permission, 0) & self.compiled.everything
            if grant.effect == "restrict":
                entitlements.restricted |= bit
            else:
                entitlements.granted |= bit
            if grant.until is not None:
                ends = grant.until.timestamp()
                entitlements.until = ends if entitlements.until is None else min(entitlements.until, ends)
