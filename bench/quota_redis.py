"""Quota take over Redis: 4 processes of 50 tasks each, against ``limits`` (async, fixed window) on the same server.

Microseconds of the whole machine for one take, that is, the time all of it took divided by all takes.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import statistics
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench._redis_server import redis_server
from gatewright.policy import parse_policy
from gatewright.rbac import ManufacturerContext, ManufacturerRBACManager
from gatewright.storage import RedisCache, RedisInvalidation, SqliteStore

PROCESSES, TASKS, EACH, ROUNDS = 4, 50, 100, 3
LIMIT = 19_900
"""Under the 20,000 units that are asked for, so that the last ones are fought for."""
TARGET = 10.0

POLICY = f"""
default_tier = "free"
[permissions]
api_access = "x"
[tiers.free]
[tiers.free.limits]
api_calls = {{ limit = {LIMIT} }}
[quotas.leases]
api_calls = {{ slice = 2_000, seconds = 30 }}
[adjustments]
highest_tier = "free"
"""


async def ours(url: str, path: str, who: str) -> None:
    granted = 0
    cache = RedisCache(url)
    await cache.initialize()
    context = ManufacturerContext(who, "C", "e", "free")
    policy = parse_policy(POLICY)
    async with SqliteStore(path) as store, ManufacturerRBACManager(policy, store=store) as rbac:
        invalidation = RedisInvalidation(cache, store.changes)
        invalidation.start()
        await rbac.check_usage_limit(context, "api_calls")

        async def task() -> None:
            nonlocal granted
            for _ in range(EACH):
                answer = await rbac.check_usage_limit(context, "api_calls", 1)
                granted += answer.allowed

        begin = _begin()
        await asyncio.gather(*(task() for _ in range(TASKS)))
        _end(granted, begin)
        await invalidation.stop()
    await cache.close()


async def peer(url: str, _path: str, who: str) -> None:
    from limits import RateLimitItemPerDay
    from limits.aio.storage import RedisStorage
    from limits.aio.strategies import FixedWindowRateLimiter

    storage = RedisStorage(url.replace("redis://", "async+redis://"), implementation="redispy")
    limiter, item, granted = FixedWindowRateLimiter(storage), RateLimitItemPerDay(LIMIT), 0
    await limiter.test(item, who)

    async def task() -> None:
        nonlocal granted
        for _ in range(EACH):
            allowed = await limiter.hit(item, who)
            granted += allowed

    begin = _begin()
    await asyncio.gather(*(task() for _ in range(TASKS)))
    _end(granted, begin)


_shared: list[Any] = []


def _begin() -> float:
    """Wait until all processes are ready."""
    _shared[1].wait()
    return time.time()


def _end(granted: int, begin: float) -> None:
    _shared[0].put((granted, begin, time.time()))


def _process(kind: str, shared: list[Any], url: str, path: str, who: str) -> None:
    _shared.extend(shared)
    asyncio.run((ours if kind == "ours" else peer)(url, path, who))


def run(kind: str, url: str, path: str, who: str) -> tuple[float, int]:
    """Microseconds a take, and how many were granted by all processes together."""
    context = multiprocessing.get_context("spawn")
    shared: list[Any] = [context.Queue(), context.Barrier(PROCESSES)]
    processes = [context.Process(target=_process, args=(kind, shared, url, path, who)) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    answers = [shared[0].get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    spent = max(answer[2] for answer in answers) - min(answer[1] for answer in answers)
    return spent / (PROCESSES * TASKS * EACH) * 1e6, sum(answer[0] for answer in answers)


def main() -> int:
    with tempfile.TemporaryDirectory(dir=".") as directory, redis_server(directory) as url:
        path = str(Path(directory) / "s.db")
        peers, own, overshoot = [], [], 0
        for number in range(ROUNDS):
            peers.append(run("peer", url, path, f"p{number}")[0])
            spent, granted = run("ours", url, path, f"m{number}")
            own.append(spent)
            overshoot = max(overshoot, granted - LIMIT)
    ratio = statistics.median(peers) / statistics.median(own)
    own_us, peer_us = statistics.median(own), statistics.median(peers)
    print(f"gatewright, leased, 4 x 50 tasks  {own_us:7.1f} us a take, overshoot {overshoot} (target 0)")
    print(
        f"limits {version('limits')}, fixed window        {peer_us:7.1f} us   {ratio:5.1f} x (target >= {TARGET:.0f} x)"
    )
    return 0 if ratio >= TARGET and overshoot == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
