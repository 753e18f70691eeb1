"""Leases: units that the store has counted as used and that one process then spends by itself.

What is spent of a slice is written where it outlives the process, before anybody is told that it was granted. So
when a process is killed, what it granted stays counted, and what it still held comes back when the lease ends.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from gatewright.records import Record
from gatewright.storage.usage import UsageTake

SHARE = 2
"""A slice is one part in so many of what is left, at the most; so slices shrink towards the limit."""
SMALLEST = 16
"""Units of a slice at the least, while there are as many: near the limit every slice is a write of the store."""


class Numbers(Protocol):
    """Whole numbers by position."""

    def __getitem__(self, slot: int, /) -> int: ...

    def __setitem__(self, slot: int, value: int, /) -> None: ...


class Slice:
    """Units in the hand of one process.

    Args:
        lease_id: the store's name for it.
        take: whose ``amount`` is all of the slice, and where it was counted.
        spent: what is spent of it is kept in ``spent[slot]``.
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
        """Take ``amount`` units, all or none."""
        left = self.left - amount
        if left < 0:
            return False
        self._spent[self.slot] = self.take.amount - left
        self.left = left
        return True

    def freeze(self) -> None:
        """Nothing more may be spent: the slice is about to be given back."""
        self.left = 0


class Leased(Record, frozen=True, kw_only=True):
    """What is used now, the slice included; ``piece`` is None where there was not enough, or no way to lease;
    ``elsewhere`` counts the units of slices that other processes hold."""

    used: int
    piece: Slice | None = None
    elsewhere: int = 0


class LeaseStore(Protocol):
    """Slices of quotas."""

    async def lease_usage(
        self, manufacturer_id: str, take: UsageTake, most: int, *, at: datetime, until: datetime, former: Slice | None
    ) -> Leased:
        """Count up to ``most`` units as used, ``take.amount`` at the least, and hand them out until then.

        ``former`` (frozen) is given back in the same step.
        """
        ...

    async def end_lease(self, piece: Slice) -> None:
        """Give back what was not spent of a slice (frozen); ending it again changes nothing."""
        ...

    async def unspent_usage(self, manufacturer_id: str, take: UsageTake) -> int:
        """Units from ``take.since`` on that are counted as used, and that nobody has spent yet."""
        ...

    async def reclaim_leases(self, at: datetime) -> int:
        """Give back what killed processes held in leases that have ended; how many there were."""
        ...
