"""Attempt limits and lockout for wrong passwords and codes, which never lock out a trusted device.

The store counts (see :mod:`gatewright.storage.attempts`); here callers wait for their turn at a door, are
refused with the time to wait, and the one attempt that locks it makes an event and a message.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from gatewright import event_kinds
from gatewright._async import Turns, uninterrupted
from gatewright.clock import Clock, SystemClock
from gatewright.errors import AccountLockedError, RateLimitExceededError
from gatewright.events import EventSink, NullSink, Severity, event
from gatewright.records import Record
from gatewright.storage.attempts import AttemptDecision, AttemptPolicy, AttemptStore, Outcome

AT_ONCE = 4
"""Attempts of one process at one door at the same time; fewer than the first failures that cost no wait."""

_PATIENCE = (0.02,) * 10 + (0.05,) * 60
"""Seconds between two looks at a door where other processes check attempts; three seconds in all."""

WAITING = 256
"""Attempts that may wait for their turn at one door."""


class AttemptSubject(Record, frozen=True, kw_only=True):
    """Who is at a door, for events. An unknown address has no ids."""

    manufacturer_id: str | None = None
    account_id: str | None = None
    ip_address: str | None = None
    email: str | None = None


class Attempt:
    """One attempt that was let through. Set ``outcome`` once the secret was checked.

    Unset, it is not counted: whatever failed, was canceled or timed out before was a failure of the service, and it
    revealed nothing about the secret.
    """

    def __init__(self) -> None:
        self.outcome: Outcome = "neither"


LockListener = Callable[[AttemptSubject, float], Awaitable[None]]
"""Called once when a door locks, with the seconds until it opens again."""


class AttemptLimiter:
    """Limits attempts, by one policy for all lockout keys (*doors*) of a kind.

    Args:
        store: counts, for all processes together.
        on_lock: called when a lockout begins (to notify the owner).
    """

    def __init__(
        self,
        store: AttemptStore,
        *,
        policy: AttemptPolicy | None = None,
        sink: EventSink | None = None,
        clock: Clock | None = None,
        on_lock: LockListener | None = None,
    ) -> None:
        self.policy = policy or AttemptPolicy()
        self.on_lock = on_lock
        self._store = store
        self._sink = sink or NullSink()
        self._clock = clock or SystemClock()
        self._turns = Turns(AT_ONCE, WAITING, "Too many concurrent attempts. Wait and try again.")

    @asynccontextmanager
    async def attempt(self, door: str, visitor: AttemptSubject) -> AsyncIterator[Attempt]:
        """Check one secret at a door.

        Raises:
            RateLimitExceededError: it is too early after the last failure.
            AccountLockedError: the door is locked.
        """
        async with self._turns.turn(door):
            decision = await self._reserve(door)
            if not decision.allowed:
                await self._refuse(decision, door, visitor)
            attempt = Attempt()
            try:
                yield attempt
            finally:
                await uninterrupted(self._settle(door, attempt.outcome, visitor))

    async def _settle(self, door: str, outcome: Outcome, visitor: AttemptSubject) -> None:
        settled = await self._store.settle_attempt(door, self.policy, outcome, now=self._clock.now())
        if settled.newly_locked:
            await self._notify(settled, door, visitor)

    async def _reserve(self, door: str) -> AttemptDecision:
        """Reserve an attempt, after waiting for those that other processes are checking."""
        for wait in _PATIENCE:
            decision = await self._store.reserve_attempt(door, self.policy, now=self._clock.now())
            if not decision.busy:
                return decision
            await asyncio.sleep(wait)
        raise RateLimitExceededError("Too many concurrent attempts. Wait and try again.", retry_after=1)

    async def clear(self, door: str) -> None:
        """Forget a door's failures and lock."""
        await self._store.clear_attempts(door)

    async def _refuse(self, decision: AttemptDecision, door: str, visitor: AttemptSubject) -> None:
        if decision.newly_locked:
            await self._notify(decision, door, visitor)
        self._emit(event_kinds.AUTH_ATTEMPT_REFUSED, Severity.NOTICE, door, visitor, decision)
        if decision.locked:
            raise AccountLockedError(
                "Too many failed attempts. The account is temporarily locked.", retry_after=decision.retry_after
            )
        raise RateLimitExceededError(
            "Too many failed attempts in a row. Wait and try again.", retry_after=decision.retry_after
        )

    async def _notify(self, decision: AttemptDecision, door: str, visitor: AttemptSubject) -> None:
        self._emit(event_kinds.AUTH_ACCOUNT_LOCKED, Severity.HIGH, door, visitor, decision)
        if self.on_lock is not None:
            await self.on_lock(visitor, decision.retry_after)

    def _emit(
        self, kind: str, severity: Severity, door: str, visitor: AttemptSubject, decision: AttemptDecision
    ) -> None:
        self._sink.emit(
            event(
                kind,
                severity=severity,
                timestamp=self._clock.now(),
                manufacturer_id=visitor.manufacturer_id,
                account_id=visitor.account_id,
                ip_address=visitor.ip_address,
                door=door.rpartition(":")[0],
                locked=decision.locked,
                retry_after=round(decision.retry_after, 3),
            )
        )
