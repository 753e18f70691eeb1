"""Quotas: limits, atomic takes, refunds and billing periods. The store counts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any

import msgspec

from gatewright import event_kinds
from gatewright.clock import Clock, to_utc
from gatewright.controls import Controls
from gatewright.errors import QuotaExceededError, UnknownResourceError, ValidationError
from gatewright.events import EventSink, Severity, emitter
from gatewright.policy import UNLIMITED, Limit
from gatewright.rbac.billing_periods import PeriodCache, month_start, next_month_start
from gatewright.rbac.entitlements import EntitlementCache, Entitlements
from gatewright.rbac.leases import Leases, QuotaOrder
from gatewright.rbac.records import UsagePeriod, UsageResult
from gatewright.references import ResourceRef, TenantRef, manufacturer_id_of, plain
from gatewright.storage.protocol import Store
from gatewright.storage.usage import OverageAttempt, TakeOutcome, UsageTake

MAX_AMOUNT = 10**12
"""Largest amount of one take: far above any limit, and far below the capacity of a counter."""
_NO_LIMIT = Limit(limit=0)
_TAKE = attrgetter("take")


class Quotas:
    """Counts what manufacturers use against the limits of their tier."""

    def __init__(
        self,
        store: Store,
        entitlements: EntitlementCache,
        sink: EventSink,
        clock: Clock,
        controls: Controls,
    ) -> None:
        self._store = store
        self._entitlements = entitlements
        self._clock = clock
        self._controls = controls
        self._emit = emitter(sink, clock)
        self._periods = PeriodCache()
        self.leases = Leases(store, entitlements, controls, clock, self._warn)

    async def check(
        self, manufacturer: TenantRef, resource: ResourceRef, increment: int = 0, operation_context: str = ""
    ) -> UsageResult:
        """Take ``increment`` units, all or none. 0 tells whether one more would be allowed.

        Raises:
            UnknownResourceError: the policy has no such resource.
            ValidationError: the amount is not a non-negative integer.
        """
        if increment:
            return (await self.take(manufacturer, {resource: increment}, operation_context))[0]
        name = self._resource(resource)
        amount_of(increment)
        entitled, tier = await self._entitlements.admitted(manufacturer)
        return (await self._read(manufacturer_id_of(manufacturer), entitled, tier, [name]))[0]

    async def take(
        self, manufacturer: TenantRef, amounts: Mapping[Any, int], operation_context: str = ""
    ) -> list[UsageResult]:
        """Take several resources, all of them or none."""
        if len(amounts) == 1:
            ((resource, amount),) = amounts.items()
            if type(amount) is int and 0 < amount <= MAX_AMOUNT:
                spent = self.leases.try_spend_local(manufacturer, resource, amount)
                if spent is not None:
                    return [spent]
        manufacturer_id, wanted = manufacturer_id_of(manufacturer), self._wanted(amounts)
        entitled, tier = await self._entitlements.admitted(manufacturer)
        now = self._clock.now()
        orders = []
        for name, amount in wanted.items():
            orders.append(self._order(manufacturer_id, entitled, tier, name, amount, now))
        outcome, leased = await self._decide(manufacturer, manufacturer_id, orders, now, operation_context)
        if not outcome.granted:
            self._emit_refusal(manufacturer, orders, outcome, operation_context)
        results = []
        for order, used in zip(orders, outcome.used, strict=True):
            allowed = outcome.granted or order.take.resource != outcome.refused
            results.append(_result(order, used, allowed=allowed, leased=leased or 0))
            if outcome.granted and leased is None:
                self._warn(manufacturer_id, order.take, used)
        return results

    def _wanted(self, amounts: Mapping[Any, int]) -> dict[str, int]:
        """The amounts by the name of the resource, checked."""
        wanted: dict[str, int] = {}
        for resource, amount in amounts.items():
            name = resource if resource in self._entitlements.compiled.resources else self._resource(resource)
            units = amount_of(amount)
            wanted[name] = amount_of(wanted[name] + units) if name in wanted else units
        return wanted

    async def _decide(
        self,
        manufacturer: TenantRef,
        manufacturer_id: str,
        orders: list[QuotaOrder],
        now: datetime,
        operation_context: str,
    ) -> tuple[TakeOutcome, int | None]:
        """The outcome, and the units of the lease that remain (None: the store decided alone)."""
        leases = self._entitlements.compiled.policy.quotas.leases
        takes: tuple[UsageTake, ...] = tuple(map(_TAKE, orders))
        if len(takes) == 1 and takes[0].limit > 0 and takes[0].amount and takes[0].resource in leases:
            lease = leases[takes[0].resource]
            return await self.leases.take(manufacturer, manufacturer_id, orders[0], lease, now, operation_context)
        for take in takes:
            if take.resource in leases and take.limit > 0:  # units leased elsewhere must not be missing here
                await self.leases.make_room(manufacturer_id, take)
        return await self._store.take_usage(manufacturer_id, takes, now, operation_context=operation_context), None

    async def enforce(
        self, manufacturer: TenantRef, resource: ResourceRef, increment: int = 1, operation_context: str = ""
    ) -> UsageResult:
        """Take units. Raises QuotaExceededError if they are refused."""
        result = await self.check(manufacturer, resource, increment, operation_context)
        if not result.allowed:
            raise self._exceeded(manufacturer, result, operation_context)
        return result

    async def enforce_all(
        self, manufacturer: TenantRef, amounts: Mapping[Any, int], operation_context: str = ""
    ) -> list[UsageResult]:
        """Take several resources. Raises QuotaExceededError for a refused one, and takes none."""
        results = await self.take(manufacturer, amounts, operation_context)
        for result in results:
            if not result.allowed:
                raise self._exceeded(manufacturer, result, operation_context)
        return results

    def _exceeded(self, manufacturer: TenantRef, result: UsageResult, operation_context: str) -> QuotaExceededError:
        seconds = (result.resets_at - self._clock.now()).total_seconds()
        return QuotaExceededError(
            f"Quota exceeded: {result.current} of {result.limit} {result.resource} used. "
            f"Resets at {result.resets_at:%Y-%m-%dT%H:%M:%SZ}.",
            context={
                "manufacturer_id": manufacturer_id_of(manufacturer),
                "resource": result.resource,
                "current": result.current,
                "limit": result.limit,
                "resets_at": result.resets_at,
                "operation_context": operation_context,
                "tier": result.tier,
                "retry_after": max(0.0, seconds),
            },
        )

    async def add(self, manufacturer: TenantRef, resource: ResourceRef, amount: int) -> int:
        """Count units that were already used, even beyond the limit. Returns the current usage."""
        name, manufacturer_id, units = self._resource(resource), manufacturer_id_of(manufacturer), amount_of(amount)
        entitled, tier = await self._entitlements.admitted(manufacturer)
        now = self._clock.now()
        order = self._order(manufacturer_id, entitled, tier, name, units, now)
        counted = msgspec.structs.replace(order.take, limit=UNLIMITED)
        used = (await self._store.take_usage(manufacturer_id, (counted,), now)).used[0]
        self._warn(manufacturer_id, order.take, used)
        return used

    async def refund(
        self, manufacturer: TenantRef, resource: ResourceRef, amount: int, taken_at: datetime | None
    ) -> int:
        """Return units to the billing period in which they were taken. Returns the usage of that period."""
        name, manufacturer_id, units = self._resource(resource), manufacturer_id_of(manufacturer), amount_of(amount)
        now = self._clock.now()
        taken = now if taken_at is None else to_utc(taken_at)
        if taken is None or (taken_at is not None and (taken_at.tzinfo is None or taken_at > now)):
            raise ValidationError("taken_at must be a time in the past with a time zone.", code="INVALID_TIME")
        entitled, tier = await self._entitlements.admitted(manufacturer)
        refund = self._order(manufacturer_id, entitled, tier, name, units, taken)
        return await self._store.refund_usage(manufacturer_id, refund.take, now)

    async def overview(self, manufacturer: TenantRef) -> list[UsageResult]:
        """The usage of every resource of the tier."""
        entitled, tier = await self._entitlements.admitted(manufacturer)
        return await self._read(
            manufacturer_id_of(manufacturer), entitled, tier, sorted(self._entitlements.compiled.limits[tier])
        )

    async def current(self, manufacturer: TenantRef, resource: ResourceRef) -> int:
        """The current usage of a resource, even of a disabled manufacturer."""
        name = self._resource(resource)
        entitled, manufacturer_id = await self._entitlements.readable(manufacturer)
        tier = entitled.tier or self._entitlements.compiled.tier(getattr(manufacturer, "tier", ""))
        return (await self._read(manufacturer_id, entitled, tier, [name]))[0].current

    async def _read(
        self, manufacturer_id: str, entitled: Entitlements, tier: str, names: list[str]
    ) -> list[UsageResult]:
        now = self._clock.now()
        orders = [self._order(manufacturer_id, entitled, tier, name, 0, now) for name in names]
        used = await self._store.read_usage(manufacturer_id, tuple(order.take for order in orders))
        results = []
        for order, count in zip(orders, used, strict=True):
            take = order.take
            leased = 0
            if take.resource in self._entitlements.compiled.policy.quotas.leases:
                leased = await self.leases.unspent(manufacturer_id, take)
            allowed = take.limit == UNLIMITED or count - leased < take.limit
            results.append(_result(order, count, allowed=allowed, leased=leased))
        return results

    async def history(self, manufacturer: TenantRef) -> list[UsagePeriod]:
        """Usage by billing month, oldest first. Daily and hourly counters are summed."""
        entitled, manufacturer_id = await self._entitlements.readable(manufacturer)
        billing_day = entitled.billing_day
        totals: dict[tuple[datetime, str], int] = {}
        for entry in await self._store.usage_history(manufacturer_id):
            start = month_start(datetime.fromtimestamp(entry.start, UTC), billing_day)
            totals[start, entry.resource] = totals.get((start, entry.resource), 0) + entry.used
        return [
            UsagePeriod(
                resource=resource, period_start=start, period_end=next_month_start(start, billing_day), used=used
            )
            for (start, resource), used in sorted(totals.items())
        ]

    async def reset(self, manufacturer_id: str | None = None) -> int:
        """Reset the current billing period. Returns the number of counters that were not zero. History is kept."""
        named = None if manufacturer_id is None else manufacturer_id_of(manufacturer_id)
        now = self._clock.now()
        await self.leases.give_back_all(named)
        # No period is longer than 31 days. Older periods that overlap these days are history, which is kept.
        since = now - timedelta(days=31)
        if named is not None:
            since = month_start(now, (await self._entitlements.of(named)).billing_day)
        monthly = {
            resource
            for limits in self._entitlements.compiled.limits.values()
            for resource, limit in limits.items()
            if limit.window == "month"
        }
        count = await self._store.reset_usage(named, monthly, since=int(since.timestamp()))
        self._emit(
            event_kinds.RBAC_QUOTA_RESET,
            Severity.NOTICE,
            manufacturer_id=named,
            counters=count,
        )
        return count

    async def overage_attempts(self, manufacturer: TenantRef, hours: float) -> list[OverageAttempt]:
        """Refusals in the last hours, newest first."""
        _, manufacturer_id = await self._entitlements.readable(manufacturer)
        return await self._store.overage_attempts(manufacturer_id, since=self._clock.now() - timedelta(hours=hours))

    def _resource(self, resource: ResourceRef) -> str:
        name = plain(resource)
        if name not in self._entitlements.compiled.resources:
            known = ", ".join(sorted(self._entitlements.compiled.resources))
            raise UnknownResourceError(f"Unknown resource {name!r}. The policy has {known}.")
        return name

    def _order(
        self, manufacturer_id: str, entitled: Entitlements, tier: str, resource: str, amount: int, now: datetime
    ) -> QuotaOrder:
        """The current limit, tightened by measures in force. A tier without the resource has a limit of 0."""
        limit = self._entitlements.compiled.limits[tier].get(resource, _NO_LIMIT)
        units = limit.limit
        factor = self._controls.limit_factor(resource, manufacturer_id, exact=True)
        if factor < 1.0 and units != UNLIMITED:
            units = int(units * factor)
        window = self._periods.of(limit, now, entitled.billing_day)
        take = UsageTake(resource=resource, amount=amount, limit=units, bucket=window.bucket, since=window.since)
        return QuotaOrder(take=take, resets_at=window.resets_at, tier=tier, factor=factor, entitled=entitled)

    def _warn(self, manufacturer_id: str, take: UsageTake, used: int) -> None:
        """Emit an event if a take crosses one of the warning thresholds of the policy."""
        if take.limit <= 0:
            return
        before = used - take.amount
        for share in self._entitlements.compiled.policy.quotas.warn_at:
            if before < share * take.limit <= used:
                self._emit(
                    event_kinds.RBAC_QUOTA_NEARLY_USED,
                    Severity.NOTICE,
                    manufacturer_id=manufacturer_id,
                    resource=take.resource,
                    share=share,
                    current=used,
                    limit=take.limit,
                )

    def _emit_refusal(
        self, manufacturer: TenantRef, orders: list[QuotaOrder], outcome: TakeOutcome, operation_context: str
    ) -> None:
        for order, used in zip(orders, outcome.used, strict=True):
            if order.take.resource == outcome.refused:
                self._emit(
                    event_kinds.RBAC_QUOTA_EXCEEDED,
                    Severity.NOTICE,
                    manufacturer_id=manufacturer_id_of(manufacturer),
                    account_id=getattr(manufacturer, "account_id", None),
                    ip_address=getattr(manufacturer, "ip_address", None),
                    resource=order.take.resource,
                    amount=order.take.amount,
                    current=used,
                    limit=order.take.limit,
                    operation_context=operation_context[:200],
                )


def amount_of(value: Any) -> int:
    """Check an amount: a non-negative integer. Raises ValidationError otherwise, also for booleans and floats."""
    if type(value) is not int or not 0 <= value <= MAX_AMOUNT:
        raise ValidationError(
            f"amount must be a whole number from 0 to {MAX_AMOUNT:,}, not {type(value).__name__} {str(value)[:40]}.",
            code="INVALID_AMOUNT",
        )
    return value


def _result(order: QuotaOrder, used: int, *, allowed: bool, leased: int = 0) -> UsageResult:
    limit = order.take.limit
    return UsageResult(
        allowed=allowed,
        remaining=UNLIMITED if limit == UNLIMITED else max(0, limit - used + leased),
        limit=limit,
        current=used,
        resource=order.take.resource,
        tier=order.tier,
        resets_at=order.resets_at,
        reason=None if allowed else "quota_exceeded",
        leased=leased,
    )
