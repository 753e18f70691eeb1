"""The storage protocol of throttles, lockout and one-time tokens, each an atomic operation.

The whole state of a throttle is one number, the theoretical arrival time (TAT): when the bucket would be
empty again. A cell is allowed when it does not come earlier than TAT minus the burst. So a cache or a store
keeps one float for each key and decides in one atomic step.

A *door* is one way to one account: the password from anywhere, the password from one trusted device, a code.
Each has its own count, so that failing on purpose at one never closes another. An attempt is recorded before the
secret is checked; so however many come at once, no more than the policy allows are ever checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, Protocol

from msgspec.structs import replace

from gatewright.clock import CLOCK_SKEW
from gatewright.records import Record


class Rate(Record, frozen=True, kw_only=True):
    """``limit`` cells in ``period`` seconds, all of which may come at once."""

    limit: int
    period: float

    @property
    def interval(self) -> float:
        """Seconds between two cells at the steady rate."""
        return self.period / self.limit


class ThrottleResult(Record, frozen=True, kw_only=True):
    """What a throttle decided. Times are in seconds; ``remaining`` counts whole cells."""

    allowed: bool
    limit: int
    remaining: int
    retry_after: float
    reset_after: float


class Throttle(Protocol):
    """Counts cells by key: a cache, or a store where several processes share only that."""

    async def throttle(self, key: str, rate: Rate, *, cost: int = 1) -> ThrottleResult:
        """Take ``cost`` cells of ``key``, all or none; ``cost=0`` only looks."""
        ...

    async def clear_throttle(self, key: str) -> None:
        """Forget what ``key`` took."""
        ...


def decide(tat: float | None, now: float, rate: Rate, cost: int) -> tuple[ThrottleResult, float]:
    """The decision for a stored TAT, and the TAT to store (unchanged when refused or only read)."""
    interval = rate.period / rate.limit
    current = max(tat if tat is not None else now, now)
    following = current + interval * max(cost, 0)
    allowed = following - now <= rate.period + 1e-9 if cost else current + interval - now <= rate.period + 1e-9
    kept = following if allowed else current
    room = rate.period - (kept - now)
    wanted = interval * max(cost, 1)
    return (
        ThrottleResult(
            allowed=allowed,
            limit=rate.limit,
            remaining=max(0, int(room / interval + 1e-6)),
            retry_after=0.0 if allowed else max(0.0, current + wanted - now - rate.period),
            reset_after=max(0.0, kept - now),
        ),
        kept,
    )


class OneTimeSecret(Record, frozen=True, kw_only=True):
    """Something that may succeed once.

    ``key`` is the keyed hash of what the person holds, never that itself. ``purpose`` keeps the kinds apart,
    ``subject`` says whose it is (an account id, or a hash of an address), ``data`` holds plain JSON values
    without secrets in plaintext.
    """

    key: str
    purpose: str
    subject: str
    data: Mapping[str, Any]
    attempts: int = 0
    created_at: datetime
    expires_at: datetime


class OneTimeStore(Protocol):
    """Keeps secrets until they succeed or expire.

    A secret that was made more than ``CLOCK_SKEW`` seconds in the future counts as expired: the clock was set back,
    and it would live longer than it should.
    """

    async def put_one_time(self, secret: OneTimeSecret) -> None:
        """Keep a secret; expired ones are cleared away in passing."""
        ...

    async def get_one_time(self, purpose: str, key: str, *, now: datetime) -> OneTimeSecret | None:
        """The secret, unless it is used, expired or of another purpose."""
        ...

    async def attempt_one_time(self, purpose: str, key: str, *, now: datetime, limit: int) -> OneTimeSecret | None:
        """As :meth:`get_one_time`, counting one attempt; None once ``limit`` attempts were counted."""
        ...

    async def take_one_time(self, purpose: str, key: str, *, now: datetime) -> OneTimeSecret | None:
        """Use the secret up: exactly one of several callers gets it."""
        ...

    async def drop_one_time(self, purpose: str, subject: str) -> int:
        """Forget all secrets of a purpose and subject; returns how many."""
        ...

    async def list_one_time(self, purpose: str, *, after: str = "", limit: int = 100) -> list[OneTimeSecret]:
        """Secrets of a purpose in the order of their keys, those after ``after``; expired ones too."""
        ...

    async def replace_one_time(
        self, purpose: str, key: str, *, expected: Mapping[str, Any], data: Mapping[str, Any]
    ) -> bool:
        """Replace ``expected`` by ``data`` (compare-and-set); False if the stored value has changed."""
        ...


Outcome = Literal["right", "wrong", "neither"]
"""``right`` opens the door and forgets; ``wrong`` is counted; ``neither`` is as if it had not been."""


class AttemptPolicy(Record, frozen=True, kw_only=True):
    """How a door slows down and closes. Times in seconds.

    The first ``free`` failures cost no wait; then each doubles it, from ``first_delay``. At ``limit`` the door
    is locked for ``lock``, twice as long each time up to ``longest_lock``. Failures are forgotten after
    ``memory`` without an attempt, the number of locks after ``lock_memory``. Once a door has been locked,
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
        """How many failures lock a door that was locked so many times before."""
        return self.limit if self.relock is None or not locks else min(self.relock, self.limit)


class LockoutState(Record, frozen=True, kw_only=True):
    """What is kept of one door; times in seconds since the epoch.

    ``pending`` attempts are being checked, the latest since ``pending_at``; ``refused`` counts those that came
    too early and were not even checked.
    """

    failures: int = 0
    pending: int = 0
    refused: int = 0
    last_at: float = 0.0
    pending_at: float = 0.0
    locked_until: float = 0.0
    locks: int = 0


class AttemptDecision(Record, frozen=True, kw_only=True):
    """Whether an attempt may be checked. ``busy``: not before those that are being checked have ended.
    ``newly_locked`` is true for the one that closed the door."""

    allowed: bool
    busy: bool = False
    locked: bool = False
    newly_locked: bool = False
    failures: int = 0
    retry_after: float = 0.0


class AttemptStore(Protocol):
    """Counts attempts, each step atomic across processes."""

    async def reserve_attempt(self, door: str, policy: AttemptPolicy, *, now: datetime) -> AttemptDecision:
        """Note one attempt as being checked, if the door lets it through.

        A locked or busy door writes nothing, except when the clock was set back since it was locked: the lock is
        then cut to its configured length from now.
        """
        ...

    async def settle_attempt(
        self, door: str, policy: AttemptPolicy, outcome: Outcome, *, now: datetime
    ) -> AttemptDecision:
        """Say how a reserved attempt ended; a last wrong one locks the door."""
        ...

    async def clear_attempts(self, door: str) -> None:
        """Forget all about a door."""
        ...

    async def count_distinct(self, topic: str, member: str, *, now: datetime, window: float) -> int:
        """Note ``member`` under ``topic``; how many different ones were noted within ``window`` seconds.

        Counting stops at 1,000: a topic costs no more than that, whatever comes.
        """
        ...


DISTINCT_LIMIT = 1_000


PENDING_SECONDS = 60.0
"""Seconds after which an attempt that was never settled is dropped. No caller saw its outcome, since answers
wait for the settlement, so it is a failure of the service and not a guess."""


def reserve(
    state: LockoutState | None, policy: AttemptPolicy, now: float
) -> tuple[AttemptDecision, LockoutState | None]:
    """The decision for a stored state, and the state to store (None: leave it as it is)."""
    known = _aged(state or LockoutState(), policy, now)
    if known.locked_until > now:
        bounded = known if state is not None and known.locked_until < state.locked_until else None
        return AttemptDecision(allowed=False, locked=True, retry_after=known.locked_until - now), bounded
    limit = policy.limit_after(known.locks)
    free = min(policy.free, limit)
    if known.failures >= limit:
        return _lock(known, policy, now)
    over = known.failures - free
    wait = known.last_at + policy.first_delay * 2.0**over - now if over >= 0 else 0.0
    if wait > 0:
        pressed = replace(known, refused=known.refused + 1)
        if pressed.failures + pressed.refused >= limit:
            return _lock(pressed, policy, now)
        return AttemptDecision(allowed=False, failures=known.failures, retry_after=wait), pressed
    # Each of those that are being checked may fail: no more at once than could all fail without a wait.
    if known.pending and (over >= 0 or known.failures + known.pending >= free):
        return AttemptDecision(allowed=False, busy=True, failures=known.failures), None
    taken = replace(known, pending=known.pending + 1, pending_at=now)
    return AttemptDecision(allowed=True, failures=taken.failures), taken


def settle(
    state: LockoutState | None, policy: AttemptPolicy, outcome: Outcome, now: float
) -> tuple[AttemptDecision, LockoutState]:
    """The state after a reserved attempt ended; an empty one may be forgotten."""
    known = state or LockoutState(pending=1)
    ended = replace(known, pending=max(0, known.pending - 1))
    if outcome == "right":
        return AttemptDecision(allowed=True), LockoutState(pending=ended.pending, pending_at=ended.pending_at)
    if outcome == "neither":
        return AttemptDecision(allowed=True, failures=ended.failures), ended
    failed = replace(ended, failures=ended.failures + 1, last_at=now)
    if failed.failures >= policy.limit_after(failed.locks) and failed.locked_until <= now:
        return _lock(failed, policy, now)
    return AttemptDecision(allowed=True, failures=failed.failures), failed


def _aged(state: LockoutState, policy: AttemptPolicy, now: float) -> LockoutState:
    state = _without_future(state, policy, now)
    if state.pending and now - state.pending_at >= PENDING_SECONDS:
        state = replace(state, pending=0)
    last = max(state.last_at, state.locked_until)
    if state.locks and now - last > policy.lock_memory:
        return LockoutState(pending=state.pending, pending_at=state.pending_at)
    if (state.locked_until and state.locked_until <= now) or now - last >= policy.memory:
        return replace(state, failures=0, refused=0, locked_until=0.0, last_at=last if state.locks else 0.0)
    return state


def _without_future(state: LockoutState, policy: AttemptPolicy, now: float) -> LockoutState:
    """The state with no time that lies ahead of a clock that was set back.

    A lock ends after its configured length from now at the latest. A failure that lies further ahead than clocks of
    hosts may differ is taken for one whose delay has been waited out.
    """
    longest_delay = policy.first_delay * 2.0 ** max(0, policy.limit - policy.free)
    return replace(
        state,
        last_at=min(state.last_at, now) if state.last_at <= now + CLOCK_SKEW else now - longest_delay,
        pending_at=min(state.pending_at, now),
        locked_until=min(state.locked_until, now + _lock_seconds(policy, max(0, state.locks - 1))),
    )


def _lock_seconds(policy: AttemptPolicy, locks: int) -> float:
    """How long a door is locked after ``locks`` earlier locks."""
    return min(policy.lock * 2.0 ** min(locks, 30), policy.longest_lock)


def _lock(state: LockoutState, policy: AttemptPolicy, now: float) -> tuple[AttemptDecision, LockoutState]:
    seconds = _lock_seconds(policy, state.locks)
    decision = AttemptDecision(
        allowed=False, locked=True, newly_locked=True, failures=state.failures, retry_after=seconds
    )
    return decision, replace(state, locked_until=now + seconds, locks=state.locks + 1)
