"""Attempt limits and lockout for wrong passwords and codes.

Attempts are counted in the store by lockout key (see :mod:`gatewright.storage.attempts`). A caller waits for a turn at
its key, or is refused with the time to wait. The attempt that begins a lockout emits an event and notifies the owner.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from gatewright import event_kinds
from gatewright._async import Turns, uninterrupted
from gatewright.clock import Clock, SystemClock
from gatewright.errors import AccountLockedError, RateLimitExceededError
from gatewright.events import EventSink, Severity, emitter
from gatewright.records import Record
from gatewright.storage.attempts import AttemptDecision, AttemptPolicy, AttemptStore, Outcome

AT_ONCE = 4
"""Concurrent attempts of one process at one key; fewer than the first failures that cost no wait."""

_RETRY_DELAYS = (0.02,) * 10 + (0.05,) * 60
"""Seconds between retries while other processes check attempts at the same key; about three seconds in total."""

WAITING = 256
"""Attempts that may wait for a turn at one key."""


class AttemptSubject(Record, frozen=True, kw_only=True):
    """Who makes an attempt, for events. An unknown email address has no ids."""

    manufacturer_id: str | None = None
    account_id: str | None = None
    ip_address: str | None = None
    email: str | None = None


class Attempt:
    """An attempt that may proceed. Set ``outcome`` once the secret was checked.

    An attempt without an outcome is not counted: it failed, was canceled or timed out before the check, which reveals
    nothing about the secret.
    """

    def __init__(self) -> None:
        self.outcome: Outcome = "neither"


LockListener = Callable[[AttemptSubject, float], Awaitable[None]]
"""Called once when a lockout begins, with its duration in seconds."""


class AttemptLimiter:
    """Limits attempts by lockout key, with one policy.

    Args:
        store: counts attempts for all processes.
        on_lock: called when a lockout begins, to notify the owner.
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
        self._policy = policy or AttemptPolicy()
        self._on_lock = on_lock
        self._store = store
        self._clock = clock or SystemClock()
        self._emit = emitter(sink, self._clock)
        self._turns = Turns(AT_ONCE, WAITING, "Too many concurrent attempts. Wait and try again.")

    @asynccontextmanager
    async def attempt(self, key: str, subject: AttemptSubject) -> AsyncIterator[Attempt]:
        """Check one secret at a lockout key.

        Raises:
            RateLimitExceededError: the last failure was too recent.
            AccountLockedError: the key is locked.
        """
        async with self._turns.turn(key):
            decision = await self._reserve(key)
            if not decision.allowed:
                await self._refuse(decision, key, subject)
            attempt = Attempt()
            try:
                yield attempt
            finally:
                await uninterrupted(self._settle(key, attempt.outcome, subject))

    async def clear(self, key: str) -> None:
        """Reset a key: its failures and its lockout."""
        await self._store.clear_attempts(key)

    async def _reserve(self, key: str) -> AttemptDecision:
        """Reserve an attempt, after waiting for those that other processes are checking."""
        for delay in _RETRY_DELAYS:
            decision = await self._store.reserve_attempt(key, self._policy, now=self._clock.now())
            if not decision.busy:
                return decision
            await asyncio.sleep(delay)
        raise RateLimitExceededError("Too many concurrent attempts. Wait and try again.", retry_after=1)

    async def _settle(self, key: str, outcome: Outcome, subject: AttemptSubject) -> None:
        decision = await self._store.settle_attempt(key, self._policy, outcome, now=self._clock.now())
        if decision.newly_locked:
            await self._lockout_began(decision, key, subject)

    async def _refuse(self, decision: AttemptDecision, key: str, subject: AttemptSubject) -> None:
        if decision.newly_locked:
            await self._lockout_began(decision, key, subject)
        self._emit(event_kinds.AUTH_ATTEMPT_REFUSED, Severity.NOTICE, **_event_fields(decision, key, subject))
        if decision.locked:
            raise AccountLockedError(
                "Too many failed attempts. The account is temporarily locked.", retry_after=decision.retry_after
            )
        raise RateLimitExceededError(
            "Too many failed attempts in a row. Wait and try again.", retry_after=decision.retry_after
        )

    async def _lockout_began(self, decision: AttemptDecision, key: str, subject: AttemptSubject) -> None:
        self._emit(event_kinds.AUTH_ACCOUNT_LOCKED, Severity.HIGH, **_event_fields(decision, key, subject))
        if self._on_lock is not None:
            await self._on_lock(subject, decision.retry_after)


def _event_fields(decision: AttemptDecision, key: str, subject: AttemptSubject) -> dict[str, object]:
    return {
        "manufacturer_id": subject.manufacturer_id,
        "account_id": subject.account_id,
        "ip_address": subject.ip_address,
        "door": key.rpartition(":")[0],
        "locked": decision.locked,
        "retry_after": round(decision.retry_after, 3),
    }
