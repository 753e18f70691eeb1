"""The storage protocol of usage counters, leases and adjustments, exact under concurrency.

What is spent of a slice is written where it outlives the process, before any caller is told that it was granted. So
when a process is killed, what it granted stays counted, and what it still held comes back when the lease ends.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Protocol

from gatewright.records import Record


class UsageTake(Record, frozen=True, kw_only=True):
    """Units of one resource. They count in ``bucket`` (a UTC day, or less for a rolling window); what counts
    towards ``limit`` are all buckets from ``since`` on. Both in epoch seconds; a limit of -1 means unlimited."""

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
        """Begin again in buckets from ``since`` on, of one manufacturer or of all; how many counters were not zero."""
        ...

    async def usage_history(self, manufacturer_id: str, *, since: int = 0) -> list[StoredUsage]:
        """All buckets from ``since`` on, oldest first, what was reset included."""
        ...

    async def overage_attempts(self, manufacturer_id: str, *, since: datetime) -> list[OverageAttempt]:
        """Refusals, newest first, a thousand at most."""
        ...


SHARE = 2
"""A lease is at most one part in so many of the remaining units, so that leases shrink towards the limit."""
SMALLEST = 16
"""Smallest lease, as long as there are as many units: near the limit, every lease is a write."""


class Numbers(Protocol):
    """Integers by position."""

    def __getitem__(self, slot: int, /) -> int: ...

    def __setitem__(self, slot: int, value: int, /) -> None: ...


class LeasedUnits:
    """Units leased by one process.

    Args:
        lease_id: the id of the lease in the store.
        take: where the units were counted. Its ``amount`` is the size of the lease.
        spent: the spent units are recorded in ``spent[slot]``.
    """

    __slots__ = ("_spent", "lease_id", "left", "manufacturer_id", "slot", "take")

    def __init__(self, lease_id: int, manufacturer_id: str, take: UsageTake, spent: Numbers, slot: int) -> None:
        self.lease_id = lease_id
        self.manufacturer_id = manufacturer_id
        self.take = take
        self.left = take.amount
        self._spent = spent
        self.slot = slot

    def spend(self, amount: int) -> bool:
        """Spend ``amount`` units, all or none."""
        left = self.left - amount
        if left < 0:
            return False
        self._spent[self.slot] = self.take.amount - left
        self.left = left
        return True

    def freeze(self) -> None:
        """Refuse further spending, as the lease is about to be returned."""
        self.left = 0


class Leased(Record, frozen=True, kw_only=True):
    """The usage after a lease, including its ``units``, which are None if there were not enough, or leases are not
    possible. ``elsewhere`` counts unspent units of other processes."""

    used: int
    units: LeasedUnits | None = None
    elsewhere: int = 0


class LeaseStore(Protocol):
    """Leases of quota units."""

    async def lease_usage(
        self,
        manufacturer_id: str,
        take: UsageTake,
        most: int,
        *,
        at: datetime,
        until: datetime,
        former: LeasedUnits | None,
    ) -> Leased:
        """Lease at least ``take.amount`` and up to ``most`` units until ``until``, and count them as used.

        ``former`` (frozen) is returned in the same step.
        """
        ...

    async def end_lease(self, piece: LeasedUnits) -> None:
        """Give back what was not spent of a slice (frozen); ending it again changes nothing."""
        ...

    async def unspent_usage(self, manufacturer_id: str, take: UsageTake) -> int:
        """Units from ``take.since`` on that count as used but are not spent yet."""
        ...

    async def reclaim_leases(self, at: datetime) -> int:
        """Give back what killed processes held in leases that have ended; how many there were."""
        ...


class StoredAdjustment(Record, frozen=True, kw_only=True):
    """One suggestion and its fate.

    ``kind`` is ``tier``, ``grant`` or ``restrict``, ``subject`` the tier or permission. ``status`` goes from
    ``proposed`` to ``applied`` and on to ``rolled_back`` or ``expired``. ``former`` is the stored tier before
    (None: there was none), ``grant_id`` the grant that was made, ``until`` when it ends by itself.
    """

    suggestion_id: str
    manufacturer_id: str
    kind: str
    subject: str
    status: str = "proposed"
    former: str | None = None
    grant_id: str | None = None
    until: datetime | None = None
    author: str | None = None
    created_at: datetime
    changed_at: datetime


class AdjustmentStore(Protocol):
    """Suggestions and their fate, and the days on which permissions were used."""

    async def propose_adjustment(self, adjustment: StoredAdjustment) -> None:
        """Keep a suggestion; one of the same id that is applied stays as it is."""
        ...

    async def get_adjustment(self, suggestion_id: str) -> StoredAdjustment | None: ...

    async def list_adjustments(
        self, manufacturer_id: str | None = None, *, status: str | None = None, limit: int = 1_000
    ) -> list[StoredAdjustment]:
        """Newest change first."""
        ...

    async def change_adjustment(self, adjustment: StoredAdjustment, *, expected: str) -> bool:
        """Replace what is stored if its status still is ``expected`` (compare-and-set)."""
        ...

    async def replace_tier(self, manufacturer_id: str, *, expected: str | None, tier: str | None) -> bool:
        """Set the stored tier if it still is ``expected``; None represents no stored tier, which only a manufacturer
        that is not registered can have. A change of topic ``manufacturer``."""
        ...

    async def note_permission_use(self, manufacturer_id: str, permission: str, day: int) -> None:
        """A permission was used on a day (days since 1970-01-01)."""
        ...

    async def permission_use(self, manufacturer_id: str) -> dict[str, tuple[int, int]]:
        """The first and the last day on which each permission was used."""
        ...
