"""Usage: counters that no concurrency can overrun, and the days and refusals that insights are made of."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Protocol

from gatewright.records import Record


class UsageTake(Record, frozen=True, kw_only=True):
    """Units of one resource. They count in ``bucket`` (a UTC day, or less for a rolling window); what counts
    towards ``limit`` are all buckets from ``since`` on. Both in epoch seconds; a limit of -1 is none."""

    resource: str
    amount: int
    limit: int
    bucket: int
    since: int


class TakeOutcome(Record, frozen=True, kw_only=True):
    """Whether all was taken, and what is used of each resource now; ``refused`` is the first that had no room."""

    granted: bool
    used: tuple[int, ...]
    refused: str | None = None


class StoredUsage(Record, frozen=True, kw_only=True):
    """What was used of a resource in a bucket (epoch seconds of its start)."""

    resource: str
    start: int
    used: int


class OverageAttempt(Record, frozen=True, kw_only=True):
    """``amount`` units that were asked for over a limit, and what for."""

    manufacturer_id: str
    resource: str
    amount: int
    current: int
    limit: int
    operation_context: str = ""
    timestamp: datetime


class UsageStore(Protocol):
    """Counters of usage."""

    async def take_usage(
        self, manufacturer_id: str, takes: tuple[UsageTake, ...], at: datetime, *, operation_context: str = ""
    ) -> TakeOutcome:
        """Take all or nothing, atomically across processes; a refusal is kept as an overage attempt."""
        ...

    async def read_usage(self, manufacturer_id: str, takes: tuple[UsageTake, ...]) -> tuple[int, ...]:
        """What is used of each, by its ``since``."""
        ...

    async def refund_usage(self, manufacturer_id: str, take: UsageTake, at: datetime) -> int:
        """Give units back to ``take.bucket`` and then to those before it, as far as ``since`` and never below
        zero; what is used now."""
        ...

    async def reset_usage(self, manufacturer_id: str | None, resources: Collection[str], *, since: int) -> int:
        """Begin anew in buckets from ``since`` on, of one manufacturer or of all; how many counters were not zero."""
        ...

    async def usage_history(self, manufacturer_id: str, *, since: int = 0) -> list[StoredUsage]:
        """All buckets from ``since`` on, oldest first, what was reset included."""
        ...

    async def overage_attempts(self, manufacturer_id: str, *, since: datetime) -> list[OverageAttempt]:
        """Refusals, newest first, a thousand at the most."""
        ...
