"""Whether a manufacturer may act at all, known without a query for each token."""

from __future__ import annotations

from collections.abc import Callable

from gatewright.clock import Clock
from gatewright.errors import AuthenticationError, TokenRevokedError
from gatewright.storage.changes import ALL, Changes
from gatewright.storage.tenants import TenantStore

_CAPACITY = 50_000


class TenantGate:
    """Refuses manufacturers that are disabled and, where ``strict``, those that are unknown.

    Args:
        strict: as in a foundation. Built alone, an unknown manufacturer is taken as it comes.
        window: seconds for which a look at the store counts, should no notice of changes come through.
    """

    def __init__(self, store: TenantStore, changes: Changes, clock: Clock, *, strict: bool, window: float) -> None:
        self._store = store
        self._clock = clock
        self._strict = strict
        self._window = window
        self._active: dict[str, float] = {}
        self._notices = 0
        self._stop: Callable[[], None] = changes.subscribe("manufacturer", self._changed)

    def close(self) -> None:
        """Stop listening."""
        self._stop()

    def is_known_active(self, manufacturer_id: str) -> bool:
        """Whether it may act as far as is known; False means only that the store must be asked."""
        looked = self._active.get(manufacturer_id)
        return looked is not None and self._clock.monotonic() - looked <= self._window

    async def require_active(self, manufacturer_id: str) -> None:
        """Raise AuthenticationError (``MANUFACTURER_DISABLED``) when it may not act."""
        if not await self.is_active(manufacturer_id):
            raise AuthenticationError(
                "This manufacturer is unknown or disabled.",
                code="MANUFACTURER_DISABLED",
                context={"manufacturer_id": manufacturer_id},
            )

    async def require_active_for_token(self, manufacturer_id: str) -> None:
        """As :meth:`require_active`, as the error of a token."""
        if not await self.is_active(manufacturer_id):
            raise TokenRevokedError(
                "The token is invalid: its manufacturer is unknown or disabled.", code="MANUFACTURER_DISABLED"
            )

    async def is_active(self, manufacturer_id: str) -> bool:
        """Whether it may act; asks the store where that is not known."""
        if self.is_known_active(manufacturer_id):
            return True
        looked, notices = self._clock.monotonic(), self._notices
        stored = await self._store.get_manufacturer(manufacturer_id)
        if (stored is None and self._strict) or (stored is not None and stored.status != "active"):
            return False
        if self._notices == notices:
            self._active[manufacturer_id] = looked
            while len(self._active) > _CAPACITY:
                del self._active[next(iter(self._active))]
        return True

    def _changed(self, key: str) -> None:
        self._notices += 1
        if key == ALL:
            self._active.clear()
        else:
            self._active.pop(key, None)
