"""Temporary grants and restrictions, and permissions that were refused."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from gatewright.records import Record


class StoredGrant(Record, frozen=True, kw_only=True):
    """``effect`` is ``grant`` or ``restrict``; without ``until`` it holds until it is revoked."""

    grant_id: str
    manufacturer_id: str
    permission: str
    effect: str = "grant"
    until: datetime | None = None
    reason: str
    author: str | None = None
    created_at: datetime


class PermissionViolation(Record, frozen=True, kw_only=True):
    """A permission that was asked for and refused."""

    manufacturer_id: str
    permission: str
    tier: str
    operation_context: str
    ip_address: str | None
    timestamp: datetime


class GrantStore(Protocol):
    """Grants, violations, and the tiers of manufacturers that are not registered in this store."""

    async def set_tier(self, manufacturer_id: str, tier: str) -> str | None:
        """Move a manufacturer to a tier and return the former one (None: there was none), in one step. One that
        is not registered here is remembered all the same. A change of topic ``manufacturer``."""
        ...

    async def tier_of_unregistered(self, manufacturer_id: str) -> str | None:
        """The tier that was set for a manufacturer that is not registered."""
        ...

    async def announce(self, topic: str, key: str) -> None:
        """Tell every process that ``key`` of ``topic`` changed."""
        ...

    async def add_grant(self, grant: StoredGrant) -> None:
        """Keep it; a change of topic ``grants``."""
        ...

    async def revoke_grant(self, grant_id: str, at: datetime) -> StoredGrant | None:
        """End it and return it; None when it is unknown or ended before. A change of topic ``grants``."""
        ...

    async def grants_of(self, manufacturer_id: str, at: datetime) -> list[StoredGrant]:
        """Those in force at that time, oldest first."""
        ...

    async def add_violation(self, violation: PermissionViolation) -> None: ...

    async def violations_of(self, manufacturer_id: str, *, since: datetime) -> list[PermissionViolation]:
        """Newest first, a thousand at the most."""
        ...
