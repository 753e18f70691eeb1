"""The storage protocol of throttles, lockout and one-time tokens.

Throttles use GCRA. The state of a throttle is a single number, the theoretical arrival time (TAT) at which the
bucket is empty again. A request is allowed unless it arrives earlier than TAT minus the burst, so a cache or a
store keeps one float per key and decides in one atomic step.

Lockout counts attempts per *key*: one way to sign in to one account, such as the password from any device, the
password from one trusted device, or a one-time code. Each key has its own counter, so deliberate failures against
one never lock another. Attempts are recorded before the secret is checked, which caps the number of checks at what
the policy allows, no matter how many requests arrive concurrently.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, Protocol

from msgspec.structs import replace

from gatewright.clock import CLOCK_SKEW
from gatewright.records import Record


class Rate(Record, frozen=True, kw_only=True):
    """A rate of ``limit`` units per ``period`` seconds; the burst may use all of them at once."""

    limit: int
    period: float

    @property
    def interval(self) -> float:
        """Seconds between two units at the steady rate."""
        return self.period / self.limit


class ThrottleResult(Record, frozen=True, kw_only=True):
    """The decision of a throttle. Times are in seconds; ``remaining`` counts whole units."""

    allowed: bool
    limit: int
    remaining: int
    retry_after: float
    reset_after: float


class Throttle(Protocol):
    """Rate limiting by key, in a cache, or in the store if processes share no cache."""

    async def throttle(self, key: str, rate: Rate, *, cost: int = 1) -> ThrottleResult:
        """Take ``cost`` units from ``key``, all or none; ``cost=0`` reads without taking."""
        ...

    async def clear_throttle(self, key: str) -> None:
        """Reset ``key`` to its full allowance."""
        ...


def decide(tat: float | None, now: float, rate: Rate, cost: int) -> tuple[ThrottleResult, float]:
    """Return the decision for a stored TAT and the TAT to store (unchanged if refused or only read)."""
    interval = rate.period / rate.limit
    current = max(tat if tat is not None else now, now)
    next_tat = current + interval * max(cost, 0)
    allowed = next_tat - now <= rate.period + 1e-9 if cost else current + interval - now <= rate.period + 1e-9
    stored_tat = next_tat if allowed else current
    available = rate.period - (stored_tat - now)
    requested = interval * max(cost, 1)
    return (
        ThrottleResult(
            allowed=allowed,
            limit=rate.limit,
            remaining=max(0, int(available / interval + 1e-6)),
            retry_after=0.0 if allowed else max(0.0, current + requested - now - rate.period),
            reset_after=max(0.0, stored_tat - now),
        ),
        stored_tat,
    )


class OneTimeSecret(Record, frozen=True, kw_only=True):
    """A secret that can be used once.

    ``key`` is a keyed hash of the secret, never the secret itself. ``purpose`` separates kinds of secrets,
    ``subject`` identifies the owner (an account id, or a hash of an address), and ``data`` contains plain JSON
    values, with no secrets in plaintext.
    """

    key: str
    purpose: str
    subject: str
    data: Mapping[str, Any]
    attempts: int = 0
    created_at: datetime
    expires_at: datetime


class OneTimeStore(Protocol):
    """Stores one-time secrets until they are used or expire.

    A secret created more than ``CLOCK_SKEW`` seconds in the future counts as expired: the clock was set back, and
    the secret would otherwise outlive its lifetime.
    """

    async def put_one_time(self, secret: OneTimeSecret) -> None:
        """Store a secret, and delete a few expired ones."""
        ...

    async def get_one_time(self, purpose: str, key: str, *, now: datetime) -> OneTimeSecret | None:
        """Return the secret, or None if it was used, has expired or has another purpose."""
        ...

    async def attempt_one_time(self, purpose: str, key: str, *, now: datetime, limit: int) -> OneTimeSecret | None:
        """Like :meth:`get_one_time`, but count an attempt; None once ``limit`` attempts have been made."""
        ...

    async def take_one_time(self, purpose: str, key: str, *, now: datetime) -> OneTimeSecret | None:
        """Consume the secret: exactly one of several concurrent callers gets it."""
        ...

    async def drop_one_time(self, purpose: str, subject: str) -> int:
        """Delete all secrets with this purpose and subject, and return their number."""
        ...

    async def list_one_time(self, purpose: str, *, after: str = "", limit: int = 100) -> list[OneTimeSecret]:
        """List secrets with this purpose and a key above ``after``, ordered by key; includes expired ones."""
        ...

    async def replace_one_time(
        self, purpose: str, key: str, *, expected: Mapping[str, Any], data: Mapping[str, Any]
    ) -> bool:
        """Replace ``expected`` with ``data`` (compare-and-set); False if the stored value has changed."""
        ...


Outcome = Literal["right", "wrong", "neither"]
"""``right`` resets the counter, ``wrong`` counts as a failure, ``neither`` discards the attempt."""


class AttemptPolicy(Record, frozen=True, kw_only=True):
    """Backoff and lockout settings of an attempt counter. Times are in seconds.

    The first ``free`` failures cause no delay. Each further failure doubles the delay, starting at ``first_delay``.
    At ``limit`` failures the key is locked for ``lock``, doubled with each lock up to ``longest_lock``. Failures are
    reset after ``memory`` without an attempt, the number of locks after ``lock_memory``. Once a key has been locked,
    ``relock`` failures lock it again (None: ``limit``).
    """

    free: int = 5
    limit: int = 10
    first_delay: float = 1.0
    lock: float = 900.0
    longest_lock: float = 86_400.0
    memory: float = 3_600.0
    lock_memory: float = 86_400.0 * 2
    relock: int | None = None

    def limit_after(self, locks: int) -> int:
        """Return how many failures lock a key that has been locked ``locks`` times."""
        return self.limit if self.relock is None or not locks else min(self.relock, self.limit)


class LockoutState(Record, frozen=True, kw_only=True):
    """The attempt counter of one key; times are in seconds since the epoch.

    ``pending`` attempts are being checked, the latest since ``pending_at``. ``refused`` counts attempts that arrived
    during a delay and were never checked.
    """

    failures: int = 0
    pending: int = 0
    refused: int = 0
    last_at: float = 0.0
    pending_at: float = 0.0
    locked_until: float = 0.0
    locks: int = 0


class AttemptDecision(Record, frozen=True, kw_only=True):
    """Whether an attempt may be checked. ``busy``: not until pending attempts are settled. ``newly_locked`` is set
    for the attempt that caused the lock."""

    allowed: bool
    busy: bool = False
    locked: bool = False
    newly_locked: bool = False
    failures: int = 0
    retry_after: float = 0.0


class AttemptStore(Protocol):
    """Attempt counters; each operation is atomic across processes."""

    async def reserve_attempt(self, key: str, policy: AttemptPolicy, *, now: datetime) -> AttemptDecision:
        """Record an attempt as pending if the policy allows it.

        Writes nothing while the key is locked or busy, unless the clock was set back since it was locked: the lock
        is then shortened to its configured length from now.
        """
        ...

    async def settle_attempt(
        self, key: str, policy: AttemptPolicy, outcome: Outcome, *, now: datetime
    ) -> AttemptDecision:
        """Record the outcome of a reserved attempt; the failure that reaches the limit locks the key."""
        ...

    async def clear_attempts(self, key: str) -> None:
        """Delete the counter of a key."""
        ...

    async def count_distinct(self, topic: str, member: str, *, now: datetime, window: float) -> int:
        """Record ``member`` under ``topic``, and return how many distinct members were seen in ``window`` seconds.

        Counting stops at 1,000, which bounds the cost of a topic.
        """
        ...


DISTINCT_LIMIT = 1_000
"""Distinct members counted per topic at most."""

PENDING_SECONDS = 60.0
"""Seconds after which an unsettled attempt is dropped. Responses wait for the settlement, so no caller saw its
outcome: it was a failure of the service, not a guess."""


def reserve(
    state: LockoutState | None, policy: AttemptPolicy, now: float
) -> tuple[AttemptDecision, LockoutState | None]:
    """Return the decision for a stored state and the state to store (None: leave it unchanged)."""
    current = _expire(state or LockoutState(), policy, now)
    if current.locked_until > now:
        shortened = current if state is not None and current.locked_until < state.locked_until else None
        return AttemptDecision(allowed=False, locked=True, retry_after=current.locked_until - now), shortened
    limit = policy.limit_after(current.locks)
    free = min(policy.free, limit)
    if current.failures >= limit:
        return _lock(current, policy, now)
    over = current.failures - free
    wait = current.last_at + policy.first_delay * 2.0**over - now if over >= 0 else 0.0
    if wait > 0:
        refused = replace(current, refused=current.refused + 1)
        if refused.failures + refused.refused >= limit:
            return _lock(refused, policy, now)
        return AttemptDecision(allowed=False, failures=current.failures, retry_after=wait), refused
    # Every pending attempt may fail: allow no more at once than could all fail without a delay.
    if current.pending and (over >= 0 or current.failures + current.pending >= free):
        return AttemptDecision(allowed=False, busy=True, failures=current.failures), None
    reserved = replace(current, pending=current.pending + 1, pending_at=now)
    return AttemptDecision(allowed=True, failures=reserved.failures), reserved


def settle(
    state: LockoutState | None, policy: AttemptPolicy, outcome: Outcome, now: float
) -> tuple[AttemptDecision, LockoutState]:
    """Return the decision and the state after a reserved attempt; an empty state may be deleted."""
    reserved = state or LockoutState(pending=1)
    settled = replace(reserved, pending=max(0, reserved.pending - 1))
    if outcome == "right":
        return AttemptDecision(allowed=True), LockoutState(pending=settled.pending, pending_at=settled.pending_at)
    if outcome == "neither":
        return AttemptDecision(allowed=True, failures=settled.failures), settled
    failed = replace(settled, failures=settled.failures + 1, last_at=now)
    if failed.failures >= policy.limit_after(failed.locks) and failed.locked_until <= now:
        return _lock(failed, policy, now)
    return AttemptDecision(allowed=True, failures=failed.failures), failed


def _expire(state: LockoutState, policy: AttemptPolicy, now: float) -> LockoutState:
    state = _clamp_to_now(state, policy, now)
    if state.pending and now - state.pending_at >= PENDING_SECONDS:
        state = replace(state, pending=0)
    last = max(state.last_at, state.locked_until)
    if state.locks and now - last > policy.lock_memory:
        return LockoutState(pending=state.pending, pending_at=state.pending_at)
    if (state.locked_until and state.locked_until <= now) or now - last >= policy.memory:
        return replace(state, failures=0, refused=0, locked_until=0.0, last_at=last if state.locks else 0.0)
    return state


def _clamp_to_now(state: LockoutState, policy: AttemptPolicy, now: float) -> LockoutState:
    """Return the state without times in the future, which remain if the clock was set back.

    A lock ends no later than its configured length from now. A failure further ahead than ``CLOCK_SKEW`` counts as
    one with an elapsed delay.
    """
    longest_delay = policy.first_delay * 2.0 ** max(0, policy.limit - policy.free)
    return replace(
        state,
        last_at=min(state.last_at, now) if state.last_at <= now + CLOCK_SKEW else now - longest_delay,
        pending_at=min(state.pending_at, now),
        locked_until=min(state.locked_until, now + _lock_seconds(policy, max(0, state.locks - 1))),
    )


def _lock_seconds(policy: AttemptPolicy, locks: int) -> float:
    """Return how long a key stays locked after ``locks`` earlier locks."""
    return min(policy.lock * 2.0 ** min(locks, 30), policy.longest_lock)


def _lock(state: LockoutState, policy: AttemptPolicy, now: float) -> tuple[AttemptDecision, LockoutState]:
    seconds = _lock_seconds(policy, state.locks)
    decision = AttemptDecision(
        allowed=False, locked=True, newly_locked=True, failures=state.failures, retry_after=seconds
    )
    return decision, replace(state, locked_until=now + seconds, locks=state.locks + 1)
