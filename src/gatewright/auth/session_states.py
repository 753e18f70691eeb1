"""Sessions as this process knows them: a look-up in place of a query, never older than the revocation window.

Whatever ends or changes a session, here or in another process, is a change of topic ``session`` and drops it from
here; then the next look goes to the store.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from gatewright.clock import Clock
from gatewright.storage.changes import ALL, Changes
from gatewright.storage.sessions import SessionStore, StoredSession


class _Known(NamedTuple):
    session: StoredSession
    until: float
    looked: float


class SessionStates:
    """The sessions that were looked at lately.

    Args:
        window: seconds for which a look counts, should no notice of changes come through.
        capacity: sessions at the most, about 2 KB each; the oldest go first.
    """

    def __init__(
        self, store: SessionStore, changes: Changes, clock: Clock, *, window: float, capacity: int = 20_000
    ) -> None:
        self._store = store
        self._clock = clock
        self._window = window
        self._capacity = capacity
        self._known: dict[str, _Known] = {}
        self._notices = 0
        self._stop: Callable[[], None] = changes.subscribe("session", self._changed)

    def close(self) -> None:
        """Stop listening."""
        self._stop()

    def is_known_alive(self, session_id: str, now: float) -> bool:
        """Whether the session is alive as far as is known; False means only that the store must be asked."""
        known = self._known.get(session_id)
        return known is not None and now < known.until and self._clock.monotonic() - known.looked <= self._window

    async def get_alive(self, session_id: str) -> StoredSession | None:
        """The session if it is alive, asking the store where what is known is not enough.

        Raises:
            StoreUnavailableError: it had to be asked and does not answer.
        """
        now = self._clock.timestamp()
        if self.is_known_alive(session_id, now):
            return self._known[session_id].session
        looked, notices = self._clock.monotonic(), self._notices
        session = await self._store.get_session(session_id)
        if session is None or not is_alive(session, now):
            return None
        if self._notices == notices:  # otherwise it may have ended while the store was being asked
            self.put(session, looked)
        return session

    def put(self, session: StoredSession, looked: float | None = None) -> None:
        """Know this session, as just written or read."""
        when = self._clock.monotonic() if looked is None else looked
        self._known[session.session_id] = _Known(session, ends_at(session), when)
        while len(self._known) > self._capacity:
            del self._known[next(iter(self._known))]

    def _changed(self, key: str) -> None:
        self._notices += 1
        if key == ALL:
            self._known.clear()
        else:
            self._known.pop(key, None)


def ends_at(session: StoredSession) -> float:
    """When the session ends unless it is used or refreshed, in seconds since the epoch."""
    ends = min(session.expires_at.timestamp(), session.absolute_expires_at.timestamp())
    if session.idle_seconds is not None:
        ends = min(ends, session.last_activity.timestamp() + session.idle_seconds)
    return ends


def is_alive(session: StoredSession, now: float) -> bool:
    """Whether the session had neither been ended nor run out at ``now``."""
    return session.ended_at is None and now < ends_at(session)
