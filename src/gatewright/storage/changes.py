"""Change notices, which tell caches in this and other processes what is stale."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from gatewright.caching import ALL

Listener = Callable[[str], None]
"""Called with the key that changed; ``ALL`` means that anything under the topic may have."""

__all__ = ["ALL", "Changes", "Listener"]


class Changes:
    """Topics and who listens to them, within one process.

    Topics in use: ``manufacturer`` (tier, status), ``account``, ``session`` (ended or revoked), ``token`` (a
    revoked jti), ``grants``, ``signing_keys``, ``data_keys``, ``controls``, ``policy``, ``model``.
    """

    def __init__(self) -> None:
        self._listeners: dict[str, list[Listener]] = defaultdict(list)
        self.relay: Callable[[str, str], None] | None = None
        """Called of every change, to pass it on to other processes."""

    def subscribe(self, topic: str, listener: Listener) -> Callable[[], None]:
        """Call ``listener(key)`` for each change of ``topic``; call the result to stop."""
        self._listeners[topic].append(listener)
        return lambda: self._listeners[topic].remove(listener)

    def publish(self, topic: str, key: str) -> None:
        """Tell this process's listeners, at once. Must be called on the event loop's thread."""
        for listener in tuple(self._listeners.get(topic, ())):
            listener(key)
        if self.relay is not None:
            self.relay(topic, key)

    def publish_all(self) -> None:
        """Tell every listener that anything may have changed (messages may have been missed)."""
        for topic in tuple(self._listeners):
            self.publish(topic, ALL)
