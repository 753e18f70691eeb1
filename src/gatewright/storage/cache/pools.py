"""Pools: slices of quotas that all workers spend from in Redis. The store counts a slice as used when it is put in.

So the sum never passes the limit, whatever happens to Redis: what a pool loses stays counted as used until the
cycle ends. Takes that come together on one pool are one call.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from redis.exceptions import RedisError

from gatewright.storage.cache import scripts

KEPT_SECONDS = 40 * 86_400
"""An idle pool is kept for longer than the longest cycle."""

Answer = tuple[bool, int]
"""Whether the units were there, and how many are left."""


class Scripts(Protocol):
    """What pools need of the Redis cache."""

    up: bool
    run_id: str

    def key(self, name: str, *, tag: str | None = None) -> str: ...

    async def run(self, script: str, key: str, *values: Any) -> Any: ...

    def lost(self, error: BaseException) -> None: ...


class QuotaPools:
    """Takes from, fills and drains pools.

    Args:
        cache: the Redis that all workers share.
    """

    def __init__(self, cache: Scripts) -> None:
        self._cache = cache
        self._waiting: dict[tuple[str, str], list[tuple[int, asyncio.Future[Answer | None]]]] = {}

    def take(self, manufacturer_id: str, field: str, amount: int) -> asyncio.Future[Answer | None]:
        """Take ``amount`` units of a pool, all or none; None while Redis is gone. 0 looks."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer | None] = loop.create_future()
        if not self._cache.up:
            future.set_result(None)
            return future
        waiting = self._waiting.get((manufacturer_id, field))
        if waiting is not None:
            waiting.append((amount, future))
        else:
            self._waiting[manufacturer_id, field] = [(amount, future)]
            task = loop.create_task(self._serve(manufacturer_id, field))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return future

    async def _serve(self, manufacturer_id: str, field: str) -> None:
        """Send what waits, and what came meanwhile, until nothing waits."""
        key = (manufacturer_id, field)
        await asyncio.sleep(0)
        while batch := [one for one in self._waiting[key] if not one[1].done()]:
            self._waiting[key] = []
            answer = await self._run(
                scripts.POOL_TAKE, manufacturer_id, field, KEPT_SECONDS, *(amount for amount, _ in batch)
            )
            for number, (_, future) in enumerate(batch):
                if not future.done():
                    future.set_result(None if answer is None else (bool(answer[number + 1]), int(answer[0])))
        del self._waiting[key]

    async def fill(self, manufacturer_id: str, field: str, amount: int) -> bool:
        """Put units in that the store has counted; False when Redis is gone."""
        return await self._run(scripts.POOL_FILL, manufacturer_id, field, KEPT_SECONDS, amount) is not None

    async def drain(self, manufacturer_id: str, field: str) -> int:
        """Take all that is left out of a pool, to give it back to the store."""
        return int(await self._run(scripts.POOL_DRAIN, manufacturer_id, field) or 0)

    async def _run(self, script: str, manufacturer_id: str, field: str, *values: int) -> Any:
        if not self._cache.up:
            return None
        try:
            key = self._cache.key("pool", tag=manufacturer_id)
            answer = await self._cache.run(script, key, self._cache.run_id, field, *values)
        except (TimeoutError, RedisError, OSError) as error:
            self._cache.lost(error)
            return None
        return answer
