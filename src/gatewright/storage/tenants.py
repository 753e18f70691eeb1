"""The storage protocol of manufacturers, accounts, invitations and grants."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Protocol

from gatewright.records import Record

PLATFORM_TENANT = "platform"
"""The reserved tenant of the platform's staff accounts."""


class StoredManufacturer(Record, frozen=True, kw_only=True):
    """A tenant. ``profile`` is its encrypted business data, an envelope in JSON."""

    manufacturer_id: str
    company_name: str
    tier: str
    status: str = "active"
    billing_day: int = 1
    profile: str | None = None
    created_at: datetime
    updated_at: datetime


class StoredAccount(Record, frozen=True, kw_only=True):
    """A user account in a tenant. ``email_key`` is the canonical address, unique across tenants."""

    account_id: str
    manufacturer_id: str
    email: str
    email_key: str
    password_hash: str | None = None
    role: str = "owner"
    status: str = "active"
    created_at: datetime
    updated_at: datetime
    last_login_at: datetime | None = None


class TenantStore(Protocol):
    """Manufacturers and accounts."""

    async def create_manufacturer(self, manufacturer: StoredManufacturer, owner: StoredAccount) -> None:
        """Add a tenant and its owner, both or neither.

        Raises:
            DuplicateAccountError: the id or the email address is already taken.
        """
        ...

    async def add_account(self, account: StoredAccount) -> None:
        """Add an account to a tenant; raises DuplicateAccountError if the email address is taken."""
        ...

    async def get_manufacturer(self, manufacturer_id: str) -> StoredManufacturer | None: ...

    async def list_manufacturers(self, *, after: str = "", limit: int = 100) -> list[StoredManufacturer]:
        """List tenants with an id above ``after``, ordered by id."""
        ...

    async def update_manufacturer(self, manufacturer_id: str, **fields: Any) -> StoredManufacturer | None:
        """Set ``company_name``, ``tier``, ``status``, ``billing_day`` or ``profile``; None if unknown.

        Changes of tier, status and billing day are published under topic ``manufacturer``.
        """
        ...

    async def replace_profile(self, manufacturer_id: str, *, expected: str | None, profile: str) -> bool:
        """Set the profile if it still equals ``expected`` (compare-and-set); False if it has changed."""
        ...

    async def get_account(self, account_id: str) -> StoredAccount | None: ...

    async def find_account(self, email_key: str) -> StoredAccount | None: ...

    async def owner_of(self, manufacturer_id: str) -> StoredAccount | None:
        """Return the oldest account with role ``owner`` (``platform_admin`` in the platform tenant)."""
        ...

    async def list_accounts(self, manufacturer_id: str) -> list[StoredAccount]: ...

    async def update_account(self, account_id: str, **fields: Any) -> StoredAccount | None:
        """Set ``password_hash``, ``role``, ``status``, ``last_login_at`` or ``email`` with ``email_key``."""
        ...


class StoredInvitation(Record, frozen=True, kw_only=True):
    """An invitation. Only the hash of the emailed token is stored."""

    invitation_id: str
    manufacturer_id: str
    email: str
    role: str
    token_hash: str
    invited_by: str | None = None
    created_at: datetime
    expires_at: datetime


class InvitationStore(Protocol):
    """Invitations, and member changes that must leave an active owner."""

    async def add_invitation(self, invitation: StoredInvitation, *, limit: int) -> bool:
        """Store an invitation, replacing an open one for the same address; False if ``limit`` are open."""
        ...

    async def list_invitations(self, manufacturer_id: str, at: datetime) -> list[StoredInvitation]:
        """List invitations open at that time, oldest first."""
        ...

    async def find_invitation(self, token_hash: str, at: datetime) -> StoredInvitation | None: ...

    async def withdraw_invitation(self, manufacturer_id: str, invitation_id: str) -> bool: ...

    async def accept_invitation(self, token_hash: str, account: StoredAccount, at: datetime) -> bool:
        """Consume the invitation and add the account, both or neither; False if it is used, expired or unknown.

        Raises:
            DuplicateAccountError: the address already has an account.
        """
        ...

    async def change_member(
        self,
        manufacturer_id: str,
        account_id: str,
        *,
        role: str | None = None,
        status: str | None = None,
        expected_role: str | None = None,
    ) -> StoredAccount | None:
        """Change a member and return the previous account; None if the manufacturer has no such member.

        Args:
            expected_role: if given and the role has changed, nothing is changed and None is returned.

        Raises:
            ValidationError: no active owner (or platform admin) would remain (code ``LAST_OWNER``).
        """
        ...


class StoredGrant(Record, frozen=True, kw_only=True):
    """A permission override. ``effect`` is ``grant`` or ``restrict``; without ``until`` it applies until revoked."""

    grant_id: str
    manufacturer_id: str
    permission: str
    effect: str = "grant"
    until: datetime | None = None
    reason: str
    author: str | None = None
    created_at: datetime


class PermissionViolation(Record, frozen=True, kw_only=True):
    """A denied permission check."""

    manufacturer_id: str
    permission: str
    tier: str
    operation_context: str
    ip_address: str | None
    timestamp: datetime


class GrantStore(Protocol):
    """Grants, violations, and the tiers of manufacturers not registered in this store."""

    async def set_tier(self, manufacturer_id: str, tier: str) -> str | None:
        """Set the tier of a manufacturer and return the previous one (None: there was none), in one step. Works for
        unregistered manufacturers too. Published under topic ``manufacturer``."""
        ...

    async def tier_of_unregistered(self, manufacturer_id: str) -> str | None:
        """Return the tier set for an unregistered manufacturer."""
        ...

    async def announce(self, topic: str, key: str) -> None:
        """Notify every process that ``key`` of ``topic`` changed."""
        ...

    async def add_grant(self, grant: StoredGrant) -> None:
        """Store a grant. Published under topic ``grants``."""
        ...

    async def revoke_grant(self, grant_id: str, at: datetime) -> StoredGrant | None:
        """Revoke a grant and return it; None if it is unknown or has ended. Published under topic ``grants``."""
        ...

    async def grants_of(self, manufacturer_id: str, at: datetime) -> list[StoredGrant]:
        """List grants in force at that time, oldest first."""
        ...

    async def add_violation(self, violation: PermissionViolation) -> None: ...

    async def violations_of(self, manufacturer_id: str, *, since: datetime) -> list[PermissionViolation]:
        """List violations, newest first, up to 1,000."""
        ...
