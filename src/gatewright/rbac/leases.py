"""Quota leases: for resources that the policy allows, a worker spends part of the remaining quota on its own.

The store counts leased units as used before anyone spends them, and leases shrink near the limit, so that the total
never exceeds the limit. Unspent units return to the store when the lease ends, when the tier or policy changes, when
another worker runs out, and when the worker closes. Units held by a killed worker return when its lease ends; what it
granted stays counted.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from gatewright.caching import ALL
from gatewright.clock import Clock
from gatewright.controls import Controls
from gatewright.errors import StorageError
from gatewright.policy import Lease
from gatewright.rbac.entitlements import EntitlementCache, Entitlements
from gatewright.rbac.records import UsageResult
from gatewright.records import Record
from gatewright.references import TenantRef
from gatewright.storage.protocol import Store
from gatewright.storage.usage import LeasedUnits, TakeOutcome, UsageTake

RECALL = "leases"
"""The change topic with which a worker that ran out asks the others to return their units."""
_RECALL_TIMEOUT = 0.4
"""Seconds to wait for the other workers. They learn of a change within 0.25 s."""
_RECALL_INTERVAL = 1.0
_POLL_SECONDS = 0.02
_EXHAUSTED_SECONDS = 0.1
"""After no lease was to be had, only the store is asked for so long."""
_ATTEMPTS = 8
"""Leases tried for one call, as concurrent calls may spend them first."""
_SWEEP_SECONDS = 1.0

DAY = 86_400

_Key = tuple[str, str]

OnLease = Callable[[str, UsageTake, int], None]
"""Called with each lease of a manufacturer, and the usage after it."""


class QuotaOrder(Record, frozen=True, kw_only=True):
    """One resource of one call: the amount, the limit that applies, and the period in which it is counted."""

    take: UsageTake
    resets_at: datetime
    tier: str
    factor: float
    entitled: Entitlements


class LocalLease:
    """Leased units of this process, and the terms on which they may be spent, which are checked on every take.

    Args:
        asked_tier: the tier in the caller's context, which applies if no tier is stored.
        used: usage of the resource as last seen by this process, including the lease.
        ends: when the lease or its bucket ends, in seconds since the epoch.
    """

    __slots__ = ("asked_tier", "ends", "order", "units", "used")

    def __init__(self, units: LeasedUnits, order: QuotaOrder, asked_tier: Any, used: int, ends: float) -> None:
        self.units = units
        self.order = order
        self.asked_tier = asked_tier
        self.used = used
        self.ends = ends

    def covers(self, take: UsageTake, now: float) -> bool:
        """Whether a take can be spent from this lease now: same limit, same period."""
        own = self.units.take
        same = own.limit == take.limit and own.since == take.since and own.bucket == take.bucket
        return same and now < self.ends


class Leases:
    """The leases of this process.

    Args:
        store: grants leases and counts their units as used.
        on_lease: called with each lease and the usage after it, to emit warnings.
    """

    def __init__(
        self, store: Store, entitlements: EntitlementCache, controls: Controls, clock: Clock, on_lease: OnLease
    ) -> None:
        self._store = store
        self._entitlements = entitlements
        self._controls = controls
        self._clock = clock
        self._on_lease = on_lease
        self._local: dict[_Key, LocalLease] = {}
        self._filling: dict[_Key, asyncio.Task[bool]] = {}
        self._exhausted_until: dict[_Key, float] = {}
        self._recalled_until: dict[_Key, float] = {}
        self._returning: dict[int, LeasedUnits] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stops = [store.changes.subscribe(topic, self.recall) for topic in ("manufacturer", RECALL)]

    def try_spend_local(self, manufacturer: TenantRef, resource: Any, amount: int) -> UsageResult | None:
        """Spend leased units from memory alone, or return None if that is not possible. This is the hot path."""
        is_id = type(manufacturer) is str
        try:
            lease = self._local[manufacturer if is_id else manufacturer.manufacturer_id, resource]  # type: ignore[union-attr,index]
        except (AttributeError, KeyError, TypeError):
            return None
        order, now = lease.order, self._clock.timestamp()
        entitled, take = order.entitled, order.take
        owner = lease.units.manufacturer_id
        if now >= lease.ends or now < take.bucket or self._entitlements.cached.get(owner) is not entitled:
            return None
        if entitled.until is not None and entitled.until <= now:
            return None
        if entitled.tier is None and lease.asked_tier != ("" if is_id else getattr(manufacturer, "tier", "")):
            return None
        if self._entitlements.strict and (account := getattr(manufacturer, "account_id", None)) is not None:
            members = entitled.members
            if members is None or not members.get(account):
                return None
        if self._controls.limit_factor(take.resource, owner, exact=True) != order.factor:
            return None
        if not lease.units.spend(amount):
            return None
        left = lease.units.left
        return UsageResult(
            allowed=True,
            remaining=max(0, take.limit - lease.used + left),
            limit=take.limit,
            current=lease.used,
            resource=take.resource,
            tier=order.tier,
            resets_at=order.resets_at,
            leased=left,
        )

    async def take(
        self,
        manufacturer: TenantRef,
        owner: str,
        order: QuotaOrder,
        terms: Lease,
        now: datetime,
        operation_context: str,
    ) -> tuple[TakeOutcome, int | None]:
        """The outcome, and the units that remain leased (None: the store decided alone).

        Leased units count as used in the outcome, as last seen by this process.
        """
        take = order.take
        key = (owner, take.resource)
        asked_tier = getattr(manufacturer, "tier", "")
        for _ in range(_ATTEMPTS):
            filling = self._filling.get(key)
            if filling is None:
                lease = self._local.get(key)
                if lease is not None and lease.covers(take, now.timestamp()):
                    lease.order, lease.asked_tier = order, asked_tier
                    if lease.units.spend(take.amount):
                        return TakeOutcome(granted=True, used=(lease.used,)), lease.units.left
                if take.amount > terms.slice or self._clock.monotonic() < self._exhausted_until.get(key, 0.0):
                    break
                filling = asyncio.get_running_loop().create_task(self._fill(key, order, asked_tier, terms, now))
                filling.add_done_callback(lambda done: done.cancelled() or done.exception())
                self._filling[key] = filling
            if not await asyncio.shield(filling):
                break
        # Not enough, even with the local units: return them, and let the store decide and record the refusal.
        if take.amount > terms.slice:
            await self.make_room(owner, take)
        else:
            await self.give_back(owner, take.resource)
        return await self._store.take_usage(owner, (take,), now, operation_context=operation_context), None

    async def unspent(self, manufacturer_id: str, take: UsageTake) -> int:
        """Units that workers hold: counted as used, but not spent yet."""
        return await self._store.unspent_usage(manufacturer_id, take)

    async def give_back(self, manufacturer_id: str, resource: str) -> None:
        """Return the local units of one resource to the store."""
        key = (manufacturer_id, resource)
        if (filling := self._filling.get(key)) is not None:
            await asyncio.wait([filling])
        self._release(key)
        if self._returning:
            await self._return_all()

    async def make_room(self, manufacturer_id: str, take: UsageTake) -> None:
        """Return the local units and, if that is not enough, ask other workers for theirs."""
        await self.give_back(manufacturer_id, take.resource)
        used = (await self._store.read_usage(manufacturer_id, (take,)))[0]
        missing = take.amount - (take.limit - used)
        if 0 < missing <= await self._store.unspent_usage(manufacturer_id, take):
            await self._recall_from_others((manufacturer_id, take.resource), take)

    async def give_back_all(self, manufacturer_id: str | None) -> None:
        """Return the local units of one manufacturer, or of all."""
        for owner, resource in tuple(self._local):
            if manufacturer_id in (None, owner):
                await self.give_back(owner, resource)

    def recall(self, manufacturer_id: str = ALL) -> None:
        """Stop spending the local units of one manufacturer (or of all) now, and return them soon."""
        keys = [key for key in self._local if manufacturer_id in (ALL, key[0])]
        for key in keys:
            self._release(key)
        if keys:
            task = asyncio.get_running_loop().create_task(self._return_later())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def sweep(self) -> None:
        """Return units of leases that have ended, and reclaim those of killed workers."""
        now = self._clock.now()
        for key, lease in tuple(self._local.items()):
            if lease.ends <= now.timestamp():
                self._release(key)
        await self._return_all()
        await self._store.reclaim_leases(now)
        past = self._clock.monotonic()
        self._exhausted_until = {key: until for key, until in self._exhausted_until.items() if until > past}

    async def close(self) -> None:
        """Return everything. If the store is unavailable, units return when their leases end."""
        for stop in self._stops:
            stop()
        self._stops = []
        if self._filling:
            await asyncio.wait(self._filling.values())
        for key in tuple(self._local):
            self._release(key)
        await self._return_later()

    def _release(self, key: _Key) -> None:
        lease = self._local.pop(key, None)
        if lease is not None:
            lease.units.freeze()
            self._returning[lease.units.lease_id] = lease.units

    async def _return_later(self) -> None:
        with contextlib.suppress(StorageError):  # the store is unavailable: the next sweep tries again
            await self._return_all()

    async def _return_all(self) -> None:
        for lease_id, units in tuple(self._returning.items()):
            await self._store.end_lease(units)
            self._returning.pop(lease_id, None)

    async def _fill(self, key: _Key, order: QuotaOrder, asked_tier: Any, terms: Lease, now: datetime) -> bool:
        """Exchange the local lease for a new one. Returns False if there is not enough."""
        take, until = order.take, now + timedelta(seconds=terms.seconds)
        former = self._local.get(key)
        self._release(key)
        try:
            leased = await self._store.lease_usage(
                key[0], take, terms.slice, at=now, until=until, former=None if former is None else former.units
            )
            if former is not None:
                self._returning.pop(former.units.lease_id, None)
            if leased.units is not None:
                midnight = (take.bucket // DAY + 1) * DAY
                ends = min(until.timestamp(), order.resets_at.timestamp(), midnight)
                self._local[key] = LocalLease(leased.units, order, asked_tier, leased.used, ends)
                self._on_lease(key[0], leased.units.take, leased.used)
                return True
            if take.limit - leased.used < take.amount <= take.limit - leased.used + leased.elsewhere:
                await self._recall_from_others(key, take)
            self._exhausted_until[key] = self._clock.monotonic() + _EXHAUSTED_SECONDS
            return False
        finally:
            self._filling.pop(key, None)

    async def _recall_from_others(self, key: _Key, take: UsageTake) -> None:
        """Ask other workers for their units, and wait until there are enough or none are held anymore."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        if started < self._recalled_until.get(key, started):
            return
        self._recalled_until = {key: until for key, until in self._recalled_until.items() if until > started}
        self._recalled_until[key] = started + _RECALL_INTERVAL
        await self._store.announce(RECALL, key[0])
        while loop.time() < started + _RECALL_TIMEOUT:
            await asyncio.sleep(_POLL_SECONDS)
            used = (await self._store.read_usage(key[0], (take,)))[0]
            if take.limit - used >= take.amount or not await self._store.unspent_usage(key[0], take):
                return


async def sweep_periodically(leases: Leases, entitlements: EntitlementCache) -> None:
    """Sweep until canceled, at an interval that depends on the policy in force."""
    while True:
        shortest = min((lease.seconds for lease in entitlements.compiled.policy.quotas.leases.values()), default=30.0)
        await asyncio.sleep(min(_SWEEP_SECONDS, shortest / 2))
        with contextlib.suppress(StorageError):  # the store is unavailable: try again at the next sweep
            await leases.sweep()
