"""The bounded in-process cache for everything that is remembered between requests.

A cache here is a dictionary with a bound, so that a look-up costs what a dictionary costs. What it lacks otherwise is
what the three kinds of cache in this package need: eviction of the oldest entry, or of the least recently used one,
and a guard against a read that was overtaken by a change.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TypeVar

ALL = "*"
"""The key that represents every key in a change notice."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class BoundedCache(dict[K, V]):
    """A dictionary that evicts its oldest entries beyond ``capacity``.

    Reading it is plain ``dict`` access. To fill it from a store without keeping what a change made stale meanwhile::

        version = cache.version
        value = await store.get(key)
        cache.put(key, value, version=version)  # not kept if anything was invalidated while the store answered

    Args:
        capacity: entries held at most, 1 or more.
        keep_used: evict the least recently used entry (as seen by :meth:`use`) rather than the oldest one.
    """

    __slots__ = ("_keep_used", "capacity", "version")

    def __init__(self, capacity: int, *, keep_used: bool = False) -> None:
        super().__init__()
        self.capacity = capacity
        self.version = 0
        self._keep_used = keep_used

    def put(self, key: K, value: V, *, version: int | None = None) -> bool:
        """Keep a value as the newest entry; False when ``version`` shows that it may be stale already."""
        if version is not None and version != self.version:
            return False
        self.pop(key, None)
        self[key] = value
        while len(self) > self.capacity:
            del self[next(iter(self))]
        return True

    def use(self, key: K) -> V | None:
        """The value, which thereby becomes the most recently used one where ``keep_used`` is set."""
        value = self.get(key)
        if value is not None and self._keep_used:
            del self[key]
            self[key] = value
        return value

    def invalidate(self, key: K | str = ALL) -> None:
        """Drop one entry, or all of them; reads under way do not bring back what they read before."""
        self.version += 1
        if key == ALL:
            self.clear()
        else:
            self.pop(key, None)  # type: ignore[arg-type]  # a key of another type is not in here
