"""The cache protocol, implemented in process and over Redis."""

from __future__ import annotations

from typing import Protocol

from gatewright.storage.attempts import Throttle


class Cache(Throttle, Protocol):
    """Values with a time to live, counters and throttles; each operation is atomic.

    Keys are strings such as ``throttle:login:account:…``; values are bytes.
    """

    async def initialize(self) -> None: ...

    async def close(self) -> None: ...

    async def get(self, key: str) -> bytes | None: ...

    async def set(self, key: str, value: bytes, *, ttl: float) -> None:
        """Store ``value`` for ``ttl`` seconds."""
        ...

    async def add(self, key: str, value: bytes, *, ttl: float) -> bool:
        """Store ``value`` if the key does not exist; exactly one of several concurrent callers gets True."""
        ...

    async def take(self, key: str) -> bytes | None:
        """Return a value and delete it; exactly one of several concurrent callers gets it."""
        ...

    async def delete(self, key: str) -> None: ...

    async def increment(self, key: str, amount: int = 1, *, ttl: float) -> int:
        """Add to a counter and return the new value; ``ttl`` starts at the first increment."""
        ...
