"""What every cache promises: times to live, exactly once, and throttles that nobody overruns."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator

import pytest

from gatewright.storage import Cache, MemoryCache, Rate, RedisCache
from tests.support.redis import RedisServer, redis_session  # noqa: F401 - a fixture

RATE = Rate(limit=5, period=60.0)


@pytest.fixture(params=["memory", "redis"])
async def cache(request: pytest.FixtureRequest) -> AsyncIterator[Cache]:
    made: Cache
    if request.param == "memory":
        made = MemoryCache()
    else:
        server: RedisServer = request.getfixturevalue("redis_session")
        made = RedisCache(server.url, prefix=f"t{secrets.token_hex(4)}")
    await made.initialize()
    await made.initialize()
    yield made
    await made.close()


async def test_values_live_and_die(cache: Cache) -> None:
    assert await cache.get("k") is None
    await cache.set("k", b"\x00one", ttl=60)
    assert await cache.get("k") == b"\x00one"
    await cache.set("k", b"two", ttl=0.02)
    await asyncio.sleep(0.04)
    assert await cache.get("k") is None
    await cache.set("k", b"three", ttl=60)
    await cache.delete("k")
    await cache.delete("k")
    assert await cache.get("k") is None


async def test_a_free_key_is_given_to_exactly_one(cache: Cache) -> None:
    assert sum(await asyncio.gather(*(cache.add("k", b"x", ttl=60) for _ in range(20)))) == 1
    taken = await asyncio.gather(*(cache.take("k") for _ in range(20)))
    assert [t for t in taken if t is not None] == [b"x"]
    assert await cache.add("k", b"y", ttl=60)


async def test_counters(cache: Cache) -> None:
    assert await cache.increment("n", ttl=60) == 1
    assert await cache.increment("n", 5, ttl=60) == 6
    await asyncio.gather(*(cache.increment("n", ttl=60) for _ in range(20)))
    assert await cache.increment("n", -6, ttl=60) == 20
    assert await cache.increment("short", ttl=0.02) == 1
    await asyncio.sleep(0.04)
    assert await cache.increment("short", ttl=60) == 1


async def test_a_throttle_lets_the_limit_through_and_tells_how_long_to_wait(cache: Cache) -> None:
    results = [await cache.throttle("k", RATE) for _ in range(6)]
    assert [r.allowed for r in results] == [True] * 5 + [False]
    assert [r.remaining for r in results] == [4, 3, 2, 1, 0, 0]
    assert 0.0 < results[-1].retry_after <= 12.0
    assert 48.0 < results[-1].reset_after <= 60.0
    assert (await cache.throttle("other", RATE)).allowed


async def test_looks_and_refusals_cost_nothing(cache: Cache) -> None:
    assert (await cache.throttle("k", RATE, cost=0)).remaining == 5
    await cache.throttle("k", RATE, cost=4)
    assert not (await cache.throttle("k", RATE, cost=2)).allowed
    look = await cache.throttle("k", RATE, cost=0)
    assert look.allowed and look.remaining == 1
    await cache.clear_throttle("k")
    assert (await cache.throttle("k", RATE)).remaining == 4


async def test_fifty_tasks_get_no_more_than_the_limit(cache: Cache) -> None:
    results = await asyncio.gather(*(cache.throttle("k", RATE) for _ in range(50)))
    assert sum(r.allowed for r in results) == 5
