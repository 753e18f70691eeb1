"""Asyncio helpers: work that survives the cancellation of its caller, and a bounded queue per key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from gatewright.errors import RateLimitExceededError

T = TypeVar("T")


async def uninterrupted(work: Coroutine[Any, Any, T]) -> T:
    """Wait for ``work``, which completes even if the caller is canceled.

    For writes that end something: once the store has committed, this process must know as well.
    """
    return await asyncio.shield(asyncio.ensure_future(work))


class Turns:
    """Limits concurrency per key: ``at_once`` run, and up to ``waiting`` are admitted in total.

    Args:
        refusal: the message of the error when the queue is full.
    """

    def __init__(self, at_once: int, waiting: int, refusal: str) -> None:
        self._at_once = at_once
        self._waiting = waiting
        self._refusal = refusal
        self._queues: dict[str, _Queue] = {}

    @asynccontextmanager
    async def turn(self, key: str) -> AsyncIterator[None]:
        """Wait for a turn. Raises RateLimitExceededError when the queue is full."""
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
    """The queue of one key in this process."""

    __slots__ = ("present", "turns")

    def __init__(self, at_once: int) -> None:
        self.turns = asyncio.Semaphore(at_once)
        self.present = 0
