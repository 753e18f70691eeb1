"""Leases: for resources that the policy opens to them, a worker spends a slice of the remainder by itself.

A slice is counted as used by the store before anybody spends it, and shrinks near the limit, so the sum never
passes the limit. What is not spent goes back to the store when the lease ends, when the tier or the policy
changes, when another worker runs dry and when the worker closes. What a killed worker held comes back when its
lease ends; what it granted stays counted.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import datetime, timedelta
from typing import Any, Protocol

from gatewright.clock import Clock
from gatewright.controls import Controls
from gatewright.errors import StorageError
from gatewright.policy import Lease
from gatewright.rbac.entitlements import EntitlementCache, Entitlements
from gatewright.rbac.records import UsageResult
from gatewright.records import Record
from gatewright.storage.changes import ALL
from gatewright.storage.protocol import Store
from gatewright.storage.usage import LeasedUnits, TakeOutcome, UsageTake

RECALL = "leases"
"""The topic of changes by which a worker that has run dry asks the others for what they hold."""
_RECALL_SECONDS = 0.4
"""How long it waits for them; a change is heard of within 0.25 s."""
_RECALL_EVERY = 1.0
_LOOK_SECONDS = 0.02
_DRY_SECONDS = 0.1
"""After no slice was to be had, the store alone is asked for so long."""
_ATTEMPTS = 8
"""Slices that are taken for one call, where others spend them under its hands."""
_SWEEP_SECONDS = 1.0

DAY = 86_400

_Key = tuple[str, str]


class OnSlice(Protocol):
    """Told of each slice, and of what is used then."""

    def __call__(self, manufacturer_id: str, take: UsageTake, used: int) -> None: ...


class Bound(Record, frozen=True, kw_only=True):
    """One resource of one call: how much of it is wanted, what allows it, and where it counts."""

    take: UsageTake
    resets_at: datetime
    tier: str
    factor: float
    standing: Entitlements


class LocalLease:
    """A slice in this process's hand, and the terms on which it is spent: they are compared on every take.

    Args:
        asked_tier: of the caller's context; it counts where no tier is stored.
        used: of the resource, as this process last saw it, the slice included.
        ends: when the lease or its bucket ends, in epoch seconds.
    """

    __slots__ = ("asked_tier", "bound", "ends", "piece", "used")

    def __init__(self, piece: LeasedUnits, bound: Bound, asked_tier: Any, used: int, ends: float) -> None:
        self.piece = piece
        self.bound = bound
        self.asked_tier = asked_tier
        self.used = used
        self.ends = ends

    def serves(self, take: UsageTake, now: float) -> bool:
        """Whether a take may be spent from it now: of the same limit and the same window."""
        own = self.piece.take
        same = own.limit == take.limit and own.since == take.since and own.bucket == take.bucket
        return same and now < self.ends


class Leases:
    """The slices that this process holds.

    Args:
        store: hands slices out and counts them as used.
        on_slice: told of each slice and of what is used then, to warn.
    """

    def __init__(
        self, store: Store, standings: EntitlementCache, controls: Controls, clock: Clock, on_slice: OnSlice
    ) -> None:
        self._store = store
        self._standings = standings
        self._controls = controls
        self._clock = clock
        self._on_slice = on_slice
        self._hands: dict[_Key, LocalLease] = {}
        self._filling: dict[_Key, asyncio.Task[bool]] = {}
        self._dry_until: dict[_Key, float] = {}
        self._recalled: dict[_Key, float] = {}
        self._returning: dict[int, LeasedUnits] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stops = [store.changes.subscribe(topic, self.recall) for topic in ("manufacturer", RECALL)]

    def quick(self, manufacturer: Any, resource: Any, amount: int) -> UsageResult | None:
        """Spend from the hand, from memory alone; None where that does not suffice. This is the hot path."""
        named = type(manufacturer) is str
        try:
            hand = self._hands[manufacturer if named else manufacturer.manufacturer_id, resource]
        except (AttributeError, KeyError, TypeError):
            return None
        bound, now = hand.bound, self._clock.timestamp()
        standing, take = bound.standing, bound.take
        owner = hand.piece.manufacturer_id
        if now >= hand.ends or now < take.bucket or self._standings.known.get(owner) is not standing:
            return None
        if standing.until is not None and standing.until <= now:
            return None
        if standing.tier is None and hand.asked_tier != ("" if named else getattr(manufacturer, "tier", "")):
            return None
        if self._standings.strict and (account := getattr(manufacturer, "account_id", None)) is not None:
            members = standing.members
            if members is None or not members.get(account):
                return None
        if self._controls.limit_factor(take.resource, owner, exact=True) != bound.factor:
            return None
        if not hand.piece.spend(amount):
            return None
        left = hand.piece.left
        return UsageResult(
            allowed=True,
            remaining=max(0, take.limit - hand.used + left),
            limit=take.limit,
            current=hand.used,
            resource=take.resource,
            tier=bound.tier,
            resets_at=bound.resets_at,
            leased=left,
        )

    async def take(
        self, manufacturer: Any, owner: str, bound: Bound, lease: Lease, now: datetime, operation_context: str
    ) -> tuple[TakeOutcome, int | None]:
        """The outcome, and what this process holds after it (None: the store decided alone).

        What is leased counts as used in the outcome, as this process last saw it.
        """
        take = bound.take
        key = (owner, take.resource)
        asked = getattr(manufacturer, "tier", "")
        for _ in range(_ATTEMPTS):
            filling = self._filling.get(key)
            if filling is None:
                hand = self._hands.get(key)
                if hand is not None and hand.serves(take, now.timestamp()):
                    hand.bound, hand.asked_tier = bound, asked
                    if hand.piece.spend(take.amount):
                        return TakeOutcome(granted=True, used=(hand.used,)), hand.piece.left
                if take.amount > lease.slice or self._clock.monotonic() < self._dry_until.get(key, 0.0):
                    break
                filling = asyncio.get_running_loop().create_task(self._fill(key, bound, asked, lease, now))
                filling.add_done_callback(lambda done: done.cancelled() or done.exception())
                self._filling[key] = filling
            if not await asyncio.shield(filling):
                break
        # Not enough, with what was in the hand: the store says so, and remembers that it was asked.
        if take.amount > lease.slice:
            await self.make_room(owner, take)
        else:
            await self.give_back(owner, take.resource)
        return await self._store.take_usage(owner, (take,), now, operation_context=operation_context), None

    async def unspent(self, manufacturer_id: str, take: UsageTake) -> int:
        """What all workers hold, counted as used by the store though nobody used it yet."""
        return await self._store.unspent_usage(manufacturer_id, take)

    async def give_back(self, manufacturer_id: str, resource: str) -> None:
        """Return what is left in the hand to the store."""
        key = (manufacturer_id, resource)
        if (filling := self._filling.get(key)) is not None:
            await asyncio.wait([filling])
        self._let_go(key)
        if self._returning:
            await self._return_all()

    async def make_room(self, manufacturer_id: str, take: UsageTake) -> None:
        """Return what is in the hand, and ask the other workers for theirs where that is not enough."""
        await self.give_back(manufacturer_id, take.resource)
        used = (await self._store.read_usage(manufacturer_id, (take,)))[0]
        missing = take.amount - (take.limit - used)
        if 0 < missing <= await self._store.unspent_usage(manufacturer_id, take):
            await self._recall_from_others((manufacturer_id, take.resource), take)

    async def give_back_all(self, manufacturer_id: str | None) -> None:
        """Return what is held of one manufacturer, or of all."""
        for owner, resource in tuple(self._hands):
            if manufacturer_id in (None, owner):
                await self.give_back(owner, resource)

    def recall(self, manufacturer_id: str = ALL) -> None:
        """Return what is held of one manufacturer (or of all) soon; nothing more is spent of it from now on."""
        keys = [key for key in self._hands if manufacturer_id in (ALL, key[0])]
        for key in keys:
            self._let_go(key)
        if keys:
            task = asyncio.get_running_loop().create_task(self._return_later())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def sweep(self) -> None:
        """Return what is held in leases that have ended, and bring back what killed workers held."""
        now = self._clock.now()
        for key, hand in tuple(self._hands.items()):
            if hand.ends <= now.timestamp():
                self._let_go(key)
        await self._return_all()
        await self._store.reclaim_leases(now)
        past = self._clock.monotonic()
        self._dry_until = {key: until for key, until in self._dry_until.items() if until > past}

    async def close(self) -> None:
        """Return everything. Where the store is away, it comes back when the leases end."""
        for stop in self._stops:
            stop()
        self._stops = []
        if self._filling:
            await asyncio.wait(self._filling.values())
        for key in tuple(self._hands):
            self._let_go(key)
        await self._return_later()

    def _let_go(self, key: _Key) -> None:
        hand = self._hands.pop(key, None)
        if hand is not None:
            hand.piece.freeze()
            self._returning[hand.piece.lease_id] = hand.piece

    async def _return_later(self) -> None:
        with contextlib.suppress(StorageError):  # the store is away: the next sweep tries again
            await self._return_all()

    async def _return_all(self) -> None:
        for lease_id, piece in tuple(self._returning.items()):
            await self._store.end_lease(piece)
            self._returning.pop(lease_id, None)

    async def _fill(self, key: _Key, bound: Bound, asked_tier: Any, lease: Lease, now: datetime) -> bool:
        """Exchange what is in the hand for a new slice; False where there is not enough."""
        take, until = bound.take, now + timedelta(seconds=lease.seconds)
        former = self._hands.get(key)
        self._let_go(key)
        try:
            leased = await self._store.lease_usage(
                key[0], take, lease.slice, at=now, until=until, former=None if former is None else former.piece
            )
            if former is not None:
                self._returning.pop(former.piece.lease_id, None)
            if leased.piece is not None:
                midnight = (take.bucket // DAY + 1) * DAY
                ends = min(until.timestamp(), bound.resets_at.timestamp(), midnight)
                self._hands[key] = LocalLease(leased.piece, bound, asked_tier, leased.used, ends)
                self._on_slice(key[0], leased.piece.take, leased.used)
                return True
            if take.limit - leased.used < take.amount <= take.limit - leased.used + leased.elsewhere:
                await self._recall_from_others(key, take)
            self._dry_until[key] = self._clock.monotonic() + _DRY_SECONDS
            return False
        finally:
            self._filling.pop(key, None)

    async def _recall_from_others(self, key: _Key, take: UsageTake) -> None:
        """Ask other workers for what they hold, and wait until there is enough, or nothing is held any more."""
        loop = asyncio.get_running_loop()
        begin = loop.time()
        if begin < self._recalled.get(key, begin):
            return
        self._recalled = {key: until for key, until in self._recalled.items() if until > begin}
        self._recalled[key] = begin + _RECALL_EVERY
        await self._store.announce(RECALL, key[0])
        while loop.time() < begin + _RECALL_SECONDS:
            await asyncio.sleep(_LOOK_SECONDS)
            used = (await self._store.read_usage(key[0], (take,)))[0]
            if take.limit - used >= take.amount or not await self._store.unspent_usage(key[0], take):
                return


async def sweep(leases: Leases, standings: EntitlementCache) -> None:
    """Sweep again and again, until cancelled; how often is up to the policy in force."""
    while True:
        shortest = min((lease.seconds for lease in standings.compiled.policy.quotas.leases.values()), default=30.0)
        await asyncio.sleep(min(_SWEEP_SECONDS, shortest / 2))
        with contextlib.suppress(StorageError):  # the store is away: at the next look
            await leases.sweep()
