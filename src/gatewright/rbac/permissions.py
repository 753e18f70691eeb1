"""Permission checks and grants, and explanations of decisions."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from gatewright import event_kinds
from gatewright.caching import BoundedCache
from gatewright.clock import Clock, to_utc
from gatewright.errors import FieldError, InsufficientPermissionsError, ValidationError
from gatewright.events import EventSink, Severity, emitter
from gatewright.policy import UNLIMITED
from gatewright.rbac.entitlements import Caller, EntitlementCache
from gatewright.rbac.quotas import Quotas
from gatewright.rbac.records import PermissionResult
from gatewright.records import Record
from gatewright.references import PermissionRef, TenantRef, manufacturer_id_of, plain
from gatewright.storage.protocol import Store
from gatewright.storage.tenants import PermissionViolation, StoredGrant

MAX_REMEMBERED_USES = 200_000
MAX_VIOLATIONS, VIOLATION_WINDOW = 100, 60.0
"""Violations stored per manufacturer and process within a number of seconds."""
_GRANTED = frozenset({"tier_permission_granted", "role_permission_granted", "granted_temporarily"})
_MADE = {"grant": event_kinds.RBAC_GRANT_MADE, "restrict": event_kinds.RBAC_RESTRICT_MADE}
_REVOKED = {"grant": event_kinds.RBAC_GRANT_REVOKED, "restrict": event_kinds.RBAC_RESTRICT_REVOKED}


class Permissions:
    """Checks permissions against bit sets in memory, and manages grants."""

    def __init__(self, store: Store, entitlements: EntitlementCache, sink: EventSink, clock: Clock) -> None:
        self._store = store
        self._entitlements = entitlements
        self._clock = clock
        self._emit = emitter(sink, clock)
        self._used_on = 0
        self._used: set[tuple[str, str]] = set()
        self._violations: BoundedCache[str, tuple[float, int]] = BoundedCache(10_000)

    async def has_each(self, manufacturer: TenantRef, permissions: Iterable[PermissionRef]) -> dict[str, bool]:
        """Check several permissions at once."""
        mask, bits = await self._entitlements.mask_of(manufacturer), self._entitlements.compiled.bits
        return {name: bool(mask & bits.get(name, 0)) for name in map(plain, permissions)}

    async def names(self, manufacturer: TenantRef) -> list[str]:
        """The policy permissions of a caller, in the order of the policy."""
        return self._entitlements.compiled.names(await self._entitlements.mask_of(manufacturer))

    async def access_names(self, manufacturer: TenantRef) -> list[str]:
        """The permissions of Gatewright's own API that a caller has."""
        return self._entitlements.compiled.access_names(await self._entitlements.mask_of(manufacturer))

    async def check(self, manufacturer: TenantRef, permission: PermissionRef) -> PermissionResult:
        """Check a permission, with the reason for the result."""
        compiled, name = self._entitlements.compiled, plain(permission)
        entitled = await self._entitlements.of(manufacturer)
        tier = entitled.tier or compiled.tier(getattr(manufacturer, "tier", ""))
        bit = compiled.bits.get(name, 0)
        if not bit:
            reason = "unknown_permission"
        elif not entitled.active or (self._entitlements.strict and not entitled.known) or entitled.restricted & bit:
            reason = "restricted"
        elif not (compiled.tiers[tier] | entitled.granted | compiled.access) & bit:
            reason = "insufficient_tier"
        elif not await self._entitlements.role_mask_of(manufacturer, entitled) & bit:
            reason = "role_not_permitted"
        elif bit & compiled.access:
            reason = "role_permission_granted"
        elif compiled.tiers[tier] & bit:
            reason = "tier_permission_granted"
        else:
            reason = "granted_temporarily"
        return PermissionResult(
            granted=reason in _GRANTED,
            reason=reason,
            permission=name,
            tier=tier,
            required_tier=compiled.policy.required_tier(name),
        )

    async def enforce(self, manufacturer: TenantRef, permission: PermissionRef, operation_context: str = "") -> None:
        """Return if the permission is granted.

        Raises:
            InsufficientPermissionsError: it is not. The violation is stored (up to 100 a minute) and emitted as an
                event.
        """
        compiled, name = self._entitlements.compiled, permission if type(permission) is str else plain(permission)
        mask = self._entitlements.cached_mask(manufacturer)
        if mask is None or not mask & compiled.bits.get(name, 0):
            result = await self.check(manufacturer, permission)
            if not result.granted:
                await self._refuse(manufacturer, result, operation_context)
        if name in compiled.policy.permissions:
            # Once a day is enough to tell which permissions are unused. Those of Gatewright's own API come with a
            # role and are never suggested for removal.
            await self._record_use(manufacturer, name)

    async def _refuse(self, manufacturer: TenantRef, result: PermissionResult, operation_context: str) -> None:
        manufacturer_id, context = manufacturer_id_of(manufacturer), operation_context[:200]
        ip_address = getattr(manufacturer, "ip_address", None)
        if self._is_recorded(manufacturer_id):
            await self._store.add_violation(
                PermissionViolation(
                    manufacturer_id=manufacturer_id,
                    permission=result.permission,
                    tier=result.tier,
                    operation_context=context,
                    ip_address=ip_address,
                    timestamp=self._clock.now(),
                )
            )
        self._emit(
            event_kinds.RBAC_PERMISSION_DENIED,
            Severity.NOTICE,
            manufacturer_id=manufacturer_id,
            account_id=getattr(manufacturer, "account_id", None),
            ip_address=ip_address,
            permission=result.permission,
            tier=result.tier,
            reason=result.reason,
            operation_context=context,
        )
        raise InsufficientPermissionsError(
            _denial(result),
            context={
                "manufacturer_id": manufacturer_id,
                "permission": result.permission,
                "tier": result.tier,
                "operation_context": operation_context,
                "required_tier": result.required_tier,
                "reason": result.reason,
            },
        )

    def _is_recorded(self, manufacturer_id: str) -> bool:
        """Whether another violation of this manufacturer is stored. A caller that keeps trying must not cause endless
        writes; every violation is still an event."""
        now = self._clock.monotonic()
        since, count = self._violations.get(manufacturer_id, (now, 0))
        if now - since >= VIOLATION_WINDOW:
            since, count = now, 0
        self._violations.put(manufacturer_id, (since, count + 1))
        return count < MAX_VIOLATIONS

    async def _record_use(self, manufacturer: TenantRef, permission: str) -> None:
        manufacturer_id = (
            manufacturer.manufacturer_id if type(manufacturer) is Caller else manufacturer_id_of(manufacturer)
        )
        day = int(self._clock.timestamp()) // 86_400
        if day != self._used_on:
            self._used_on = day
            self._used.clear()
        key = (manufacturer_id, permission)
        if key not in self._used:
            if len(self._used) < MAX_REMEMBERED_USES:
                self._used.add(key)
            await self._store.note_permission_use(manufacturer_id, permission, day)

    async def violations(self, manufacturer: TenantRef, hours: float) -> list[PermissionViolation]:
        """Violations in the last hours, newest first."""
        since = self._clock.now() - timedelta(hours=hours)
        _, manufacturer_id = await self._entitlements.readable(manufacturer)
        return await self._store.violations_of(manufacturer_id, since=since)

    async def grant(
        self,
        manufacturer_id: TenantRef,
        permission: PermissionRef,
        *,
        until: datetime | timedelta | None,
        reason: str,
        author: str | None,
        effect: str,
    ) -> StoredGrant:
        """Grant or restrict a permission for a time.

        Raises:
            ValidationError: unknown permission or (in a foundation) manufacturer, no reason, or an end that is past
                or without a time zone.
        """
        name, now = plain(permission), self._clock.now()
        known = self._entitlements.compiled.policy.permissions
        if name not in known:  # nor those of Gatewright's own API: they come only with a member's role
            raise ValidationError(
                f"Unknown permission {name!r}. The policy has {', '.join(known)}.", code="UNKNOWN_PERMISSION"
            )
        endless = until is None and effect == "restrict"  # a restriction may last forever, a grant must end
        end = None if endless else _end_of(until, now)
        if not reason or not reason.strip():
            raise ValidationError("reason is required; it is kept in the audit log.", code="MISSING_REASON")
        named = manufacturer_id_of(manufacturer_id)
        if self._entitlements.strict and await self._store.get_manufacturer(named) is None:
            raise ValidationError("Unknown manufacturer id.", code="UNKNOWN_MANUFACTURER")
        made = StoredGrant(
            grant_id="grt_" + secrets.token_hex(12),
            manufacturer_id=named,
            permission=name,
            effect=effect,
            until=end,
            reason=reason[:300],
            author=author,
            created_at=now,
        )
        await self._store.add_grant(made)
        self._emit_grant(_MADE[effect], made, author)
        return made

    async def grants(self, manufacturer: TenantRef) -> list[StoredGrant]:
        """Grants and restrictions in force, oldest first."""
        _, manufacturer_id = await self._entitlements.readable(manufacturer)
        return await self._store.grants_of(manufacturer_id, self._clock.now())

    async def revoke(self, grant: Any, permission: Any, *, author: str | None) -> bool:
        """Revoke grants and restrictions. Returns False if there were none.

        Args:
            grant: a grant, its id, or (with ``permission``) a manufacturer.
            permission: a permission, whose grants are all revoked, or the id of one grant of the manufacturer.
        """
        if permission is None:
            ids = [str(getattr(grant, "grant_id", grant))]
        else:
            wanted = plain(getattr(permission, "grant_id", permission))
            ids = [g.grant_id for g in await self.grants(grant) if wanted in (g.grant_id, g.permission)]
        revoked = [await self._store.revoke_grant(grant_id, self._clock.now()) for grant_id in ids]
        for one in revoked:
            if one is not None:
                self._emit_grant(_REVOKED[one.effect], one, author)
        return any(one is not None for one in revoked)

    def _emit_grant(self, kind: str, grant: StoredGrant, author: str | None) -> None:
        self._emit(
            kind,
            Severity.NOTICE,
            manufacturer_id=grant.manufacturer_id,
            actor=author,
            grant_id=grant.grant_id,
            permission=grant.permission,
            until=None if grant.until is None else grant.until.isoformat(),
            reason=grant.reason,
        )


def _denial(result: PermissionResult) -> str:
    """Why a permission is denied, and what would help."""
    if result.reason == "unknown_permission":
        return f"Unknown permission {result.permission or '(empty)'}."
    if result.reason == "restricted":
        return f"The permission {result.permission} is currently restricted for this manufacturer."
    if result.reason == "role_not_permitted":
        return f"Your role does not include {result.permission}. The owner of the account can change your role."
    needed = f"; it is included from the tier {result.required_tier}" if result.required_tier else ""
    return f"The tier {result.tier} does not include {result.permission}{needed}."


class Explanation(Record, frozen=True, kw_only=True):
    """Why ``manufacturer_id`` may or may not use ``subject``, a permission or resource, in one ``sentence``."""

    manufacturer_id: str
    subject: str
    allowed: bool
    reason: str
    sentence: str


async def explain(
    entitlements: EntitlementCache, permissions: Permissions, quotas: Quotas, manufacturer: TenantRef, subject: Any
) -> Explanation:
    """Explain a permission or a resource.

    Raises:
        ValidationError: the policy has neither.
    """
    compiled, name, who = entitlements.compiled, plain(subject), manufacturer_id_of(manufacturer)
    if name in compiled.resources:
        return await _explain_quota(quotas, manufacturer, who, name)
    if name not in compiled.bits:
        known = ", ".join([*compiled.bits, *sorted(compiled.resources)])
        raise ValidationError(f"{name!r} is neither a permission nor a resource. Use one of {known}.")
    found = await permissions.check(manufacturer, name)
    needed = f"{found.required_tier} does" if found.required_tier else "no tier does"
    grants = [g for g in await permissions.grants(manufacturer) if g.permission == name]
    by_effect = {effect: next((g for g in grants if g.effect == effect), None) for effect in ("grant", "restrict")}
    grant, restriction = by_effect["grant"], by_effect["restrict"]
    why = {
        "tier_permission_granted": f"the tier {found.tier} includes it",
        "role_permission_granted": "the member's role includes it",
        "granted_temporarily": f"it was granted{_until(grant)}",
        "insufficient_tier": f"the tier {found.tier} does not include it; {needed}",
        "role_not_permitted": "the tier includes it, but the member's role does not",
        "restricted": f"it was restricted{_until(restriction)}"
        if restriction
        else "the manufacturer is unknown or disabled",
    }[found.reason]
    return Explanation(
        manufacturer_id=who,
        subject=name,
        allowed=found.granted,
        reason=found.reason,
        sentence=f"{who} may{'' if found.granted else ' not'} {name}: {why}.",
    )


async def _explain_quota(quotas: Quotas, manufacturer: TenantRef, who: str, name: str) -> Explanation:
    found = await quotas.check(manufacturer, name)
    limit = "unlimited" if found.limit == UNLIMITED else f"{found.limit:,}"
    verb = "may use more" if found.allowed else "may not use more"
    return Explanation(
        manufacturer_id=who,
        subject=name,
        allowed=found.allowed,
        reason=found.reason or "within_limit",
        sentence=(
            f"{who} {verb} {name}: {found.current:,} of {limit} used on the tier {found.tier}. "
            f"Resets at {found.resets_at:%Y-%m-%d %H:%M} UTC."
        ),
    )


def _until(grant: StoredGrant | None) -> str:
    if grant is None:
        return ""
    end = f" until {grant.until:%Y-%m-%d %H:%M} UTC" if grant.until else ""
    return f"{end} ({grant.reason})"


def _end_of(until: object, now: datetime) -> datetime:
    """The end of a grant in UTC, from a time or a span; raises ValidationError for what no grant can end at."""
    try:
        end = now + until if isinstance(until, timedelta) else until
    except OverflowError:
        end = None
    moment = to_utc(end) if isinstance(end, datetime) and end.tzinfo is not None else None
    if moment is None or moment <= now:
        message = "until must be in the future, have a time zone and fall before the year 10000 in UTC."
        error = FieldError(field="until", error_type="INVALID_UNTIL", message=message)
        raise ValidationError(message, errors=[error], code="INVALID_UNTIL")
    return moment
