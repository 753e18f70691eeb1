"""Change notifications that invalidate caches in this and other processes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from gatewright.caching import ALL

Listener = Callable[[str], None]
"""Called with the key that changed, or with ``ALL`` if any key of the topic may have changed."""

__all__ = ["ALL", "Changes", "Listener"]


class Changes:
    """Publish/subscribe within one process.

    Topics: ``manufacturer`` (tier, status), ``account``, ``session`` (ended or revoked), ``token`` (revoked
    tokens), ``api_key``, ``grants``, ``signing_keys``, ``data_keys``, ``controls``, ``policy``, ``model``.
    """

    def __init__(self) -> None:
        self._listeners: dict[str, list[Listener]] = defaultdict(list)
        self.relay: Callable[[str, str], None] | None = None
        """Called with topic and key of every change, to forward it to other processes."""

    def subscribe(self, topic: str, listener: Listener) -> Callable[[], None]:
        """Call ``listener(key)`` on each change of ``topic``. Returns a function that unsubscribes."""
        self._listeners[topic].append(listener)
        return lambda: self._listeners[topic].remove(listener)

    def publish(self, topic: str, key: str) -> None:
        """Notify the listeners in this process synchronously. Call it on the event loop's thread."""
        for listener in tuple(self._listeners.get(topic, ())):
            listener(key)
        if self.relay is not None:
            self.relay(topic, key)

    def publish_all(self) -> None:
        """Notify every listener that anything may have changed, after notifications may have been lost."""
        for topic in tuple(self._listeners):
            self.publish(topic, ALL)
