"""The in-memory cache, for a single process."""

from __future__ import annotations

from collections import OrderedDict

from gatewright.clock import Clock, SystemClock
from gatewright.storage.attempts import Rate, ThrottleResult, decide


class MemoryCache:
    """A bounded cache with a time to live per entry. No call awaits, so each is atomic on the event loop.

    Args:
        size: maximum number of entries; the least recently written are evicted first.
        clock: supplies the monotonic time that entries expire by.
    """

    def __init__(self, *, size: int = 200_000, clock: Clock | None = None) -> None:
        self._size = size
        self._clock = clock or SystemClock()
        self._values: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        self._arrival_times: OrderedDict[str, float] = OrderedDict()

    async def initialize(self) -> None:
        return None

    async def close(self) -> None:
        self._values.clear()
        self._arrival_times.clear()

    async def get(self, key: str) -> bytes | None:
        return self._live(key)

    async def set(self, key: str, value: bytes, *, ttl: float) -> None:
        self._put(key, value, self._clock.monotonic() + ttl)

    async def add(self, key: str, value: bytes, *, ttl: float) -> bool:
        if self._live(key) is not None:
            return False
        self._put(key, value, self._clock.monotonic() + ttl)
        return True

    async def take(self, key: str) -> bytes | None:
        value = self._live(key)
        self._values.pop(key, None)
        return value

    async def delete(self, key: str) -> None:
        self._values.pop(key, None)

    async def increment(self, key: str, amount: int = 1, *, ttl: float) -> int:
        current = self._live(key)
        expires = self._values[key][1] if current is not None else self._clock.monotonic() + ttl
        total = int(current or 0) + amount
        self._put(key, str(total).encode(), expires)
        return total

    async def throttle(self, key: str, rate: Rate, *, cost: int = 1) -> ThrottleResult:
        now = self._clock.monotonic()
        result, tat = decide(self._arrival_times.get(key), now, rate, cost)
        if cost and result.allowed:
            self._arrival_times[key] = tat
            self._arrival_times.move_to_end(key)
            self._trim_throttles(now)
        return result

    async def clear_throttle(self, key: str) -> None:
        self._arrival_times.pop(key, None)

    def _live(self, key: str) -> bytes | None:
        entry = self._values.get(key)
        if entry is None:
            return None
        if entry[1] <= self._clock.monotonic():
            del self._values[key]
            return None
        return entry[0]

    def _put(self, key: str, value: bytes, expires: float) -> None:
        self._values[key] = (value, expires)
        self._values.move_to_end(key)
        while len(self._values) > self._size:
            self._values.popitem(last=False)

    def _trim_throttles(self, now: float) -> None:
        """Evict keys with an empty bucket, and the oldest keys above the capacity."""
        while self._arrival_times:
            key, tat = next(iter(self._arrival_times.items()))
            if tat > now and len(self._arrival_times) <= self._size:
                return
            del self._arrival_times[key]
