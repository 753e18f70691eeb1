"""Cached status of sessions, accounts and tenants, invalidated by change notices.

Whatever ends or changes a session, here or in another process, is a change of topic ``session`` and drops it from
here; then the next look goes to the store.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from gatewright.clock import Clock
from gatewright.errors import AuthenticationError, TokenRevokedError
from gatewright.storage.changes import ALL, Changes
from gatewright.storage.sessions import SessionStore, StoredSession
from gatewright.storage.tenants import TenantStore


class _Known(NamedTuple):
    session: StoredSession
    until: float
    looked: float


class SessionCache:
    """Recently checked sessions.

    Args:
        window: seconds for which a look counts, should no notice of changes come through.
        capacity: sessions at most, about 2 KB each; the oldest go first.
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

    def is_known_alive(self, session_id: str, now: float, monotonic: float | None = None) -> bool:
        """Whether the cache says that the session is active. If False, the store must be asked.

        Args:
            now: the time in seconds since the epoch.
            monotonic: the time of the monotonic clock, if it was read already.
        """
        monotonic = self._clock.monotonic() if monotonic is None else monotonic
        known = self._known.get(session_id)
        return known is not None and now < known.until and monotonic - known.looked <= self._window

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


_CAPACITY = 50_000

Subject = tuple[str, str | None]
"""A manufacturer, and a person in it or None for the manufacturer as a whole."""


class TenantStatusCache:
    """Refuses manufacturers that are disabled and, where ``strict``, those that are unknown; and people who are
    disabled or belong to another manufacturer.

    An account that the store does not know is left to the caller: tokens of other issuers name people whom only they
    know.

    Args:
        strict: as in a foundation. Built alone, an unknown manufacturer is taken as it comes.
        window: seconds for which a look at the store counts, should no notice of changes come through.
    """

    def __init__(self, store: TenantStore, changes: Changes, clock: Clock, *, strict: bool, window: float) -> None:
        self._store = store
        self._clock = clock
        self._strict = strict
        self._window = window
        self._active: dict[Subject, float] = {}
        self._subjects: dict[str, set[Subject]] = {}
        self._notices = 0
        self._stops: list[Callable[[], None]] = [
            changes.subscribe("manufacturer", self._changed),
            changes.subscribe("account", self._changed),
        ]

    def close(self) -> None:
        """Stop listening."""
        for stop in self._stops:
            stop()
        self._stops = []

    def is_known_active(
        self, manufacturer_id: str, account_id: str | None = None, monotonic: float | None = None
    ) -> bool:
        """Whether the cache says that both are active. If False, the store must be asked."""
        monotonic = self._clock.monotonic() if monotonic is None else monotonic
        looked = self._active.get((manufacturer_id, None if account_id == manufacturer_id else account_id))
        return looked is not None and monotonic - looked <= self._window

    async def require_active(self, manufacturer_id: str, account_id: str | None = None) -> None:
        """Raise AuthenticationError (``MANUFACTURER_DISABLED``) when they may not act."""
        if not await self.is_active(manufacturer_id, account_id):
            raise AuthenticationError(
                "This manufacturer or account is unknown or disabled.",
                code="MANUFACTURER_DISABLED",
                context={"manufacturer_id": manufacturer_id},
            )

    async def require_active_for_token(self, manufacturer_id: str, account_id: str | None = None) -> None:
        """As :meth:`require_active`, as the error of a token."""
        if not await self.is_active(manufacturer_id, account_id):
            raise TokenRevokedError(
                "The token is invalid: its manufacturer or account is unknown or disabled.",
                code="MANUFACTURER_DISABLED",
            )

    async def is_active(self, manufacturer_id: str, account_id: str | None = None) -> bool:
        """Whether they may act; asks the store where that is not known."""
        if self.is_known_active(manufacturer_id, account_id):
            return True
        if account_id == manufacturer_id:  # the subject of a token that names no person
            account_id = None
        looked, notices = self._clock.monotonic(), self._notices
        stored = await self._store.get_manufacturer(manufacturer_id)
        if (stored is None and self._strict) or (stored is not None and stored.status != "active"):
            return False
        if stored is not None and account_id is not None:
            account = await self._store.get_account(account_id)
            if account is not None and (account.status, account.manufacturer_id) != ("active", manufacturer_id):
                return False
        if self._notices == notices:
            self._remember((manufacturer_id, account_id), looked)
        return True

    def _remember(self, subject: Subject, looked: float) -> None:
        self._active[subject] = looked
        for part in subject:
            if part is not None:
                self._subjects.setdefault(part, set()).add(subject)
        while len(self._active) > _CAPACITY:
            self._forget(next(iter(self._active)))

    def _forget(self, subject: Subject) -> None:
        self._active.pop(subject, None)
        for part in subject:
            if part is not None and (known := self._subjects.get(part)) is not None:
                known.discard(subject)
                if not known:
                    del self._subjects[part]

    def _changed(self, key: str) -> None:
        """A manufacturer or account changed: ask again for all that it is part of."""
        self._notices += 1
        if key == ALL:
            self._active.clear()
            self._subjects.clear()
        else:
            for subject in list(self._subjects.get(key, ())):
                self._forget(subject)
