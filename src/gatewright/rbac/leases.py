"""Leases: for resources that the policy opens to them, workers spend slices of the remainder from a shared pool.

A slice is counted as used by the store before anybody spends it, and shrinks near the limit, so the sum never
passes the limit. What is not spent goes back to the store when the pool is idle, when the limit changes and when
a worker closes; a worker that dies takes nothing with it, since the pool is not in it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

import msgspec

from gatewright.clock import Clock
from gatewright.errors import StorageError
from gatewright.policy import Lease
from gatewright.storage.protocol import Store
from gatewright.storage.usage import TakeOutcome, UsageTake

_ATTEMPTS = 8
"""Times that a pool is filled again for one take that others empty under its hands."""

_SMALLEST = 32
"""Units of a slice at the least, while there are as many: near the limit every slice is a write of the store."""
_DRY_SECONDS = 0.1
"""After a pool could not be filled, the store alone is asked for so long."""


class Pools(Protocol):
    """Where slices are spent; see :class:`gatewright.storage.cache.pools.QuotaPools`."""

    def take(self, manufacturer_id: str, field: str, amount: int) -> asyncio.Future[tuple[bool, int] | None]: ...

    async def fill(self, manufacturer_id: str, field: str, amount: int) -> bool: ...

    async def drain(self, manufacturer_id: str, field: str) -> int: ...


class _Pool:
    """What this worker knows of a pool it has touched."""

    __slots__ = ("dry_until", "field", "filling", "take", "touched", "used")

    def __init__(self, field: str, take: UsageTake) -> None:
        self.field = field
        self.take = take
        self.filling = asyncio.Lock()
        self.touched = 0.0
        self.dry_until = 0.0
        self.used = 0


class Leases:
    """Takes of leased resources.

    Args:
        store: counts slices as used.
        pools: shared by all workers.
        on_fill: told of each slice and of what is used then, to warn.
    """

    def __init__(
        self, store: Store, pools: Pools, clock: Clock, on_fill: Callable[[str, UsageTake, int], None]
    ) -> None:
        self._on_fill = on_fill
        self._store = store
        self._pools = pools
        self._clock = clock
        self._known: dict[tuple[str, str], _Pool] = {}

    async def take(
        self, manufacturer_id: str, take: UsageTake, lease: Lease, now: datetime, operation_context: str
    ) -> tuple[TakeOutcome, int] | None:
        """The outcome and what is leased but not spent; None where the store must decide alone.

        What is leased counts as used in the outcome, as this worker last saw it.
        """
        pool = await self._pool(manufacturer_id, take)
        for _ in range(_ATTEMPTS):
            answer = await self._pools.take(manufacturer_id, pool.field, take.amount)
            if answer is None:
                return None
            granted, left = answer
            if granted:
                return TakeOutcome(granted=True, used=(pool.used,)), left
            if self._clock.monotonic() < pool.dry_until:
                break
            async with pool.filling:
                if self._clock.monotonic() < pool.dry_until:
                    break
                answer = await self._pools.take(manufacturer_id, pool.field, take.amount)
                if answer is None:
                    return None
                if answer[0]:
                    return TakeOutcome(granted=True, used=(pool.used,)), answer[1]
                if not await self._fill(manufacturer_id, pool, take, lease, answer[1], now):
                    await self.give_back(manufacturer_id, take.resource, now)
                    pool.dry_until = self._clock.monotonic() + _DRY_SECONDS
                    break
        # Not enough, with what was in the pool: the store says so, and remembers that it was asked.
        outcome = await self._store.take_usage(manufacturer_id, (take,), now, operation_context=operation_context)
        return outcome, 0

    async def unspent(self, manufacturer_id: str, take: UsageTake) -> int:
        """What lies in the pool, counted as used by the store though nobody used it yet."""
        answer = await self._pools.take(manufacturer_id, _field(take), 0)
        return 0 if answer is None else answer[1]

    async def give_back(self, manufacturer_id: str, resource: str, now: datetime) -> None:
        """Return what is left in a pool to the store."""
        pool = self._known.get((manufacturer_id, resource))
        if pool is not None and (left := await self._pools.drain(manufacturer_id, pool.field)):
            await self._store.refund_usage(manufacturer_id, msgspec.structs.replace(pool.take, amount=left), now)

    async def sweep(self, seconds: float = 0.0) -> None:
        """Return what is left in pools that this worker has not touched for so long."""
        oldest = self._clock.monotonic() - seconds
        for (manufacturer_id, resource), pool in tuple(self._known.items()):
            if pool.touched <= oldest:
                await self.give_back(manufacturer_id, resource, self._clock.now())
                self._known.pop((manufacturer_id, resource), None)

    async def _pool(self, manufacturer_id: str, take: UsageTake) -> _Pool:
        """The pool of a take. Another limit or window is another pool: the former one is given back first."""
        field = _field(take)
        pool = self._known.get((manufacturer_id, take.resource))
        if pool is None or pool.field != field:
            if pool is not None:
                await self.give_back(manufacturer_id, take.resource, self._clock.now())
            pool = self._known[manufacturer_id, take.resource] = _Pool(field, take)
            pool.used = (await self._store.read_usage(manufacturer_id, (take,)))[0]
        pool.touched = self._clock.monotonic()
        pool.take = take
        return pool

    async def _fill(
        self, manufacturer_id: str, pool: _Pool, take: UsageTake, lease: Lease, left: int, now: datetime
    ) -> bool:
        """Lease a slice from the store and put it into the pool; False where there is not enough."""
        used = (await self._store.read_usage(manufacturer_id, (take,)))[0]
        remaining, missing = take.limit - used, take.amount - left
        if remaining < missing:
            return False
        amount = max(missing, min(lease.slice, max(remaining // 4, min(remaining, _SMALLEST))))
        slice_ = msgspec.structs.replace(take, amount=amount)
        # Unlike a caller's take, a slice that is not to be had is no overage attempt: ask for what was there.
        outcome = await self._store.take_usage(manufacturer_id, (slice_,), now, operation_context="lease")
        pool.used = outcome.used[0]
        if not outcome.granted:
            return amount > missing  # others were faster; a smaller slice may still do
        self._on_fill(manufacturer_id, slice_, pool.used)
        # Where Redis did not answer it may have taken the units all the same: they stay counted as used.
        return await self._pools.fill(manufacturer_id, pool.field, amount)


def _field(take: UsageTake) -> str:
    return f"{take.resource}:{take.since}:{take.limit}"


async def sweep(leases: Leases, seconds: float) -> None:
    """Give idle pools back, again and again, until cancelled."""
    while True:
        await asyncio.sleep(seconds / 2)
        with contextlib.suppress(StorageError):  # the store is away: at the next look
            await leases.sweep(seconds)
