"""GCRA: the generic cell rate algorithm, the one throttle of the house (ITU-T I.371).

The whole state of a throttle is one number, the theoretical arrival time (TAT): when the bucket would be
empty again. A cell is allowed when it does not come earlier than TAT minus the burst. So a cache or a store
keeps one float for each key and decides in one atomic step.
"""

from __future__ import annotations

from typing import Protocol

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
    """The decision for a stored TAT, and the TAT to store (unchanged when refused or only looked at)."""
    interval = rate.interval
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
