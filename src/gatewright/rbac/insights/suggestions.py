"""Suggestions of tiers and permissions, applied within the limits of the policy and reversible."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from gatewright import event_kinds
from gatewright.clock import Clock, to_utc
from gatewright.errors import ValidationError
from gatewright.rbac.adjustments import Adjustments
from gatewright.rbac.entitlements import EntitlementCache
from gatewright.rbac.insights.analytics import DAY, HISTORY_DAYS, UsageAnalytics, analyse, daily_series
from gatewright.rbac.insights.tiers import REFUSAL_DAYS, Refusals, TierSuggestion, day_number, judge
from gatewright.rbac.permissions import Permissions
from gatewright.rbac.quotas import Quotas
from gatewright.records import Record
from gatewright.references import manufacturer_id_of
from gatewright.storage.protocol import Store
from gatewright.storage.usage import StoredAdjustment

UNUSED_DAYS = 90
"""Days without use, after as many days of other use, that make a permission superfluous."""
_DENIED_TIMES, _DENIED_DAYS = 5, 2
"""Denials within 30 days, and on how many different days, that show a need."""


class PermissionSuggestion(Record, frozen=True, kw_only=True):
    """``action`` is ``grant`` (denied repeatedly) or ``restrict`` (unused for long: least privilege)."""

    suggestion_id: str
    manufacturer_id: str
    permission: str
    action: str
    reason: str
    evidence: dict[str, int]
    required_tier: str | None = None


class Suggestions:
    """Makes, applies and rolls back suggestions."""

    def __init__(
        self,
        store: Store,
        entitlements: EntitlementCache,
        permissions: Permissions,
        quotas: Quotas,
        adjustments: Adjustments,
        clock: Clock,
    ) -> None:
        self._store = store
        self._entitlements = entitlements
        self._permissions = permissions
        self._quotas = quotas
        self._adjustments = adjustments
        self._clock = clock

    async def analytics(self, manufacturer: Any) -> UsageAnalytics:
        """What recorded usage tells."""
        manufacturer_id, now = manufacturer_id_of(manufacturer), self._clock.now()
        quotas = await self._quotas.overview(manufacturer)
        tier = quotas[0].tier if quotas else (await self._entitlements.admitted(manufacturer))[1]
        since = (day_number(now) - HISTORY_DAYS) * DAY
        usage = await self._store.usage_history(manufacturer_id, since=since)
        series = daily_series(usage, now)
        # Some tens of milliseconds of arithmetic, which must not hold up the loop.
        return await asyncio.to_thread(analyse, manufacturer_id, tier, series, quotas, now)

    async def tier(self, manufacturer: Any) -> TierSuggestion:
        """The tier that suits what was used and refused."""
        seen = await self.analytics(manufacturer)
        refused = await self._refusals(seen.manufacturer_id)
        found = judge(self._entitlements.compiled.policy, seen, refused)
        if found.suggested == found.current:
            return found
        proposed = await self._propose(seen.manufacturer_id, "tier", found.suggested)
        return msgspec.structs.replace(found, suggestion_id=proposed.suggestion_id)

    async def _refusals(self, manufacturer_id: str) -> dict[str, Refusals]:
        now = self._clock.now()
        first, today = day_number(now) - REFUSAL_DAYS, day_number(now)
        attempts = await self._store.overage_attempts(manufacturer_id, since=datetime.fromtimestamp(first * DAY, UTC))
        units: dict[str, Counter[int]] = {}
        for attempt in attempts:
            units.setdefault(attempt.resource, Counter())[day_number(attempt.timestamp)] += attempt.amount
        return {
            resource: Refusals.of([by_day[day] for day in range(first, today)], by_day[today])
            for resource, by_day in units.items()
        }

    async def permissions(self, manufacturer: Any) -> list[PermissionSuggestion]:
        """Permissions denied repeatedly, and those unused for long."""
        _, manufacturer_id = await self._entitlements.readable(manufacturer)
        wanted = await self._denied(manufacturer_id, set(await self._permissions.names(manufacturer_id)))
        return wanted + await self._unused(manufacturer_id)

    async def _denied(self, manufacturer_id: str, held: set[str]) -> list[PermissionSuggestion]:
        since = self._clock.now() - timedelta(days=30)
        times: Counter[str] = Counter()
        days: dict[str, set[int]] = {}
        for violation in await self._store.violations_of(manufacturer_id, since=since):
            times[violation.permission] += 1
            days.setdefault(violation.permission, set()).add(day_number(violation.timestamp))
        compiled, found = self._entitlements.compiled, []
        for name, count in times.most_common():
            if name in held or name not in compiled.policy.permissions:
                continue
            if count < _DENIED_TIMES or len(days[name]) < _DENIED_DAYS:
                continue
            reason = f"{name} was asked for {count} times on {len(days[name])} days of the last 30, and refused."
            evidence = {"denials": count, "days": len(days[name])}
            found.append(await self._permission(manufacturer_id, name, "grant", reason, evidence))
        return found

    async def _unused(self, manufacturer_id: str) -> list[PermissionSuggestion]:
        used, today = await self._store.permission_use(manufacturer_id), day_number(self._clock.now())
        known_days = today - min((first for first, _ in used.values()), default=today)
        if known_days < UNUSED_DAYS:
            return []
        found = []
        for name in await self._permissions.names(manufacturer_id):
            unused = today - used[name][1] if name in used else known_days
            if unused >= UNUSED_DAYS:
                reason = f"{name} was not used for {unused} days, while others were."
                evidence = {"unused_days": unused, "known_days": known_days}
                found.append(await self._permission(manufacturer_id, name, "restrict", reason, evidence))
        return found

    async def _permission(
        self, manufacturer_id: str, name: str, action: str, reason: str, evidence: dict[str, int]
    ) -> PermissionSuggestion:
        proposed = await self._propose(manufacturer_id, action, name)
        return PermissionSuggestion(
            suggestion_id=proposed.suggestion_id,
            manufacturer_id=manufacturer_id,
            permission=name,
            action=action,
            reason=reason,
            evidence=evidence,
            required_tier=self._entitlements.compiled.policy.required_tier(name),
        )

    async def _propose(self, manufacturer_id: str, kind: str, subject: str) -> StoredAdjustment:
        digest = hashlib.blake2b(f"{manufacturer_id}\0{kind}\0{subject}".encode(), digest_size=12).hexdigest()
        now = self._clock.now()
        made = StoredAdjustment(
            suggestion_id=f"sug_{digest}",
            manufacturer_id=manufacturer_id,
            kind=kind,
            subject=subject,
            created_at=now,
            changed_at=now,
        )
        await self._store.propose_adjustment(made)
        return made

    # --- applying -----------------------------------------------------------------------------------------------

    async def apply(self, suggestion_id: str, author: str | None) -> StoredAdjustment:
        """Put a suggestion in force for a while, within the policy's bounds.

        Raises:
            ValidationError: it is unknown, applied already, overtaken, or out of bounds.
        """
        found = await self._get(suggestion_id)
        if found.status == "applied":
            raise ValidationError("This suggestion is already applied.", code="SUGGESTION_APPLIED")
        self._within_bounds(found)
        bounds, now = self._entitlements.compiled.policy.adjustments, self._clock.now()
        days = bounds.trial_days if found.kind == "tier" else bounds.permission_days
        former = (await self._entitlements.of(found.manufacturer_id)).stored_tier if found.kind == "tier" else None
        applied = msgspec.structs.replace(
            found, status="applied", former=former, until=now + timedelta(days=days), author=author, changed_at=now
        )
        if not await self._store.change_adjustment(applied, expected=found.status):
            raise ValidationError("Someone else just applied this suggestion.", code="SUGGESTION_APPLIED")
        applied = await self._put_in_force(applied, found.status)
        self._adjustments.emit(event_kinds.RBAC_SUGGESTION_APPLIED, applied, author)
        return applied

    def _within_bounds(self, found: StoredAdjustment) -> None:
        policy = self._entitlements.compiled.policy
        if found.kind == "tier":
            ranked = policy.tiers_by_rank()
            highest = policy.adjustments.highest_tier
            if found.subject not in ranked or ranked.index(found.subject) > ranked.index(highest):
                raise ValidationError(
                    f"The policy allows suggestions up to {highest}; {found.subject} requires a decision by staff.",
                    code="SUGGESTION_OUT_OF_BOUNDS",
                )
        elif found.subject not in policy.permissions:
            raise ValidationError("The policy no longer has this permission.", code="UNKNOWN_PERMISSION")

    async def _put_in_force(self, applied: StoredAdjustment, expected: str) -> StoredAdjustment:
        if applied.kind == "tier":
            if not await self._store.replace_tier(
                applied.manufacturer_id, expected=applied.former, tier=applied.subject
            ):
                back = msgspec.structs.replace(applied, status=expected, former=None, until=None)
                await self._store.change_adjustment(back, expected="applied")
                raise ValidationError("The tier has changed. Request a new suggestion.", code="SUGGESTION_STALE")
            return applied
        grant = await self._permissions.grant(
            applied.manufacturer_id,
            applied.subject,
            until=applied.until,
            reason=f"suggestion {applied.suggestion_id}",
            author=applied.author,
            effect=applied.kind,
        )
        with_grant = msgspec.structs.replace(applied, grant_id=grant.grant_id)
        await self._store.change_adjustment(with_grant, expected="applied")
        return with_grant

    async def roll_back(self, suggestion_id: str, author: str | None) -> StoredAdjustment:
        """Restore exactly what was before. A tier that was changed manually since stays as it is.

        Raises:
            ValidationError: it is unknown or not in force.
        """
        found = await self._get(suggestion_id)
        ended = await self._adjustments.end(found, "rolled_back", author, revoke=self._permissions.revoke)
        if ended is None:
            raise ValidationError("This suggestion is not applied.", code="SUGGESTION_NOT_APPLIED")
        return ended

    async def _get(self, suggestion_id: str) -> StoredAdjustment:
        found = await self._store.get_adjustment(suggestion_id) if isinstance(suggestion_id, str) else None
        if found is None:
            raise ValidationError("Unknown suggestion id.", code="UNKNOWN_SUGGESTION")
        return found

    async def digest(self, since: datetime | None = None) -> list[StoredAdjustment]:
        """What was suggested, applied and ended since then (a week ago), newest first, for the platform's team."""
        since = to_utc(since) if since else self._clock.now() - timedelta(days=7)
        if since is None:
            raise ValidationError("since must fall between the years 1 and 9999 in UTC.", code="INVALID_TIME")
        return [a for a in await self._store.list_adjustments() if a.changed_at >= since]
