"""Permission checks and grants, and the explanation of a decision."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from gatewright import event_kinds
from gatewright.clock import Clock, to_utc
from gatewright.errors import FieldError, InsufficientPermissionsError, ValidationError
from gatewright.events import EventSink, Severity, event
from gatewright.policy import UNLIMITED
from gatewright.rbac.entitlements import EntitlementCache, id_of
from gatewright.rbac.quotas import Quotas
from gatewright.rbac.records import PermissionResult, plain
from gatewright.records import Record
from gatewright.storage.protocol import Store
from gatewright.storage.tenants import PermissionViolation, StoredGrant


class Explanation(Record, frozen=True, kw_only=True):
    """``sentence`` says why ``manufacturer_id`` may or may not use ``subject``, a permission or a resource."""

    manufacturer_id: str
    subject: str
    allowed: bool
    reason: str
    sentence: str


async def explain(
    standings: EntitlementCache, permissions: Permissions, quotas: Quotas, manufacturer: Any, subject: Any
) -> Explanation:
    """Explain a permission or a resource.

    Raises:
        ValidationError: the policy knows neither.
    """
    compiled, name, who = standings.compiled, plain(subject), id_of(manufacturer)
    if name in compiled.resources:
        return await _quota(quotas, manufacturer, who, name)
    if name not in compiled.bits:
        known = ", ".join([*compiled.bits, *sorted(compiled.resources)])
        raise ValidationError(f"{name!r} is neither a permission nor a resource; there are {known}.")
    found = await permissions.check(manufacturer, name)
    needed = f"{found.required_tier} does" if found.required_tier else "no tier does"
    grants = [g for g in await permissions.grants(manufacturer) if g.permission == name]
    held = {effect: next((g for g in grants if g.effect == effect), None) for effect in ("grant", "restrict")}
    grant, restriction = held["grant"], held["restrict"]
    why = {
        "tier_permission_granted": f"the tier {found.tier} gives it",
        "role_permission_granted": "this person's role includes it",
        "granted_temporarily": f"it was granted{_until(grant)}",
        "insufficient_tier": f"the tier {found.tier} does not give it; {needed}",
        "role_not_permitted": "the tier would allow it, but this person's role does not include it",
        "restricted": f"it was restricted{_until(restriction)}" if restriction else "it is unknown here, or disabled",
    }[found.reason]
    return Explanation(
        manufacturer_id=who,
        subject=name,
        allowed=found.granted,
        reason=found.reason,
        sentence=f"{who} may{'' if found.granted else ' not'} {name}: {why}.",
    )


async def _quota(quotas: Quotas, manufacturer: Any, who: str, name: str) -> Explanation:
    found = await quotas.check(manufacturer, name)
    limit = "unlimited" if found.limit == UNLIMITED else f"{found.limit:,}"
    verb = "may use more" if found.allowed else "may use no more"
    return Explanation(
        manufacturer_id=who,
        subject=name,
        allowed=found.allowed,
        reason=found.reason or "within_limit",
        sentence=(
            f"{who} {verb} {name}: {found.current:,} of {limit} on {found.tier} are used, "
            f"and counting begins anew at {found.resets_at:%Y-%m-%d %H:%M} UTC."
        ),
    )


def _until(grant: Any) -> str:
    if grant is None:
        return ""
    end = f" until {grant.until:%Y-%m-%d %H:%M} UTC" if grant.until else ""
    return f"{end} ({grant.reason})"


_REMEMBERED_USES = 200_000
_GRANTED = frozenset({"tier_permission_granted", "role_permission_granted", "granted_temporarily"})
_VIOLATIONS_RECORDED, _VIOLATION_WINDOW = 100, 60.0
"""Violations of one manufacturer that are stored within so many seconds, by each process."""
_VIOLATORS = 10_000


class Permissions:
    """Answers "may they?" from bit sets in memory."""

    def __init__(self, store: Store, standings: EntitlementCache, sink: EventSink, clock: Clock) -> None:
        self._store = store
        self._standings = standings
        self._sink = sink
        self._clock = clock
        self._day = 0
        self._used: set[tuple[str, str]] = set()
        self._violations: OrderedDict[str, tuple[float, int]] = OrderedDict()

    async def has_each(self, manufacturer: Any, permissions: Iterable[Any]) -> dict[str, bool]:
        """The answer for each, from one look."""
        mask, bits = await self._standings.mask_of(manufacturer), self._standings.compiled.bits
        return {name: bool(mask & bits.get(name, 0)) for name in map(plain, permissions)}

    async def names(self, manufacturer: Any) -> list[str]:
        """All that is granted, in the policy's order."""
        return self._standings.compiled.names(await self._standings.mask_of(manufacturer))

    async def access_names(self, manufacturer: Any) -> list[str]:
        """Which of our own calls are open to the person in a context."""
        return self._standings.compiled.access_names(await self._standings.mask_of(manufacturer))

    async def check(self, manufacturer: Any, permission: Any) -> PermissionResult:
        """The answer with its reason."""
        compiled, name = self._standings.compiled, plain(permission)
        standing = await self._standings.of(manufacturer)
        tier = standing.tier or compiled.tier(getattr(manufacturer, "tier", ""))
        bit = compiled.bits.get(name, 0)
        if not bit:
            reason = "unknown_permission"
        elif not standing.active or (self._standings.strict and not standing.known) or standing.restricted & bit:
            reason = "restricted"
        elif not (compiled.tiers[tier] | standing.granted | compiled.access) & bit:
            reason = "insufficient_tier"
        elif not await self._standings.cut_of(manufacturer, standing) & bit:
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

    async def enforce(self, manufacturer: Any, permission: Any, operation_context: str = "") -> None:
        """Return where it is granted.

        Raises:
            InsufficientPermissionsError: it is not. The violation is stored (up to 100 a minute) and leaves an event.
        """
        mask = self._standings.quick(manufacturer)
        if mask is not None and mask & self._standings.compiled.bit(permission):
            await self._note_use(manufacturer, permission)
            return
        result = await self.check(manufacturer, permission)
        if result.granted:
            await self._note_use(manufacturer, permission)
            return
        manufacturer_id, context = id_of(manufacturer), operation_context[:200]
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
        self._sink.emit(
            event(
                event_kinds.RBAC_PERMISSION_DENIED,
                severity=Severity.NOTICE,
                timestamp=self._clock.now(),
                manufacturer_id=manufacturer_id,
                account_id=getattr(manufacturer, "account_id", None),
                ip_address=ip_address,
                permission=result.permission,
                tier=result.tier,
                reason=result.reason,
                operation_context=context,
            )
        )
        raise InsufficientPermissionsError(
            _sentence(result),
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
        """Whether one more violation of this manufacturer is stored: a caller that keeps trying must not keep us
        writing. Every one of them is an event."""
        now = self._clock.monotonic()
        since, count = self._violations.get(manufacturer_id, (now, 0))
        if now - since >= _VIOLATION_WINDOW:
            since, count = now, 0
        self._violations[manufacturer_id] = (since, count + 1)
        self._violations.move_to_end(manufacturer_id)
        while len(self._violations) > _VIOLATORS:
            self._violations.popitem(last=False)
        return count < _VIOLATIONS_RECORDED

    async def _note_use(self, manufacturer: Any, permission: Any) -> None:
        """Remember, once a day, that a permission was used; the unused ones are suggested for taking away.

        Those of our own calls come with a role and are never suggested.
        """
        name = plain(permission)
        if name not in self._standings.compiled.policy.permissions:
            return
        day = int(self._clock.timestamp()) // 86_400
        if day != self._day:
            self._day = day
            self._used.clear()
        key = (id_of(manufacturer), name)
        if key not in self._used:
            if len(self._used) < _REMEMBERED_USES:
                self._used.add(key)
            await self._store.note_permission_use(*key, day)

    async def violations(self, manufacturer: Any, hours: float) -> list[PermissionViolation]:
        """Refusals of the last hours, newest first."""
        since = self._clock.now() - timedelta(hours=hours)
        _, manufacturer_id = await self._standings.reader(manufacturer)
        return await self._store.violations_of(manufacturer_id, since=since)

    async def grant(
        self,
        manufacturer_id: str,
        permission: Any,
        *,
        until: datetime | timedelta | None,
        reason: str,
        author: str | None,
        effect: str,
    ) -> StoredGrant:
        """Give or take a permission for a while.

        Raises:
            ValidationError: unknown permission or (in a foundation) manufacturer, no reason, or an end that is past
                or without a time zone.
        """
        name, now = plain(permission), self._clock.now()
        known = self._standings.compiled.policy.permissions
        if name not in known:  # nor one of our own calls: those come with a person's role alone
            raise ValidationError(
                f"No permission is called {name!r}; the policy has {', '.join(known)}.",
                code="UNKNOWN_PERMISSION",
            )
        endless = until is None and effect == "restrict"  # what is taken away may stay away; what is given must end
        end = None if endless else _end_of(until, now)
        if not reason or not reason.strip():
            raise ValidationError("Give a `reason`; it is kept in the audit log.", code="MISSING_REASON")
        named = id_of(manufacturer_id)
        if self._standings.strict and await self._store.get_manufacturer(named) is None:
            raise ValidationError("No manufacturer has this id.", code="UNKNOWN_MANUFACTURER")
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
        self._emit(f"rbac:{effect}:made", made, author)
        return made

    async def grants(self, manufacturer: Any) -> list[StoredGrant]:
        """Grants and restrictions in force, oldest first."""
        _, manufacturer_id = await self._standings.reader(manufacturer)
        return await self._store.grants_of(manufacturer_id, self._clock.now())

    async def revoke(self, whose: Any, which: Any, *, author: str | None) -> bool:
        """End a grant or restriction; whether there was one to end.

        Args:
            whose: a grant, its id, or (with ``which``) a manufacturer.
            which: a grant's id, or a permission: all grants of it end. None where ``whose`` says it all.
        """
        if which is None:
            ids = [str(getattr(whose, "grant_id", whose))]
        else:
            wanted = plain(getattr(which, "grant_id", which))
            ids = [g.grant_id for g in await self.grants(whose) if wanted in (g.grant_id, g.permission)]
        ended = [await self._store.revoke_grant(grant_id, self._clock.now()) for grant_id in ids]
        for grant in ended:
            if grant is not None:
                self._emit(f"rbac:{grant.effect}:revoked", grant, author)
        return any(grant is not None for grant in ended)

    def _emit(self, kind: str, grant: StoredGrant, author: str | None) -> None:
        self._sink.emit(
            event(
                kind,
                severity=Severity.NOTICE,
                timestamp=self._clock.now(),
                manufacturer_id=grant.manufacturer_id,
                actor=author,
                grant_id=grant.grant_id,
                permission=grant.permission,
                until=None if grant.until is None else grant.until.isoformat(),
                reason=grant.reason,
            )
        )


def _sentence(result: PermissionResult) -> str:
    """Why not, and what would help."""
    if result.reason == "unknown_permission":
        return f"No permission is called {result.permission or '(empty)'}."
    if result.reason == "restricted":
        return f"The permission {result.permission} is restricted for this manufacturer at the moment."
    if result.reason == "role_not_permitted":
        return f"This person's role does not include {result.permission}; the account's owner can change the role."
    needed = f"; it comes with the tier {result.required_tier}" if result.required_tier else ""
    return f"The tier {result.tier} does not include {result.permission}{needed}."


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
