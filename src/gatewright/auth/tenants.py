"""Whether a manufacturer, and a person in it, may act at all, known without a query for each token."""

from __future__ import annotations

from collections.abc import Callable

from gatewright.clock import Clock
from gatewright.errors import AuthenticationError, TokenRevokedError
from gatewright.storage.changes import ALL, Changes
from gatewright.storage.tenants import TenantStore

_CAPACITY = 50_000

Subject = tuple[str, str | None]
"""A manufacturer, and a person in it or None for the manufacturer as a whole."""


class TenantGate:
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

    def is_known_active(self, manufacturer_id: str, account_id: str | None = None) -> bool:
        """Whether they may act as far as is known; False means only that the store must be asked."""
        looked = self._active.get((manufacturer_id, None if account_id == manufacturer_id else account_id))
        return looked is not None and self._clock.monotonic() - looked <= self._window

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
