"""Adjustments: applied suggestions, which end by themselves or are rolled back to exactly the previous state."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from gatewright import event_kinds
from gatewright.clock import Clock
from gatewright.events import EventSink, Severity, emitter
from gatewright.storage.protocol import Store
from gatewright.storage.usage import StoredAdjustment

_ENDED = {
    "expired": event_kinds.RBAC_SUGGESTION_EXPIRED,
    "rolled_back": event_kinds.RBAC_SUGGESTION_ROLLED_BACK,
}


class Adjustments:
    """Ends adjustments, and emits their events."""

    def __init__(self, store: Store, sink: EventSink, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._emit = emitter(sink, clock)

    async def end_due(self, manufacturer_id: str) -> float | None:
        """End what is due in a manufacturer, and return when the next one ends (seconds since the epoch)."""
        following: float | None = None
        for adjustment in await self._store.list_adjustments(manufacturer_id, status="applied"):
            if adjustment.kind != "tier" or adjustment.until is None:
                continue  # grants and restrictions end by themselves
            if adjustment.until <= self._clock.now():
                await self.end(adjustment, "expired", None)
            else:
                ends = adjustment.until.timestamp()
                following = ends if following is None else min(following, ends)
        return following

    async def end(
        self,
        adjustment: StoredAdjustment,
        status: str,
        author: str | None,
        *,
        revoke: Callable[..., Awaitable[Any]] | None = None,
    ) -> StoredAdjustment | None:
        """End an adjustment, and restore what it replaced. Returns None if it was not in force.

        Args:
            status: ``expired`` or ``rolled_back``.
            revoke: revokes the grant of an adjustment that granted or restricted a permission.
        """
        ended = msgspec.structs.replace(adjustment, status=status, changed_at=self._clock.now())
        if not await self._store.change_adjustment(ended, expected="applied"):
            return None
        if adjustment.kind == "tier":
            await self._store.replace_tier(
                adjustment.manufacturer_id, expected=adjustment.subject, tier=adjustment.former
            )
        elif adjustment.grant_id is not None and revoke is not None:
            await revoke(adjustment.grant_id, None, author=author)
        self.emit(_ENDED[status], ended, author)
        return ended

    def emit(self, kind: str, adjustment: StoredAdjustment, author: str | None) -> None:
        """Emit an event about an adjustment."""
        self._emit(
            kind,
            Severity.NOTICE,
            manufacturer_id=adjustment.manufacturer_id,
            actor=author,
            suggestion_id=adjustment.suggestion_id,
            change=adjustment.kind,
            before=adjustment.former,
            after=adjustment.subject,
            until=None if adjustment.until is None else adjustment.until.isoformat(),
        )
