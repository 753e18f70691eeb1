"""The in-process cache, for a single process."""

from __future__ import annotations

from collections import OrderedDict

from gatewright.clock import Clock, SystemClock
from gatewright.storage.attempts import Rate, ThrottleResult, decide


class MemoryCache:
    """A bounded dictionary with times to live; every call runs to its end on the loop, so each is atomic.

    Args:
        size: entries at most; the least recently written ones go first.
        clock: its monotonic time ages the entries.
    """

    def __init__(self, *, size: int = 200_000, clock: Clock | None = None) -> None:
        self._size = size
        self._clock = clock or SystemClock()
        self._values: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        self._arrival: OrderedDict[str, float] = OrderedDict()

    async def initialize(self) -> None:
        return None

    async def close(self) -> None:
        self._values.clear()
        self._arrival.clear()

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
        before = self._live(key)
        ends = self._values[key][1] if before is not None else self._clock.monotonic() + ttl
        total = int(before or 0) + amount
        self._put(key, str(total).encode(), ends)
        return total

    async def throttle(self, key: str, rate: Rate, *, cost: int = 1) -> ThrottleResult:
        now = self._clock.monotonic()
        result, tat = decide(self._arrival.get(key), now, rate, cost)
        if cost and result.allowed:
            self._arrival[key] = tat
            self._arrival.move_to_end(key)
            self._trim_throttles(now)
        return result

    async def clear_throttle(self, key: str) -> None:
        self._arrival.pop(key, None)

    def _live(self, key: str) -> bytes | None:
        entry = self._values.get(key)
        if entry is None:
            return None
        if entry[1] <= self._clock.monotonic():
            del self._values[key]
            return None
        return entry[0]

    def _put(self, key: str, value: bytes, ends: float) -> None:
        self._values[key] = (value, ends)
        self._values.move_to_end(key)
        while len(self._values) > self._size:
            self._values.popitem(last=False)

    def _trim_throttles(self, now: float) -> None:
        """Drop keys whose bucket is empty again, and the oldest keys beyond the capacity."""
        while self._arrival:
            key, tat = next(iter(self._arrival.items()))
            if tat > now and len(self._arrival) <= self._size:
                return
            del self._arrival[key]
