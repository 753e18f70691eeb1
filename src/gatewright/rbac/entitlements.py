"""Standing: what the store knows of a manufacturer's tier, status, billing day, grants and people, in memory.

A standing is dropped the moment a change is heard of, from this process or another, so that checks cost no
query. The memory is bounded.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import Any

from gatewright.access import KEY_DEFAULT_ACCESS
from gatewright.clock import Clock
from gatewright.errors import AuthorizationError, ValidationError
from gatewright.rbac.compiled_policy import CompiledPolicy
from gatewright.rbac.records import plain
from gatewright.storage.changes import ALL
from gatewright.storage.protocol import Store
from gatewright.storage.tenants import PLATFORM_TENANT, StoredAccount, StoredGrant

REMEMBERED = 20_000
_STRANGERS = 64
"""Unknown account ids that one standing remembers, so that asking for them again costs no query."""


class Entitlements:
    """One manufacturer.

    ``tier`` is the stored one, None where only the caller's context says; ``until`` is when the first grant ends;
    ``members`` maps account ids to what their role leaves, None where nothing is stored; ``roles`` has the stored role
    of those who are active.
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
        """The ceiling of everybody in the manufacturer, on its stored tier or else on ``tier``: what the tier and
        grants give, and our own calls, which only the stored role of a person opens."""
        mask = self.by_tier.get(tier)
        if mask is None:
            gives = compiled.tiers[self.tier or compiled.tier(tier)] | self.granted
            mask = gives & ~self.restricted | compiled.access if self.active else 0
            if len(self.by_tier) < _STRANGERS:
                self.by_tier[tier] = mask
        return mask


class EntitlementCache:
    """Looks standings up and remembers them.

    Args:
        strict: refuse manufacturers, and accounts in them, that the store does not know; otherwise the caller's
            context counts for what is not stored.
    """

    def __init__(self, store: Store, compiled: CompiledPolicy, clock: Clock, *, strict: bool) -> None:
        self.compiled = compiled
        self.strict = strict
        self.known: OrderedDict[str, Entitlements] = OrderedDict()
        self._store = store
        self._clock = clock
        self.on_due: Callable[[str], Awaitable[float | None]] | None = None
        """Ends what is over in a manufacturer, and says when the next thing ends."""
        self._owners: dict[str, str] = {}
        self._changes = 0
        self._stops: list[Callable[[], None]] = [
            store.changes.subscribe("manufacturer", self.forget),
            store.changes.subscribe("grants", self.forget),
            store.changes.subscribe("account", self._forget_account),
        ]

    def close(self) -> None:
        """Stop listening."""
        for stop in self._stops:
            stop()
        self._stops = []

    def adopt(self, compiled: CompiledPolicy) -> None:
        """Judge by another policy from now on."""
        self.compiled = compiled
        self.forget()

    def forget(self, manufacturer_id: str = ALL) -> None:
        """Drop what is remembered of one, or of all."""
        self._changes += 1
        if manufacturer_id == ALL:
            self.known.clear()
            self._owners.clear()
        else:
            self.known.pop(manufacturer_id, None)

    def _forget_account(self, account_id: str) -> None:
        self.forget(ALL if account_id == ALL else self._owners.get(account_id, ""))

    def quick(self, manufacturer: Any) -> int | None:
        """The mask of a context from memory alone; None where that does not suffice. This is the hot path."""
        try:
            standing = self.known.get(manufacturer.manufacturer_id)
            if standing is None or (standing.until is not None and standing.until <= self._clock.timestamp()):
                return None
            mask = standing.by_tier[None if standing.tier is not None else manufacturer.tier]
            if standing.members is not None and (account := getattr(manufacturer, "account_id", None)) is not None:
                return mask & standing.members[account]
            roles = manufacturer.roles
            return mask & (self.compiled.role_masks[tuple(roles)] if roles else self.compiled.everything)
        except (AttributeError, KeyError, TypeError):
            return None

    async def mask_of(self, manufacturer: Any) -> int:
        """All that a manufacturer, and the person in its context, may do now, as bits; none for the unknown."""
        mask = self.quick(manufacturer)
        if mask is not None:
            return mask
        standing = await self.of(manufacturer)
        if self.strict and not standing.known:
            return 0
        tier = None if standing.tier is not None else getattr(manufacturer, "tier", None)
        gives = standing.mask(self.compiled, tier if isinstance(tier, Hashable) else None)
        return gives & await self.cut_of(manufacturer, standing)

    async def cut_of(self, manufacturer: Any, standing: Entitlements) -> int:
        """What the person's role leaves of the manufacturer's permissions."""
        account = getattr(manufacturer, "account_id", None)
        if standing.members is not None and isinstance(account, str):
            cut = standing.members.get(account)
            if cut is None and account not in standing.strangers:
                # Perhaps a person who joined since; asked once, then remembered as a stranger.
                fresh = await self._look_up(id_of(manufacturer))
                cut = (fresh.members or {}).get(account)
                if cut is None and len(fresh.strangers) < _STRANGERS:
                    fresh.strangers.add(account)
            if cut is not None:
                return cut
            if self.strict:
                return 0
        roles = getattr(manufacturer, "roles", None)
        if isinstance(roles, str) or not isinstance(roles, Iterable):
            roles = (roles,) if roles else ()
        return self.compiled.role_mask(tuple(role if isinstance(role, Hashable) else "" for role in roles))

    async def of(self, manufacturer: Any) -> Entitlements:
        """The standing of a manufacturer id or context. Raises ValidationError when there is no id in it."""
        manufacturer_id = id_of(manufacturer)
        standing = self.known.get(manufacturer_id)
        if standing is None or (standing.until is not None and standing.until <= self._clock.timestamp()):
            standing = await self._look_up(manufacturer_id)
        return standing

    async def admitted(self, manufacturer: Any) -> tuple[Entitlements, str]:
        """The standing, and the tier in force: the stored one, else that of the context.

        Raises:
            AuthorizationError: the manufacturer is disabled, or unknown where that is refused.
        """
        standing = await self.of(manufacturer)
        if not standing.active or (self.strict and not standing.known):
            code = "MANUFACTURER_DISABLED" if standing.known else "UNKNOWN_MANUFACTURER"
            raise AuthorizationError(
                "This manufacturer is unknown or disabled.",
                code=code,
                context={"manufacturer_id": id_of(manufacturer)},
            )
        await self._members_only(manufacturer, standing)
        return standing, standing.tier or self.compiled.tier(getattr(manufacturer, "tier", ""))

    async def reader(self, manufacturer: Any) -> tuple[Entitlements, str]:
        """The standing and the id for one who reads what was kept; the past of a disabled one may be read.

        Raises:
            AuthorizationError: the context's person is not of this manufacturer (code ``NOT_A_MEMBER``).
        """
        standing = await self.of(manufacturer)
        await self._members_only(manufacturer, standing)
        return standing, id_of(manufacturer)

    async def _members_only(self, manufacturer: Any, standing: Entitlements) -> None:
        account = getattr(manufacturer, "account_id", None)
        if self.strict and isinstance(account, str) and not await self.cut_of(manufacturer, standing):
            raise AuthorizationError(
                "This person is not a member of the manufacturer.",
                code="NOT_A_MEMBER",
                context={"manufacturer_id": id_of(manufacturer)},
            )

    async def _look_up(self, manufacturer_id: str) -> Entitlements:
        due = None if self.on_due is None else await self.on_due(manufacturer_id)
        changes = self._changes
        stored = await self._store.get_manufacturer(manufacturer_id)
        grants = await self._store.grants_of(manufacturer_id, self._clock.now())
        if stored is None:
            tier = await self._store.tier_of_unregistered(manufacturer_id)
            standing = Entitlements(tier and self.compiled.tier(tier), 1, known=False, active=True)
            standing.stored_tier = tier
        else:
            active = stored.status == "active"
            standing = Entitlements(self.compiled.tier(stored.tier), stored.billing_day, known=True, active=active)
            standing.stored_tier = stored.tier
            accounts = await self._store.list_accounts(manufacturer_id)
            standing.members = self._members(manufacturer_id, accounts)
            standing.roles = {a.account_id: a.role for a in accounts if a.status == "active"}
        standing.until = due
        self._apply(standing, grants)
        if standing.known or not self.strict:
            standing.mask(self.compiled, None)
        if changes == self._changes:  # else something changed while the store was asked: use it once, keep nothing
            self.known[manufacturer_id] = standing
            if len(self.known) > REMEMBERED:
                self.known.popitem(last=False)
        return standing

    def _members(self, manufacturer_id: str, accounts: list[StoredAccount]) -> dict[str, int]:
        staff = manufacturer_id == PLATFORM_TENANT
        # Tokens that were made for the manufacturer as a whole carry its own id as the account's. They are no person:
        # they have what the tier gives and may see what is left of it, as an API key does, and no more.
        members = {manufacturer_id: self.compiled.everything | self.compiled.mask(KEY_DEFAULT_ACCESS)}
        for account in accounts:
            active = account.status == "active"
            members[account.account_id] = self.compiled.member_mask(account.role, staff=staff) if active else 0
            self._owners[account.account_id] = manufacturer_id
        if len(self._owners) > REMEMBERED * 10:
            self.forget()
        return members

    def _apply(self, standing: Entitlements, grants: list[StoredGrant]) -> None:
        for grant in grants:
            bit = self.compiled.bits.get(grant.permission, 0) & self.compiled.everything
            if grant.effect == "restrict":
                standing.restricted |= bit
            else:
                standing.granted |= bit
            if grant.until is not None:
                ends = grant.until.timestamp()
                standing.until = ends if standing.until is None else min(standing.until, ends)


def id_of(manufacturer: Any) -> str:
    """The id in an id or a context. Raises ValidationError when there is none."""
    found = manufacturer if isinstance(manufacturer, str) else plain(getattr(manufacturer, "manufacturer_id", None))
    if not found or len(found) > 128:
        raise ValidationError(
            "A manufacturer is an id of 1 to 128 characters, or an object with `manufacturer_id`.",
            code="INVALID_MANUFACTURER_ID",
        )
    return found
