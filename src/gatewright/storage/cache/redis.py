"""The Redis cache, with atomic server-side scripts.

While Redis is unreachable, throttles run in this process at a quarter of their rate, reads miss, and operations
that must happen exactly once raise StoreUnavailableError. A probe retries until Redis is back; the outage and the
recovery each emit an event. Requires the extra ``gatewright[redis]``.
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
from gatewright.events import EventSink, Severity, emitter
from gatewright.storage.attempts import Rate, ThrottleResult
from gatewright.storage.cache.memory import MemoryCache

THROTTLE = """
-- GCRA, as in gatewright.storage.attempts.decide, on the server's clock. Returns whether the request is allowed, and
-- the fill of the bucket in seconds after and before it (as text, since Redis truncates numbers to integers).
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local period, interval, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local stored = tonumber(redis.call('GET', KEYS[1]) or now)
local current = math.max(stored, now)
local next_tat = current + interval * math.max(cost, 1)
local allowed = next_tat - now <= period + 0.000001
local stored_tat = current
if allowed and cost > 0 then
  stored_tat = next_tat
  redis.call('SET', KEYS[1], string.format('%.6f', stored_tat), 'PX', math.ceil((stored_tat - now) * 1000) + 1)
end
return {allowed and 1 or 0, string.format('%.6f', stored_tat - now), string.format('%.6f', current - now)}
"""

INCREMENT = """
local total = redis.call('INCRBY', KEYS[1], ARGV[1])
if redis.call('PTTL', KEYS[1]) < 0 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return total
"""


FALLBACK_SHARE = 4
"""While Redis is unreachable, each process allows a rate divided by this number."""
_PENDING_DELETIONS_LIMIT = 10_000
"""Deletions queued for replay during an outage at most. Beyond it, all keys of Gatewright are deleted on reconnect."""

Listener = Callable[[bool], None]
"""Called with True when Redis is reachable again, with False when it is lost."""


class RedisCache:
    """The Cache protocol over Redis (or Valkey).

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``.
        prefix: prefix of every key, so that several installations can share a server.
        connections: maximum size of the connection pool.
        timeout: seconds to wait for a connection or a reply before Redis counts as unreachable.
        probe: seconds between reconnection attempts during an outage.
        sink: receives an event when Redis is lost or back.
        clock: supplies the time of events and of the in-process fallback.
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
        self._emit = emitter(sink, self._clock)
        self._fallback = MemoryCache(clock=self._clock)
        self._hashes: dict[str, str] = {}
        self._probe: asyncio.Task[None] | None = None
        self._listeners: list[Listener] = []
        self._pending_deletions: set[str] = set()
        self._open = False

    async def initialize(self) -> None:
        """Connect, or retry in the background while Redis is unreachable. Idempotent."""
        if self._open:
            return
        self._open = True
        try:
            await self._connect()
        except (RedisError, OSError) as error:
            self._mark_lost(error)

    async def close(self) -> None:
        """Stop probing and close all connections."""
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
        """Call ``listener`` whenever Redis is lost or reachable again."""
        self._listeners.append(listener)

    def key(self, name: str, *, tag: str | None = None) -> str:
        """Return the Redis key for a name. The part in braces (the name, or ``tag``) selects the cluster slot."""
        return f"{self.prefix}:{{{name}}}" if tag is None else f"{self.prefix}:{{{tag}}}:{name}"

    # --- the protocol -------------------------------------------------------------------------------------------

    async def get(self, key: str) -> bytes | None:
        value: bytes | None = await self._call_or_default(self.client.get, None, self.key(key))
        return value

    async def set(self, key: str, value: bytes, *, ttl: float) -> None:
        await self._call_or_default(self.client.psetex, None, self.key(key), _ms(ttl), value)

    async def add(self, key: str, value: bytes, *, ttl: float) -> bool:
        return bool(await self._call_or_raise(self.client.set, self.key(key), value, nx=True, px=_ms(ttl)))

    async def take(self, key: str) -> bytes | None:
        value: bytes | None = await self._call_or_raise(self.client.getdel, self.key(key))
        return value

    async def delete(self, key: str) -> None:
        name = self.key(key)
        if (
            await self._call_or_default(self.client.delete, None, name) is None
            and len(self._pending_deletions) <= _PENDING_DELETIONS_LIMIT
        ):
            self._pending_deletions.add(name)

    async def increment(self, key: str, amount: int = 1, *, ttl: float) -> int:
        return int(await self._call_or_raise(self.run, INCREMENT, self.key(key), amount, _ms(ttl)))

    async def throttle(self, key: str, rate: Rate, *, cost: int = 1) -> ThrottleResult:
        reply = await self._call_or_default(
            self.run, None, THROTTLE, self.key(f"throttle:{key}"), rate.period, rate.interval, cost
        )
        if reply is None:
            reduced = Rate(limit=max(1, rate.limit // FALLBACK_SHARE), period=rate.period)
            return await self._fallback.throttle(key, reduced, cost=min(cost, reduced.limit))
        allowed, after, before = bool(reply[0]), float(reply[1]), float(reply[2])
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
        """Run a script on one key by its SHA; send the source if the server does not have it."""
        digest = self._hashes.get(script)
        if digest is None:
            digest = self._hashes[script] = await self.client.script_load(script)
        try:
            return await self.client.evalsha(digest, 1, key, *values)
        except NoScriptError:  # the server restarted or failed over
            return await self.client.eval(script, 1, key, *values)

    async def _call_or_default(self, call: Callable[..., Awaitable[Any]], default: Any, *values: Any) -> Any:
        """Return the reply of Redis, or ``default`` while it is unreachable."""
        if not self.up:
            return default
        try:
            return await call(*values)
        except (TimeoutError, RedisError, OSError) as error:
            self._mark_lost(error)
            return default

    async def _call_or_raise(self, call: Callable[..., Awaitable[Any]], *values: Any, **options: Any) -> Any:
        """Return the reply of Redis; raise StoreUnavailableError while it is unreachable."""
        if self.up:
            try:
                return await call(*values, **options)
            except (TimeoutError, RedisError, OSError) as error:
                self._mark_lost(error)
        raise StoreUnavailableError(
            "The cache is unavailable, and this operation requires it. Retry after 1 second.",
            code="CACHE_UNAVAILABLE",
            retry_after=1,
        )

    def lost(self, error: BaseException) -> None:
        """Report an outage that a user of :attr:`client` has noticed."""
        self._mark_lost(error)

    def _mark_lost(self, error: BaseException) -> None:
        if not self._open:
            return
        was_up, self.up = self.up, False
        if self._probe is None or self._probe.done():
            self._probe = asyncio.get_running_loop().create_task(self._probe_until_back())
            kind = event_kinds.STORAGE_CACHE_LOST if was_up else event_kinds.STORAGE_CACHE_MISSING
            self._emit(kind, Severity.HIGH, reason=type(error).__name__)
        if was_up:
            for listener in tuple(self._listeners):
                listener(False)

    async def _probe_until_back(self) -> None:
        while self._open:
            await asyncio.sleep(self._probe_every)
            try:
                await self._connect()
            except (TimeoutError, RedisError, OSError):
                continue
            self._emit(event_kinds.STORAGE_CACHE_BACK, Severity.NOTICE)
            return

    async def _connect(self) -> None:
        await self.client.ping()
        await self._replay_deletions()
        self.up = True
        for listener in tuple(self._listeners):
            listener(True)

    async def _replay_deletions(self) -> None:
        """Replay deletions made during the outage, so that deleted values do not reappear."""
        if len(self._pending_deletions) > _PENDING_DELETIONS_LIMIT:
            async for name in self.client.scan_iter(match=f"{self.prefix}:*", count=1_000):
                await self.client.delete(name)
        for name in self._pending_deletions:
            await self.client.delete(name)
        self._pending_deletions.clear()


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
