"""One process of the quota soak: a hundred tasks take, refund and change the tier, and a journal tells of each call.

Every call has a line before it and a line after it, so that only the calls that were under way when a process was
killed are in doubt. Times are of the machine's monotonic clock, the same for all processes.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import random
import time
from datetime import UTC, datetime, timedelta

from gatewright.policy import Policy, parse_policy
from gatewright.rbac import ManufacturerContext, ManufacturerRBACManager
from gatewright.records import Record
from gatewright.storage import RedisCache, RedisInvalidation, SqliteStore

RESOURCE = "api_calls"
LIMITS = {"free": 3_000, "professional": 6_000}
EPOCH = datetime(2027, 1, 1, tzinfo=UTC)
_POLICY = """
default_tier = "free"
[permissions]
api_access = "x"
[tiers.free]
[tiers.free.limits]
api_calls = {{ limit = {free} }}
[tiers.professional]
inherits = "free"
[tiers.professional.limits]
api_calls = {{ limit = {professional} }}
[quotas.leases]
{leases}
[adjustments]
highest_tier = "professional"
"""


class Round(Record, frozen=True, kw_only=True):
    """What the processes of a round share. ``speed`` seconds of the calendar pass in one; ``begin`` is when it
    stood at ``start``; ``redis`` is a URL or None; all begin when the file ``go`` is there (a process that is killed
    while it holds a lock of all of them would stop the others)."""

    number: int
    path: str
    owner: str
    tasks: int
    leased: float
    redis: str | None
    go: str
    speed: float
    begin: int
    start: datetime


class SwiftClock:
    """A calendar that runs fast, at the same place in every process."""

    def __init__(self, shared: Round) -> None:
        self._shared = shared

    def at(self, nanoseconds: int) -> datetime:
        """Where the calendar is at a moment of the monotonic clock."""
        shared = self._shared
        return shared.start + timedelta(seconds=(nanoseconds - shared.begin) / 1e9 * shared.speed)

    def now(self) -> datetime:
        return self.at(time.monotonic_ns())

    def timestamp(self) -> float:
        return self.now().timestamp()

    def monotonic(self) -> float:
        return time.monotonic()


def policy_of(*, leased: float) -> Policy:
    """Two tiers; ``leased`` is how many seconds of the swift calendar a lease lasts, 0 for none."""
    leases = f"api_calls = {{ slice = 300, seconds = {leased} }}" if leased else ""
    return parse_policy(_POLICY.format(**LIMITS, leases=leases))


class Journal:
    """Lines that are in the file, whatever happens to the process, when a call returns."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._numbers = itertools.count(1)

    def ready(self) -> None:
        """The process may begin."""
        self._write("ready")

    def begin(self, kind: str, *values: object) -> int:
        """A call begins; its number."""
        number = next(self._numbers)
        self._write("begin", number, time.monotonic_ns(), kind, *values)
        return number

    def end(self, number: int, *values: object) -> None:
        """It has ended; what it came to."""
        self._write("end", number, time.monotonic_ns(), *values)

    def _write(self, *values: object) -> None:
        os.write(self._file, (" ".join(map(str, values)) + "\n").encode())


def work(shared: Round, journal: str, seed: int) -> None:
    """What a process runs."""
    logging.disable(logging.WARNING)  # of calls that took long: the machine is busy on purpose
    asyncio.run(_work(shared, journal, seed))


async def _work(shared: Round, path: str, seed: int) -> None:
    clock, journal = SwiftClock(shared), Journal(path)
    cache = RedisCache(shared.redis, prefix=f"soak{shared.number}") if shared.redis else None
    async with (
        SqliteStore(shared.path, durable=False) as store,
        ManufacturerRBACManager(policy_of(leased=shared.leased), store=store, clock=clock) as rbac,
    ):
        invalidation = None
        if cache is not None:
            await cache.initialize()
            invalidation = RedisInvalidation(cache, store.changes)
            invalidation.start()
        await rbac.tier_of(shared.owner)
        journal.ready()
        await asyncio.to_thread(_wait_for, shared.go)
        chances = (random.Random(seed * 1_000 + number) for number in range(shared.tasks))
        await asyncio.gather(*(_task(rbac, shared, clock, journal, chance) for chance in chances))
        await rbac.close()
        if invalidation is not None and cache is not None:
            await invalidation.stop()
            await cache.close()


def _wait_for(path: str) -> None:
    while not os.path.exists(path):
        time.sleep(0.002)


async def _task(
    rbac: ManufacturerRBACManager, shared: Round, clock: SwiftClock, journal: Journal, chance: random.Random
) -> None:
    context = ManufacturerContext(shared.owner, "C", "e", "free")
    for _ in range(4):
        await asyncio.sleep(chance.random() * 0.1)
        amount = chance.randint(1, 9)
        call = journal.begin("take", amount)
        result = await rbac.check_usage_limit(context, RESOURCE, amount)
        if not result.allowed:
            journal.end(call, "refused", result.limit)
            continue
        ends = int(result.resets_at.timestamp())
        journal.end(call, "granted", ends, result.limit, result.current)
        if chance.random() < 0.2:
            taken_at = min(clock.now(), result.resets_at - timedelta(microseconds=1))
            call = journal.begin("refund", amount, ends)
            await rbac.refund_usage(shared.owner, RESOURCE, amount, taken_at=taken_at)
            journal.end(call)
    if chance.random() < 0.02:
        tier = chance.choice(["professional", "free", "free"])
        call = journal.begin("tier", LIMITS[tier])
        await rbac.update_manufacturer_tier(shared.owner, tier, reason="soak")
        journal.end(call)
