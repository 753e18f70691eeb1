"""Caches: the protocol that the in-process cache and Redis implement."""

from __future__ import annotations

from typing import Protocol

from gatewright.storage.attempts import Throttle


class Cache(Throttle, Protocol):
    """Values with a time to live, counters, one-time marks and throttles, each step atomic.

    Keys are plain strings such as ``throttle:login:account:…``; values are bytes.
    """

    async def initialize(self) -> None: ...

    async def close(self) -> None: ...

    async def get(self, key: str) -> bytes | None: ...

    async def set(self, key: str, value: bytes, *, ttl: float) -> None:
        """Keep ``value`` for ``ttl`` seconds."""
        ...

    async def add(self, key: str, value: bytes, *, ttl: float) -> bool:
        """Store ``value`` if the key is free; of several concurrent callers exactly one gets True."""
        ...

    async def take(self, key: str) -> bytes | None:
        """Return and delete: exactly one of several callers gets the value."""
        ...

    async def delete(self, key: str) -> None: ...

    async def increment(self, key: str, amount: int = 1, *, ttl: float) -> int:
        """Add to a counter and return it; ``ttl`` runs from the first addition."""
        ...
