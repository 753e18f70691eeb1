"""Clock: the one source of time, so that tests can turn it by hand."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

CLOCK_SKEW = 60.0
"""Seconds by which the clocks of hosts may differ. What is dated further ahead than that was dated by a wrong clock."""


class Clock(Protocol):
    """What the domains ask for the time."""

    def now(self) -> datetime:
        """The wall time, aware, in UTC. Expiry uses this."""
        ...

    def timestamp(self) -> float:
        """The wall time in seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards. Throttles in one process use this."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def timestamp(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


class ManualClock:
    """A clock that stands still until it is turned; for tests.

    Args:
        start: where it stands at first, aware; the present when missing.
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
        """Turn the clock forward by ``seconds`` and ``timedelta`` parts (``days=1``)."""
        step = timedelta(seconds=seconds, **parts)
        self._now += step
        self._monotonic += step.total_seconds()

    def set(self, moment: datetime) -> None:
        """Jump the wall time, as a machine's clock may; the monotonic time stays."""
        self._now = moment.astimezone(UTC)


def to_utc(moment: datetime) -> datetime | None:
    """An aware time in UTC; None for one whose UTC falls outside the years 1 to 9999."""
    try:
        return moment.astimezone(UTC)
    except (OverflowError, ValueError):
        return None
