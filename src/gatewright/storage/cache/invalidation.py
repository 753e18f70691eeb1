"""Change notifications over Redis publish/subscribe, delivered to other processes within milliseconds.

Messages are numbered. A process that detects a gap, or was disconnected, cannot know what it missed, so it notifies
its listeners that anything may have changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets

from redis.exceptions import RedisError

from gatewright.storage.cache.redis import RedisCache
from gatewright.storage.changes import Changes

PUBLISH = """
-- Number the message and publish it: a gap in the numbers reveals a lost message.
local epoch = redis.call('INCR', KEYS[1])
redis.call('PUBLISH', ARGV[1], epoch .. ' ' .. ARGV[2])
return epoch
"""


CHECK_EVERY = 0.25
"""Seconds between checks of the latest message number, which detect the loss of the last message."""


class RedisInvalidation:
    """Connects the :class:`~gatewright.storage.changes.Changes` of several processes.

    Args:
        cache: the Redis server that carries the messages.
        changes: the changes of this process's store.
    """

    def __init__(self, cache: RedisCache, changes: Changes) -> None:
        self._cache = cache
        self._changes = changes
        self._origin = secrets.token_hex(8)
        self._channel = f"{cache.prefix}:changes"
        self._epoch_key = cache.key("epoch", tag="changes")
        self._last_number = -1
        self._relaying = False
        self._running = False
        self._outgoing: asyncio.Queue[str] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start receiving messages and forwarding the changes of this process's store."""
        if not self._tasks:
            self._changes.relay, self._running = self._enqueue, True
            loop = asyncio.get_running_loop()
            self._tasks = [loop.create_task(self._listen()), loop.create_task(self._send())]

    async def stop(self) -> None:
        """Stop both tasks. A cancellation that races with a reply may be swallowed, so the tasks also check a flag."""
        self._changes.relay, self._running = None, False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    def _enqueue(self, topic: str, key: str) -> None:
        if not self._relaying:
            self._outgoing.put_nowait(f"{self._origin} {topic} {key}")

    async def _send(self) -> None:
        while self._running:
            message = await self._outgoing.get()
            if not self._cache.up:
                continue  # every process assumes that everything changed after a reconnect
            try:
                await self._cache.run(PUBLISH, self._epoch_key, self._channel, message)
            except (TimeoutError, RedisError, OSError) as error:
                self._cache.lost(error)

    async def _listen(self) -> None:
        while self._running:
            if self._cache.up:
                with contextlib.suppress(RedisError, OSError, asyncio.TimeoutError):
                    await self._receive_messages()
            # Disconnected: changes may be missed.
            self._publish_all()
            await asyncio.sleep(CHECK_EVERY)

    async def _receive_messages(self) -> None:
        async with self._cache.client.pubsub(ignore_subscribe_messages=True) as subscription:
            await subscription.subscribe(self._channel)
            self._last_number = await self._epoch()
            self._publish_all()
            while self._cache.up and self._running:
                message = await subscription.get_message(timeout=CHECK_EVERY)
                if message is not None:
                    self._receive(message["data"].decode())
                elif await self._epoch() > self._last_number:
                    # Wait briefly for a message in transit, then treat it as lost.
                    late = await subscription.get_message(timeout=CHECK_EVERY / 5)
                    if late is not None:
                        self._receive(late["data"].decode())
                    else:
                        self._last_number = await self._epoch()
                        self._publish_all()

    async def _epoch(self) -> int:
        return int(await self._cache.client.get(self._epoch_key) or 0)

    def _receive(self, text: str) -> None:
        number, origin, topic, key = text.split(" ", 3)
        missed = int(number) > self._last_number + 1
        self._last_number = max(self._last_number, int(number))
        if missed:
            self._publish_all()
        elif origin != self._origin:
            self._relaying = True
            try:
                self._changes.publish(topic, key)
            finally:
                self._relaying = False

    def _publish_all(self) -> None:
        self._relaying = True
        try:
            self._changes.publish_all()
        finally:
            self._relaying = False
