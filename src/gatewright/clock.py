"""Clocks: the single source of time, which tests control."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

CLOCK_SKEW = 60.0
"""Tolerated clock skew between hosts, in seconds. A later timestamp comes from a wrong clock."""


class Clock(Protocol):
    """A source of time."""

    def now(self) -> datetime:
        """The wall-clock time as an aware UTC datetime. Used for expiry."""
        ...

    def timestamp(self) -> float:
        """The wall-clock time in seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Monotonic time in seconds. Used for throttles and caches within a process."""
        ...


class SystemClock:
    """The system clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def timestamp(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


class ManualClock:
    """A clock that moves only when it is advanced, for tests.

    Args:
        start: the initial time, aware. Defaults to now.
    """

    def __init__(self, start: datetime | None = None) -> None:
        self._now = (start or datetime.now(UTC)).astimezone(UTC)
        self._monotonic = 1_000.0

    def now(self) -> datetime:
        return self._now

    def timestamp(self) -> float:
        return self._now.timestamp()

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float = 0.0, **parts: float) -> None:
        """Move forward by ``seconds`` and other ``timedelta`` arguments (``days=1``)."""
        step = timedelta(seconds=seconds, **parts)
        self._now += step
        self._monotonic += step.total_seconds()

    def set(self, moment: datetime) -> None:
        """Set the wall clock, as an operator or NTP may. Monotonic time is unchanged."""
        self._now = moment.astimezone(UTC)


def to_utc(moment: datetime) -> datetime | None:
    """Convert an aware time to UTC. Returns None if the result falls outside the years 1 to 9999."""
    try:
        return moment.astimezone(UTC)
    except (OverflowError, ValueError):
        return None
