"""The Redis cache, whose operations are atomic server-side scripts.

While Redis does not answer, throttles count in this process at a quarter of their rate, values are missed, what
must be exactly once is refused with StoreUnavailableError, and a probe looks until it is back. An event tells of
both. Needs the extra ``gatewright[redis]``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import NoScriptError, RedisError

from gatewright import event_kinds
from gatewright.clock import Clock, SystemClock
from gatewright.errors import StoreUnavailableError
from gatewright.events import EventSink, NullSink, Severity, event
from gatewright.storage.attempts import Rate, ThrottleResult
from gatewright.storage.cache.memory import MemoryCache

THROTTLE = """
-- GCRA, as gatewright.storage.attempts.decide; the server's clock is everybody's. Returns allowed, and in seconds
-- (as text, Redis cuts numbers to integers) how far the bucket is filled after, and what was there before.
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local period, interval, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local stored = tonumber(redis.call('GET', KEYS[1]) or now)
local current = math.max(stored, now)
local following = current + interval * math.max(cost, 1)
local allowed = following - now <= period + 0.000001
local kept = current
if allowed and cost > 0 then
  kept = following
  redis.call('SET', KEYS[1], string.format('%.6f', kept), 'PX', math.ceil((kept - now) * 1000) + 1)
end
return {allowed and 1 or 0, string.format('%.6f', kept - now), string.format('%.6f', current - now)}
"""

INCREMENT = """
local total = redis.call('INCRBY', KEYS[1], ARGV[1])
if redis.call('PTTL', KEYS[1]) < 0 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return total
"""


FALLBACK_SHARE = 4
"""While Redis is gone, a process allows one part in so many of a rate."""
_FORGOTTEN_LIMIT = 10_000
"""Deletions that wait for Redis to come back at most; over it everything of Gatewright is dropped."""

Listener = Callable[[bool], None]
"""Called True when Redis is back, False when it is lost."""


class RedisCache:
    """The Cache protocol over Redis (or Valkey).

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``.
        prefix: begins every key, so that several installations may share a server.
        connections: pooled connections at most.
        timeout: seconds for a connect or an answer; longer counts as gone.
        probe: seconds between two looks for a server that is gone.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "gw",
        connections: int = 16,
        timeout: float = 1.0,
        probe: float = 0.2,
        sink: EventSink | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.prefix = prefix
        self.up = False
        pool = BlockingConnectionPool.from_url(
            url, max_connections=connections, timeout=timeout, socket_timeout=timeout, socket_connect_timeout=timeout
        )
        self.client: Redis = Redis(connection_pool=pool)
        self._probe_every = probe
        self._clock = clock or SystemClock()
        self._sink = sink or NullSink()
        self._fallback = MemoryCache(clock=self._clock)
        self._hashes: dict[str, str] = {}
        self._probe: asyncio.Task[None] | None = None
        self._listeners: list[Listener] = []
        self._forgotten: set[str] = set()
        self._open = False

    async def initialize(self) -> None:
        """Connect. While the server is unavailable, retry in the background. Calling twice is harmless."""
        if self._open:
            return
        self._open = True
        try:
            await self._arrive()
        except (RedisError, OSError) as error:
            self._lose(error)

    async def close(self) -> None:
        """Stop looking and give the connections back."""
        self._open = False
        self.up = False
        if self._probe is not None:
            self._probe.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._probe
            self._probe = None
        await self.client.aclose()
        await self.client.connection_pool.disconnect()

    def watch(self, listener: Listener) -> None:
        """Call ``listener`` whenever Redis is lost or back."""
        self._listeners.append(listener)

    def key(self, name: str, *, tag: str | None = None) -> str:
        """The key of a name. What is in braces decides the cluster's slot: the name itself, or ``tag``."""
        return f"{self.prefix}:{{{name}}}" if tag is None else f"{self.prefix}:{{{tag}}}:{name}"

    # --- the protocol -------------------------------------------------------------------------------------------

    async def get(self, key: str) -> bytes | None:
        value: bytes | None = await self._or(self.client.get, None, self.key(key))
        return value

    async def set(self, key: str, value: bytes, *, ttl: float) -> None:
        await self._or(self.client.psetex, None, self.key(key), _ms(ttl), value)

    async def add(self, key: str, value: bytes, *, ttl: float) -> bool:
        return bool(await self._must(self.client.set, self.key(key), value, nx=True, px=_ms(ttl)))

    async def take(self, key: str) -> bytes | None:
        value: bytes | None = await self._must(self.client.getdel, self.key(key))
        return value

    async def delete(self, key: str) -> None:
        name = self.key(key)
        if await self._or(self.client.delete, None, name) is None and len(self._forgotten) <= _FORGOTTEN_LIMIT:
            self._forgotten.add(name)

    async def increment(self, key: str, amount: int = 1, *, ttl: float) -> int:
        return int(await self._must(self.run, INCREMENT, self.key(key), amount, _ms(ttl)))

    async def throttle(self, key: str, rate: Rate, *, cost: int = 1) -> ThrottleResult:
        answer = await self._or(self.run, None, THROTTLE, self.key(f"throttle:{key}"), rate.period, rate.interval, cost)
        if answer is None:
            quarter = Rate(limit=max(1, rate.limit // FALLBACK_SHARE), period=rate.period)
            return await self._fallback.throttle(key, quarter, cost=min(cost, quarter.limit))
        allowed, after, before = bool(answer[0]), float(answer[1]), float(answer[2])
        wait = before + rate.interval * max(cost, 1) - rate.period
        return ThrottleResult(
            allowed=allowed,
            limit=rate.limit,
            remaining=max(0, int((rate.period - after) / rate.interval + 1e-4)),
            retry_after=0.0 if allowed else max(0.0, wait),
            reset_after=max(0.0, after),
        )

    async def clear_throttle(self, key: str) -> None:
        await self._fallback.clear_throttle(key)
        await self.delete(f"throttle:{key}")

    # --- scripts and outages ------------------------------------------------------------------------------------

    async def run(self, script: str, key: str, *values: Any) -> Any:
        """Run a script of one key by its hash; it is sent whole where the server does not know it."""
        digest = self._hashes.get(script)
        if digest is None:
            digest = self._hashes[script] = await self.client.script_load(script)
        try:
            return await self.client.evalsha(digest, 1, key, *values)
        except NoScriptError:  # the server was restarted, or another one took over
            return await self.client.eval(script, 1, key, *values)

    async def _or(self, call: Callable[..., Awaitable[Any]], otherwise: Any, *values: Any) -> Any:
        """The answer of Redis, or ``otherwise`` while it is gone."""
        if not self.up:
            return otherwise
        try:
            return await call(*values)
        except (TimeoutError, RedisError, OSError) as error:
            self._lose(error)
            return otherwise

    async def _must(self, call: Callable[..., Awaitable[Any]], *values: Any, **options: Any) -> Any:
        """The answer of Redis; raises StoreUnavailableError while it is gone."""
        if self.up:
            try:
                return await call(*values, **options)
            except (TimeoutError, RedisError, OSError) as error:
                self._lose(error)
        raise StoreUnavailableError(
            "The cache is unavailable. Try again shortly.", code="CACHE_UNAVAILABLE", retry_after=1
        )

    def lost(self, error: BaseException) -> None:
        """Someone who uses :attr:`client` found that Redis does not answer."""
        self._lose(error)

    def _lose(self, error: BaseException) -> None:
        if not self._open:
            return
        was_up, self.up = self.up, False
        if self._probe is None or self._probe.done():
            self._probe = asyncio.get_running_loop().create_task(self._look_for_it())
            kind = event_kinds.STORAGE_CACHE_LOST if was_up else event_kinds.STORAGE_CACHE_MISSING
            self._sink.emit(
                event(kind, severity=Severity.HIGH, timestamp=self._clock.now(), reason=type(error).__name__)
            )
        if was_up:
            for listener in tuple(self._listeners):
                listener(False)

    async def _look_for_it(self) -> None:
        while self._open:
            await asyncio.sleep(self._probe_every)
            try:
                await self._arrive()
            except (TimeoutError, RedisError, OSError):
                continue
            self._sink.emit(
                event(event_kinds.STORAGE_CACHE_BACK, severity=Severity.NOTICE, timestamp=self._clock.now())
            )
            return

    async def _arrive(self) -> None:
        await self.client.ping()
        await self._forget_what_was_deleted()
        self.up = True
        for listener in tuple(self._listeners):
            listener(True)

    async def _forget_what_was_deleted(self) -> None:
        """What was deleted while Redis was away must not come back with it."""
        if len(self._forgotten) > _FORGOTTEN_LIMIT:
            async for name in self.client.scan_iter(match=f"{self.prefix}:*", count=1_000):
                await self.client.delete(name)
        for name in self._forgotten:
            await self.client.delete(name)
        self._forgotten.clear()


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
