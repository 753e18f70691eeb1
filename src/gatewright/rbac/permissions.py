"""Permission checks: the tier decides, a person's role cuts, grants add and restrictions take away."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from gatewright.clock import Clock
from gatewright.errors import InsufficientPermissionsError, ValidationError
from gatewright.events import EventSink, Severity, event
from gatewright.rbac.names import plain
from gatewright.rbac.records import PermissionResult
from gatewright.rbac.standing import Standings, id_of
from gatewright.storage.grants import PermissionViolation, StoredGrant
from gatewright.storage.protocol import Store


class Permissions:
    """Answers "may they?" from bit sets in memory."""

    def __init__(self, store: Store, standings: Standings, sink: EventSink, clock: Clock) -> None:
        self._store = store
        self._standings = standings
        self._sink = sink
        self._clock = clock

    async def mask(self, manufacturer: Any) -> int:
        """All that a manufacturer, and the person in its context, may do now, as bits."""
        standing = await self._standings.of(manufacturer)
        roles = getattr(manufacturer, "roles", None)
        cut = self._standings.compiled.role_mask(tuple(roles)) if roles else -1
        return (standing.tier_mask & cut | standing.granted) & ~standing.restricted

    async def has(self, manufacturer: Any, permission: Any) -> bool:
        """Whether it is granted; an unknown permission never is."""
        bit = self._standings.compiled.bits.get(permission if type(permission) is str else plain(permission), 0)
        return bool(await self.mask(manufacturer) & bit)

    async def has_each(self, manufacturer: Any, permissions: Iterable[Any]) -> dict[str, bool]:
        """The answer for each, from one look."""
        mask, bits = await self.mask(manufacturer), self._standings.compiled.bits
        return {name: bool(mask & bits.get(name, 0)) for name in map(plain, permissions)}

    async def names(self, manufacturer: Any) -> list[str]:
        """All that is granted, in the policy's order."""
        mask = await self.mask(manufacturer)
        return [name for name, bit in self._standings.compiled.bits.items() if mask & bit]

    async def check(self, manufacturer: Any, permission: Any) -> PermissionResult:
        """The answer with its reason."""
        compiled, name = self._standings.compiled, plain(permission)
        standing = await self._standings.of(manufacturer)
        bit = compiled.bits.get(name, 0)
        roles = getattr(manufacturer, "roles", None)
        cut = compiled.role_mask(tuple(roles)) if roles else -1
        if not bit:
            reason = "unknown_permission"
        elif standing.restricted & bit:
            reason = "restricted"
        elif standing.tier_mask & cut & bit:
            reason = "tier_permission_granted"
        elif standing.granted & bit:
            reason = "granted_temporarily"
        elif standing.tier_mask & bit:
            reason = "role_not_permitted"
        else:
            reason = "insufficient_tier"
        return PermissionResult(
            granted=reason in ("tier_permission_granted", "granted_temporarily"),
            reason=reason,
            permission=name,
            tier=standing.tier,
            required_tier=compiled.policy.required_tier(name),
        )

    async def enforce(self, manufacturer: Any, permission: Any, operation_context: str = "") -> None:
        """Return where it is granted.

        Raises:
            InsufficientPermissionsError: it is not; the violation is kept and an event made.
        """
        if await self.has(manufacturer, permission):
            return
        result = await self.check(manufacturer, permission)
        manufacturer_id, context = id_of(manufacturer), operation_context[:200]
        ip_address = getattr(manufacturer, "ip_address", None)
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
                "rbac:permission:denied",
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

    async def violations(self, manufacturer_id: str, hours: float) -> list[PermissionViolation]:
        """Refusals of the last hours, newest first."""
        since = self._clock.now() - timedelta(hours=hours)
        return await self._store.violations_of(id_of(manufacturer_id), since=since)

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
            ValidationError: unknown permission, no reason, or an end that is past or without a time zone.
        """
        name, now = plain(permission), self._clock.now()
        if name not in self._standings.compiled.bits:
            raise ValidationError(
                f"No permission is called {name!r}; the policy has {', '.join(self._standings.compiled.bits)}.",
                code="UNKNOWN_PERMISSION",
            )
        end = now + until if isinstance(until, timedelta) else until
        if end is not None and (end.tzinfo is None or end <= now):
            raise ValidationError("`until` must be a time to come, with its time zone.", code="INVALID_UNTIL")
        if not reason or not reason.strip():
            raise ValidationError("Give a `reason`; it is kept in the audit log.", code="MISSING_REASON")
        made = StoredGrant(
            grant_id="grt_" + secrets.token_hex(12),
            manufacturer_id=id_of(manufacturer_id),
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

    async def revoke(self, grant_id: str, *, author: str | None) -> bool:
        """End a grant or restriction; whether there was one to end."""
        ended = await self._store.revoke_grant(grant_id, self._clock.now())
        if ended is None:
            return False
        self._emit(f"rbac:{ended.effect}:revoked", ended, author)
        return True

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
