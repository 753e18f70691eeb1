"""Change notices by publish/subscribe, which reach other processes within milliseconds.

Every message has a number. A process that finds one left out, or was not connected for a while, cannot know what
it missed and tells its listeners that anything may have changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets

from redis.exceptions import RedisError

from gatewright.storage.cache.redis import RedisCache
from gatewright.storage.changes import Changes

PUBLISH = """
-- Number the message and send it: who sees a number left out has missed one.
local epoch = redis.call('INCR', KEYS[1])
redis.call('PUBLISH', ARGV[1], epoch .. ' ' .. ARGV[2])
return epoch
"""


CHECK_EVERY = 0.25
"""Seconds between two looks at the number of the last message; a lost last message is noticed so."""


class RedisInvalidation:
    """Joins the :class:`~gatewright.storage.changes.Changes` of several processes.

    Args:
        cache: its server carries the messages.
        changes: of this process's store.
    """

    def __init__(self, cache: RedisCache, changes: Changes) -> None:
        self._cache = cache
        self._changes = changes
        self._origin = secrets.token_hex(8)
        self._channel = f"{cache.prefix}:changes"
        self._epoch_key = cache.key("epoch", tag="changes")
        self._seen = -1
        self._hearing = False
        self._running = False
        self._outgoing: asyncio.Queue[str] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Listen, and pass on what this process's own store publishes."""
        if not self._tasks:
            self._changes.relay, self._running = self._pass_on, True
            loop = asyncio.get_running_loop()
            self._tasks = [loop.create_task(self._listen()), loop.create_task(self._send())]

    async def stop(self) -> None:
        """Stop both. A cancellation that comes with an answer of the server may be lost on its way, so they look."""
        self._changes.relay, self._running = None, False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    def _pass_on(self, topic: str, key: str) -> None:
        if not self._hearing:
            self._outgoing.put_nowait(f"{self._origin} {topic} {key}")

    async def _send(self) -> None:
        while self._running:
            message = await self._outgoing.get()
            if not self._cache.up:
                continue  # after a reconnect, assume that everything changed
            try:
                await self._cache.run(PUBLISH, self._epoch_key, self._channel, message)
            except (TimeoutError, RedisError, OSError) as error:
                self._cache.lost(error)

    async def _listen(self) -> None:
        while self._running:
            if self._cache.up:
                with contextlib.suppress(RedisError, OSError, asyncio.TimeoutError):
                    await self._hear()
            # Not connected: changes may be missed meanwhile.
            self._publish_all()
            await asyncio.sleep(CHECK_EVERY)

    async def _hear(self) -> None:
        async with self._cache.client.pubsub(ignore_subscribe_messages=True) as subscription:
            await subscription.subscribe(self._channel)
            self._seen = await self._epoch()
            self._publish_all()
            while self._cache.up and self._running:
                message = await subscription.get_message(timeout=CHECK_EVERY)
                if message is not None:
                    self._receive(message["data"].decode())
                elif await self._epoch() > self._seen:
                    # Give one that is on its way a chance, then take it for lost.
                    late = await subscription.get_message(timeout=CHECK_EVERY / 5)
                    if late is not None:
                        self._receive(late["data"].decode())
                    else:
                        self._seen = await self._epoch()
                        self._publish_all()

    async def _epoch(self) -> int:
        return int(await self._cache.client.get(self._epoch_key) or 0)

    def _receive(self, text: str) -> None:
        number, origin, topic, key = text.split(" ", 3)
        missed = int(number) > self._seen + 1
        self._seen = max(self._seen, int(number))
        if missed:
            self._publish_all()
        elif origin != self._origin:
            self._hearing = True
            try:
                self._changes.publish(topic, key)
            finally:
                self._hearing = False

    def _publish_all(self) -> None:
        self._hearing = True
        try:
            self._changes.publish_all()
        finally:
            self._hearing = False
