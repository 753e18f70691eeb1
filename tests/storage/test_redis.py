"""Tests of the Redis cache during outages and recovery, and of invalidation between processes."""

from __future__ import annotations

import asyncio

import pytest

from gatewright.errors import StoreUnavailableError
from gatewright.storage import PUBLISH, Changes, Rate, RedisCache, RedisInvalidation
from gatewright.testing import ListSink
from tests.support.redis import RedisServer, redis_server  # noqa: F401 - a fixture
from tests.support.waiting import eventually as until

RATE = Rate(limit=20, period=3_600.0)


async def test_outage_reduces_rates_to_a_quarter_and_recovery_is_automatic(redis_server: RedisServer) -> None:  # noqa: F811
    sink = ListSink()
    cache = RedisCache(redis_server.url, probe=0.02, sink=sink)
    await cache.initialize()
    await cache.set("kept", b"x", ttl=60)
    assert (await cache.throttle("k", RATE)).limit == 20
    redis_server.kill()
    results = [await cache.throttle("k", RATE) for _ in range(6)]
    assert [r.allowed for r in results] == [True] * 5 + [False]
    assert results[0].limit == 5
    assert await cache.get("kept") is None
    await cache.set("kept", b"y", ttl=60)
    await cache.delete("kept")
    for refused in (cache.add("k", b"", ttl=1), cache.take("k"), cache.increment("k", ttl=1)):
        with pytest.raises(StoreUnavailableError):
            await refused
    assert sink.kinds() == ["storage:cache:lost"]
    redis_server.start()
    await until(lambda: cache.up)
    assert (await cache.throttle("k", RATE)).limit == 20
    await until(lambda: sink.kinds() == ["storage:cache:lost", "storage:cache:back"])
    await cache.close()
    await cache.close()


async def test_initialize_waits_for_an_unreachable_server(redis_server: RedisServer) -> None:  # noqa: F811
    redis_server.kill()
    sink = ListSink()
    cache = RedisCache(redis_server.url, probe=0.02, sink=sink)
    await cache.initialize()
    assert sink.kinds() == ["storage:cache:missing"] and not cache.up
    redis_server.start()
    await until(lambda: cache.up)
    await cache.close()


async def test_deletions_during_an_outage_are_replayed(redis_server: RedisServer) -> None:  # noqa: F811
    """The connection is lost, and the server keeps its values."""
    cache = RedisCache(redis_server.url, probe=0.02)
    await cache.initialize()
    await cache.set("session", b"alive", ttl=60)
    cache.lost(ConnectionError("cut"))
    await cache.delete("session")
    await until(lambda: cache.up)
    assert await cache.get("session") is None
    await cache.close()


async def test_flushed_script_is_sent_again(redis_server: RedisServer) -> None:  # noqa: F811
    cache = RedisCache(redis_server.url)
    await cache.initialize()
    await cache.throttle("k", RATE)
    await cache.client.script_flush()
    assert (await cache.throttle("k", RATE)).remaining == 18
    assert cache.key("a") == "gw:{a}" and cache.key("b", tag="a") == "gw:{a}:b"
    await cache.close()


async def test_changes_reach_other_processes_and_gaps_are_detected(redis_server: RedisServer) -> None:  # noqa: F811
    caches = [RedisCache(redis_server.url, probe=0.02) for _ in range(2)]
    changes = [Changes() for _ in range(2)]
    invalidations = [RedisInvalidation(cache, change) for cache, change in zip(caches, changes, strict=True)]
    received: list[list[str]] = [[], []]
    for number in range(2):
        await caches[number].initialize()
        changes[number].subscribe("manufacturer", received[number].append)
        invalidations[number].start()
        invalidations[number].start()
    await until(lambda: all(received))
    received[0].clear()
    received[1].clear()
    changes[0].publish("manufacturer", "m 1")
    assert received[0] == ["m 1"]
    await until(lambda: received[1] == ["m 1"])
    # A message was numbered but never delivered: everything may have changed.
    await caches[0].client.incr(caches[0].key("epoch", tag="changes"))
    await until(lambda: received[1][-1] == "*" and received[0][-1] == "*")
    received[1].clear()
    await caches[0].client.incr(caches[0].key("epoch", tag="changes"))
    await caches[0].run(PUBLISH, caches[0].key("epoch", tag="changes"), "gw:changes", "other manufacturer m2")
    await until(lambda: received[1] == ["*"])
    # While the server is unavailable, listeners are repeatedly notified that everything may have changed.
    redis_server.kill()
    received[1].clear()
    changes[0].publish("manufacturer", "m3")
    await until(lambda: received[1].count("*") >= 2)
    redis_server.start()
    await until(lambda: all(cache.up for cache in caches))
    await asyncio.gather(*(one.stop() for one in invalidations), *(cache.close() for cache in caches))
