"""Small pieces of asyncio: work that completes although its caller was cancelled, and queues for turns."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from gatewright.errors import RateLimitExceededError

T = TypeVar("T")


async def uninterrupted(work: Coroutine[Any, Any, T]) -> T:
    """Wait for ``work``, which ends even if this caller is cancelled meanwhile.

    For writes that end something: once the store has committed, this process must hear of it as well.
    """
    return await asyncio.shield(asyncio.ensure_future(work))


class Turns:
    """Lets ``at_once`` work with the same key while at most ``waiting`` are there; keys without anybody are forgotten.

    Args:
        refusal: the sentence for those who find the queue full.
    """

    def __init__(self, at_once: int, waiting: int, refusal: str) -> None:
        self._at_once = at_once
        self._waiting = waiting
        self._refusal = refusal
        self._queues: dict[str, _Queue] = {}

    @asynccontextmanager
    async def turn(self, key: str) -> AsyncIterator[None]:
        """Wait for a turn, and hold it; raises RateLimitExceededError when too many wait already."""
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = _Queue(self._at_once)
        if queue.present >= self._waiting:
            raise RateLimitExceededError(self._refusal, retry_after=1)
        queue.present += 1
        try:
            async with queue.turns:
                yield
        finally:
            queue.present -= 1
            if not queue.present:
                self._queues.pop(key, None)


class _Queue:
    """Those of this process with one key."""

    __slots__ = ("present", "turns")

    def __init__(self, at_once: int) -> None:
        self.turns = asyncio.Semaphore(at_once)
        self.present = 0
