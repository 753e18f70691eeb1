"""Quotas: atomic takes, refunds and cycles. The store counts; here limits, windows and warnings are decided."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from gatewright.clock import Clock
from gatewright.controls import Controls
from gatewright.errors import QuotaExceededError, UnknownResourceError, ValidationError
from gatewright.events import EventSink, Severity, event
from gatewright.policy import UNLIMITED, Limit
from gatewright.rbac.cycles import Window, month_start, next_month_start, window_of
from gatewright.rbac.names import plain
from gatewright.rbac.records import UsagePeriod, UsageResult
from gatewright.rbac.standing import Standing, Standings, id_of
from gatewright.storage.protocol import Store
from gatewright.storage.usage import OverageAttempt, UsageTake

MOST = 10**12
"""Units of one take at the most: far over any limit, far under what a counter holds."""


class Quotas:
    """Counts what manufacturers use against what their tier allows."""

    def __init__(self, store: Store, standings: Standings, sink: EventSink, clock: Clock, controls: Controls) -> None:
        self._store = store
        self._standings = standings
        self._sink = sink
        self._clock = clock
        self._controls = controls

    async def check(self, manufacturer: Any, resource: Any, increment: int = 0) -> UsageResult:
        """Take ``increment`` units, all or none; 0 tells whether one more would be allowed.

        Raises:
            UnknownResourceError, ValidationError: the resource or the amount is none.
        """
        amount = amount_of(increment)
        if amount:
            return (await self.take(manufacturer, {resource: amount}))[0]
        name = self._resource(resource)
        manufacturer_id = id_of(manufacturer)
        standing = await self._standings.of(manufacturer)
        limit, window = self._limit(manufacturer_id, standing, name)
        used = (await self._store.read_usage(manufacturer_id, (_take(name, 0, limit, window),)))[0]
        return _result(name, standing, limit, window, used, allowed=limit.limit == UNLIMITED or used < limit.limit)

    async def take(self, manufacturer: Any, amounts: Mapping[Any, int]) -> list[UsageResult]:
        """Take several resources, all of them or none."""
        manufacturer_id = id_of(manufacturer)
        standing = await self._standings.of(manufacturer)
        wanted = [(self._resource(resource), amount_of(amount)) for resource, amount in amounts.items()]
        bounds = [self._limit(manufacturer_id, standing, name) for name, _ in wanted]
        takes = tuple(
            _take(name, amount, limit, window) for (name, amount), (limit, window) in zip(wanted, bounds, strict=True)
        )
        outcome = await self._store.take_usage(manufacturer_id, takes, self._clock.now())
        results = []
        for take, (limit, window), used in zip(takes, bounds, outcome.used, strict=True):
            refused = not outcome.granted and take.resource == outcome.refused
            results.append(_result(take.resource, standing, limit, window, used, allowed=not refused))
            if outcome.granted:
                self._warn(manufacturer_id, take, used)
        if not outcome.granted:
            self._refused(manufacturer, takes, outcome.used, outcome.refused)
        return results

    async def enforce(
        self, manufacturer: Any, resource: Any, increment: int = 1, operation_context: str = ""
    ) -> UsageResult:
        """As :meth:`check`; raises QuotaExceededError where it is refused."""
        result = await self.check(manufacturer, resource, increment)
        if result.allowed:
            return result
        seconds = (result.resets_at - self._clock.now()).total_seconds()
        raise QuotaExceededError(
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
        name, manufacturer_id = self._resource(resource), id_of(manufacturer)
        standing = await self._standings.of(manufacturer)
        limit, window = self._limit(manufacturer_id, standing, name)
        counted = _take(name, amount_of(amount), Limit(limit=UNLIMITED, window=limit.window, hours=limit.hours), window)
        return (await self._store.take_usage(manufacturer_id, (counted,), self._clock.now())).used[0]

    async def refund(self, manufacturer: Any, resource: Any, amount: int) -> int:
        """Give units back; what is used now."""
        name, manufacturer_id = self._resource(resource), id_of(manufacturer)
        standing = await self._standings.of(manufacturer)
        limit, window = self._limit(manufacturer_id, standing, name)
        back = _take(name, amount_of(amount), limit, window)
        return await self._store.refund_usage(manufacturer_id, back, self._clock.now())

    async def overview(self, manufacturer: Any) -> list[UsageResult]:
        """Every resource of the policy, as :meth:`check` with 0 tells it."""
        manufacturer_id = id_of(manufacturer)
        standing = await self._standings.of(manufacturer)
        names = sorted(self._standings.compiled.limits[standing.tier])
        bounds = [self._limit(manufacturer_id, standing, name) for name in names]
        takes = tuple(_take(name, 0, limit, window) for name, (limit, window) in zip(names, bounds, strict=True))
        used = await self._store.read_usage(manufacturer_id, takes)
        return [
            _result(name, standing, limit, window, now, allowed=limit.limit == UNLIMITED or now < limit.limit)
            for name, (limit, window), now in zip(names, bounds, used, strict=True)
        ]

    async def history(self, manufacturer: Any) -> list[UsagePeriod]:
        """What was used in each billing month, oldest first; days and hours are added up to months."""
        manufacturer_id = id_of(manufacturer)
        billing_day = (await self._standings.of(manufacturer)).billing_day
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
        oldest = self._clock.now() - timedelta(days=31)
        named = None if manufacturer_id is None else id_of(manufacturer_id)
        count = await self._store.reset_usage(named, since=int(oldest.timestamp()))
        self._sink.emit(
            event(
                "rbac:quota:reset",
                severity=Severity.NOTICE,
                timestamp=self._clock.now(),
                manufacturer_id=named,
                counters=count,
            )
        )
        return count

    async def overage_attempts(self, manufacturer_id: str, hours: float) -> list[OverageAttempt]:
        """Refusals of the last hours, newest first."""
        return await self._store.overage_attempts(
            id_of(manufacturer_id), since=self._clock.now() - timedelta(hours=hours)
        )

    def _resource(self, resource: Any) -> str:
        name = plain(resource)
        if name not in self._standings.compiled.resources:
            known = ", ".join(sorted(self._standings.compiled.resources))
            raise UnknownResourceError(f"No resource is called {name!r}; the policy has {known}.")
        return name

    def _limit(self, manufacturer_id: str, standing: Standing, resource: str) -> tuple[Limit, Window]:
        """The limit now, tightened where a measure says so. A tier without the resource has none of it."""
        limit = self._standings.compiled.limits[standing.tier].get(resource, Limit(limit=0))
        factor = self._controls.limit_factor(resource, manufacturer_id)
        if factor < 1.0 and limit.limit != UNLIMITED:
            limit = Limit(limit=int(limit.limit * factor), window=limit.window, hours=limit.hours)
        return limit, window_of(limit, self._clock.now(), standing.billing_day)

    def _warn(self, manufacturer_id: str, take: UsageTake, used: int) -> None:
        """An event when a take crosses a share that the policy warns at."""
        if take.limit <= 0:
            return
        before = used - take.amount
        for share in self._standings.compiled.policy.quotas.warn_at:
            if before < share * take.limit <= used:
                self._sink.emit(
                    event(
                        "rbac:quota:nearly_used",
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
        self, manufacturer: Any, takes: tuple[UsageTake, ...], used: tuple[int, ...], resource: str | None
    ) -> None:
        take, now = next((t, u) for t, u in zip(takes, used, strict=True) if t.resource == resource)
        self._sink.emit(
            event(
                "rbac:quota:exceeded",
                severity=Severity.NOTICE,
                timestamp=self._clock.now(),
                manufacturer_id=id_of(manufacturer),
                account_id=getattr(manufacturer, "account_id", None),
                ip_address=getattr(manufacturer, "ip_address", None),
                resource=take.resource,
                amount=take.amount,
                current=now,
                limit=take.limit,
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


def _take(resource: str, amount: int, limit: Limit, window: Window) -> UsageTake:
    return UsageTake(resource=resource, amount=amount, limit=limit.limit, bucket=window.bucket, since=window.since)


def _result(
    resource: str, standing: Standing, limit: Limit, window: Window, used: int, *, allowed: bool
) -> UsageResult:
    unlimited = limit.limit == UNLIMITED
    return UsageResult(
        allowed=allowed,
        remaining=UNLIMITED if unlimited else max(0, limit.limit - used),
        limit=limit.limit,
        current=used,
        resource=resource,
        tier=standing.tier,
        resets_at=window.resets_at,
        reason=None if allowed else "quota_exceeded",
    )
