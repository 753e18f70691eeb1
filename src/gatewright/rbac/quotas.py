"""Quotas: atomic takes, refunds and cycles. The store counts; here limits, windows and warnings are decided."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from gatewright import event_kinds
from gatewright.clock import Clock, to_utc
from gatewright.controls import Controls
from gatewright.errors import QuotaExceededError, UnknownResourceError, ValidationError
from gatewright.events import EventSink, Severity, event
from gatewright.policy import UNLIMITED, Limit
from gatewright.rbac.billing_periods import Windows, month_start, next_month_start
from gatewright.rbac.entitlements import EntitlementCache, Entitlements, id_of
from gatewright.rbac.leases import Bound, Leases
from gatewright.rbac.records import UsagePeriod, UsageResult, plain
from gatewright.storage.protocol import Store
from gatewright.storage.usage import OverageAttempt, TakeOutcome, UsageTake

MOST = 10**12
"""Units of one take at the most: far over any limit, far under what a counter holds."""
_NONE = Limit(limit=0)


class Quotas:
    """Counts what manufacturers use against what their tier allows."""

    def __init__(
        self,
        store: Store,
        standings: EntitlementCache,
        sink: EventSink,
        clock: Clock,
        controls: Controls,
    ) -> None:
        self._store = store
        self._standings = standings
        self._sink = sink
        self._clock = clock
        self._controls = controls
        self._windows = Windows()
        self.leases = Leases(store, standings, controls, clock, self._warn)

    async def check(
        self, manufacturer: Any, resource: Any, increment: int = 0, operation_context: str = ""
    ) -> UsageResult:
        """Take ``increment`` units, all or none; 0 tells whether one more would be allowed.

        Raises:
            UnknownResourceError, ValidationError: the resource or the amount is none.
        """
        if type(increment) is int and 0 < increment <= MOST:
            quick = self.leases.quick(manufacturer, resource, increment)
            if quick is not None:
                return quick
            return (await self._take_all(manufacturer, {resource: increment}, operation_context))[0]
        name = self._resource(resource)
        amount_of(increment)
        standing, tier = await self._standings.admitted(manufacturer)
        return (await self._look(id_of(manufacturer), standing, tier, [name]))[0]

    async def take(
        self, manufacturer: Any, amounts: Mapping[Any, int], operation_context: str = ""
    ) -> list[UsageResult]:
        """Take several resources, all of them or none."""
        if len(amounts) == 1:
            resource, amount = next(iter(amounts.items()))
            if type(amount) is int and 0 < amount <= MOST:
                quick = self.leases.quick(manufacturer, resource, amount)
                if quick is not None:
                    return [quick]
        return await self._take_all(manufacturer, amounts, operation_context)

    async def _take_all(
        self, manufacturer: Any, amounts: Mapping[Any, int], operation_context: str
    ) -> list[UsageResult]:
        manufacturer_id = id_of(manufacturer)
        wanted: dict[str, int] = {}
        for resource, amount in amounts.items():
            name = self._resource(resource)
            wanted[name] = amount_of(wanted.get(name, 0) + amount_of(amount))
        standing, tier = await self._standings.admitted(manufacturer)
        now = self._clock.now()
        bounds = [self._bound(manufacturer_id, standing, tier, name, wanted[name], now) for name in wanted]
        takes = tuple(bound.take for bound in bounds)
        outcome, leased = await self._decide(manufacturer, manufacturer_id, bounds, now, operation_context)
        if not outcome.granted:
            self._refused(manufacturer, takes, outcome.used, outcome.refused, operation_context)
        results = []
        for bound, used in zip(bounds, outcome.used, strict=True):
            allowed = outcome.granted or bound.take.resource != outcome.refused
            results.append(_result(bound, used, allowed=allowed, leased=leased or 0))
            if outcome.granted and leased is None:
                self._warn(manufacturer_id, bound.take, used)
        return results

    async def _decide(
        self, manufacturer: Any, manufacturer_id: str, bounds: list[Bound], now: datetime, operation_context: str
    ) -> tuple[TakeOutcome, int | None]:
        """The outcome, and how much of a leased resource this process holds (None: the store decided alone)."""
        leases = self._standings.compiled.policy.quotas.leases
        takes = tuple(bound.take for bound in bounds)
        if len(takes) == 1 and takes[0].limit > 0 and takes[0].amount and takes[0].resource in leases:
            lease = leases[takes[0].resource]
            return await self.leases.take(manufacturer, manufacturer_id, bounds[0], lease, now, operation_context)
        for take in takes:
            if take.resource in leases and take.limit > 0:  # what is in some hand must not be missing here
                await self.leases.make_room(manufacturer_id, take)
        return await self._store.take_usage(manufacturer_id, takes, now, operation_context=operation_context), None

    async def enforce(
        self, manufacturer: Any, resource: Any, increment: int = 1, operation_context: str = ""
    ) -> UsageResult:
        """As :meth:`check`; raises QuotaExceededError where it is refused."""
        result = await self.check(manufacturer, resource, increment, operation_context)
        if not result.allowed:
            raise self._exceeded(manufacturer, result, operation_context)
        return result

    async def enforce_all(
        self, manufacturer: Any, amounts: Mapping[Any, int], operation_context: str = ""
    ) -> list[UsageResult]:
        """As :meth:`take`; raises QuotaExceededError for the resource that is refused, and takes none."""
        results = await self.take(manufacturer, amounts, operation_context)
        for result in results:
            if not result.allowed:
                raise self._exceeded(manufacturer, result, operation_context)
        return results

    def _exceeded(self, manufacturer: Any, result: UsageResult, operation_context: str) -> QuotaExceededError:
        seconds = (result.resets_at - self._clock.now()).total_seconds()
        return QuotaExceededError(
            f"The quota of {result.limit} {result.resource} is used up; it begins anew at "
            f"{result.resets_at:%Y-%m-%dT%H:%M:%SZ}.",
            context={
                "manufacturer_id": id_of(manufacturer),
                "resource": result.resource,
                "current": result.current,
                "limit": result.limit,
                "resets_at": result.resets_at,
                "operation_context": operation_context,
                "tier": result.tier,
                "retry_after": max(0.0, seconds),
            },
        )

    async def add(self, manufacturer: Any, resource: Any, amount: int) -> int:
        """Count units that were used already, over the limit too; what is used now."""
        name, manufacturer_id, units = self._resource(resource), id_of(manufacturer), amount_of(amount)
        standing, tier = await self._standings.admitted(manufacturer)
        now = self._clock.now()
        bound = self._bound(manufacturer_id, standing, tier, name, units, now)
        counted = msgspec.structs.replace(bound.take, limit=UNLIMITED)
        used = (await self._store.take_usage(manufacturer_id, (counted,), now)).used[0]
        self._warn(manufacturer_id, bound.take, used)
        return used

    async def refund(self, manufacturer: Any, resource: Any, amount: int, taken_at: datetime | None) -> int:
        """Give units back to the cycle in which they were taken; what is used of that cycle now."""
        name, manufacturer_id, units = self._resource(resource), id_of(manufacturer), amount_of(amount)
        now = self._clock.now()
        taken = now if taken_at is None else to_utc(taken_at)
        if taken is None or (taken_at is not None and (taken_at.tzinfo is None or taken_at > now)):
            raise ValidationError("`taken_at` must be a past time with its time zone.", code="INVALID_TIME")
        standing, tier = await self._standings.admitted(manufacturer)
        back = self._bound(manufacturer_id, standing, tier, name, units, taken)
        return await self._store.refund_usage(manufacturer_id, back.take, now)

    async def overview(self, manufacturer: Any) -> list[UsageResult]:
        """Every resource of the tier, as :meth:`check` with 0 tells it."""
        standing, tier = await self._standings.admitted(manufacturer)
        return await self._look(id_of(manufacturer), standing, tier, sorted(self._standings.compiled.limits[tier]))

    async def current(self, manufacturer: Any, resource: Any) -> int:
        """What is used of a resource now, whoever asks."""
        name = self._resource(resource)
        standing, manufacturer_id = await self._standings.reader(manufacturer)
        tier = standing.tier or self._standings.compiled.tier(getattr(manufacturer, "tier", ""))
        return (await self._look(manufacturer_id, standing, tier, [name]))[0].current

    async def _look(
        self, manufacturer_id: str, standing: Entitlements, tier: str, names: list[str]
    ) -> list[UsageResult]:
        now = self._clock.now()
        bounds = [self._bound(manufacturer_id, standing, tier, name, 0, now) for name in names]
        used = await self._store.read_usage(manufacturer_id, tuple(bound.take for bound in bounds))
        results = []
        for bound, count in zip(bounds, used, strict=True):
            take = bound.take
            leased = 0
            if take.resource in self._standings.compiled.policy.quotas.leases:
                leased = await self.leases.unspent(manufacturer_id, take)
            allowed = take.limit == UNLIMITED or count - leased < take.limit
            results.append(_result(bound, count, allowed=allowed, leased=leased))
        return results

    async def history(self, manufacturer: Any) -> list[UsagePeriod]:
        """What was used in each billing month, oldest first; days and hours are added up to months."""
        standing, manufacturer_id = await self._standings.reader(manufacturer)
        billing_day = standing.billing_day
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
        """Begin the present cycle anew; how many counters were not zero. What was used stays in the history."""
        named = None if manufacturer_id is None else id_of(manufacturer_id)
        now = self._clock.now()
        await self.leases.give_back_all(named)
        # No cycle is longer than 31 days. In what older cycles share these days nothing changes: their use is
        # only history, which keeps what was reset.
        since = now - timedelta(days=31)
        if named is not None:
            since = month_start(now, (await self._standings.of(named)).billing_day)
        monthly = {
            resource
            for limits in self._standings.compiled.limits.values()
            for resource, limit in limits.items()
            if limit.window == "month"
        }
        count = await self._store.reset_usage(named, monthly, since=int(since.timestamp()))
        self._sink.emit(
            event(
                event_kinds.RBAC_QUOTA_RESET,
                severity=Severity.NOTICE,
                timestamp=self._clock.now(),
                manufacturer_id=named,
                counters=count,
            )
        )
        return count

    async def overage_attempts(self, manufacturer: Any, hours: float) -> list[OverageAttempt]:
        """Refusals of the last hours, newest first."""
        _, manufacturer_id = await self._standings.reader(manufacturer)
        return await self._store.overage_attempts(manufacturer_id, since=self._clock.now() - timedelta(hours=hours))

    def _resource(self, resource: Any) -> str:
        name = plain(resource)
        if name not in self._standings.compiled.resources:
            known = ", ".join(sorted(self._standings.compiled.resources))
            raise UnknownResourceError(f"No resource is called {name!r}; the policy has {known}.")
        return name

    def _bound(
        self, manufacturer_id: str, standing: Entitlements, tier: str, resource: str, amount: int, now: datetime
    ) -> Bound:
        """The limit now, tightened where a measure says so. A tier without the resource has none of it."""
        limit = self._standings.compiled.limits[tier].get(resource, _NONE)
        units = limit.limit
        factor = self._controls.limit_factor(resource, manufacturer_id, exact=True)
        if factor < 1.0 and units != UNLIMITED:
            units = int(units * factor)
        window = self._windows.of(limit, now, standing.billing_day)
        take = UsageTake(resource=resource, amount=amount, limit=units, bucket=window.bucket, since=window.since)
        return Bound(take=take, resets_at=window.resets_at, tier=tier, factor=factor, standing=standing)

    def _warn(self, manufacturer_id: str, take: UsageTake, used: int) -> None:
        """An event when a take crosses a share that the policy warns at."""
        if take.limit <= 0:
            return
        before = used - take.amount
        for share in self._standings.compiled.policy.quotas.warn_at:
            if before < share * take.limit <= used:
                self._sink.emit(
                    event(
                        event_kinds.RBAC_QUOTA_NEARLY_USED,
                        severity=Severity.NOTICE,
                        timestamp=self._clock.now(),
                        manufacturer_id=manufacturer_id,
                        resource=take.resource,
                        share=share,
                        current=used,
                        limit=take.limit,
                    )
                )

    def _refused(
        self,
        manufacturer: Any,
        takes: tuple[UsageTake, ...],
        used: tuple[int, ...],
        resource: str | None,
        operation_context: str,
    ) -> None:
        take, now = next((t, u) for t, u in zip(takes, used, strict=True) if t.resource == resource)
        self._sink.emit(
            event(
                event_kinds.RBAC_QUOTA_EXCEEDED,
                severity=Severity.NOTICE,
                timestamp=self._clock.now(),
                manufacturer_id=id_of(manufacturer),
                account_id=getattr(manufacturer, "account_id", None),
                ip_address=getattr(manufacturer, "ip_address", None),
                resource=take.resource,
                amount=take.amount,
                current=now,
                limit=take.limit,
                operation_context=operation_context[:200],
            )
        )


def amount_of(value: Any) -> int:
    """A non-negative integer. Raises ValidationError for anything else, booleans and floats included."""
    if type(value) is not int or not 0 <= value <= MOST:
        raise ValidationError(
            f"An amount is a whole number from 0 to {MOST:,}; this is {type(value).__name__} {str(value)[:40]}.",
            code="INVALID_AMOUNT",
        )
    return value


def _result(bound: Bound, used: int, *, allowed: bool, leased: int = 0) -> UsageResult:
    limit = bound.take.limit
    return UsageResult(
        allowed=allowed,
        remaining=UNLIMITED if limit == UNLIMITED else max(0, limit - used + leased),
        limit=limit,
        current=used,
        resource=bound.take.resource,
        tier=bound.tier,
        resets_at=bound.resets_at,
        reason=None if allowed else "quota_exceeded",
        leased=leased,
    )
