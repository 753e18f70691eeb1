"""The storage protocol of manufacturers, accounts, invitations and grants."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Protocol

from gatewright.records import Record

PLATFORM_TENANT = "platform"
"""The reserved tenant whose accounts are the platform's own staff."""


class StoredManufacturer(Record, frozen=True, kw_only=True):
    """A tenant. ``profile`` is the encrypted envelope of its business data, as JSON text."""

    manufacturer_id: str
    company_name: str
    tier: str
    status: str = "active"
    billing_day: int = 1
    profile: str | None = None
    created_at: datetime
    updated_at: datetime


class StoredAccount(Record, frozen=True, kw_only=True):
    """A person in a tenant. ``email_key`` is the canonical address, unique over all tenants."""

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
            DuplicateAccountError: the id or the email address is taken.
        """
        ...

    async def add_account(self, account: StoredAccount) -> None:
        """Add a person to a tenant; raises DuplicateAccountError when the email address is taken."""
        ...

    async def get_manufacturer(self, manufacturer_id: str) -> StoredManufacturer | None: ...

    async def list_manufacturers(self, *, after: str = "", limit: int = 100) -> list[StoredManufacturer]:
        """Tenants in the order of their ids, those after ``after``."""
        ...

    async def update_manufacturer(self, manufacturer_id: str, **fields: Any) -> StoredManufacturer | None:
        """Set ``company_name``, ``tier``, ``status``, ``billing_day`` or ``profile``; None when unknown.

        A changed tier or status is a change of topic ``manufacturer``.
        """
        ...

    async def replace_profile(self, manufacturer_id: str, *, expected: str | None, profile: str) -> bool:
        """Set the profile if it still is ``expected`` (compare-and-set); False when someone was faster."""
        ...

    async def get_account(self, account_id: str) -> StoredAccount | None: ...

    async def find_account(self, email_key: str) -> StoredAccount | None: ...

    async def owner_of(self, manufacturer_id: str) -> StoredAccount | None:
        """The oldest account with role ``owner`` (``platform_admin`` in the platform's own tenant)."""
        ...

    async def list_accounts(self, manufacturer_id: str) -> list[StoredAccount]: ...

    async def update_account(self, account_id: str, **fields: Any) -> StoredAccount | None:
        """Set ``password_hash``, ``role``, ``status``, ``last_login_at`` or ``email`` with ``email_key``."""
        ...


class StoredInvitation(Record, frozen=True, kw_only=True):
    """``token_hash`` is all that is kept of the token that went out by mail."""

    invitation_id: str
    manufacturer_id: str
    email: str
    role: str
    token_hash: str
    invited_by: str | None = None
    created_at: datetime
    expires_at: datetime


class InvitationStore(Protocol):
    """Invitations, and changes to people that must keep an owner in place."""

    async def add_invitation(self, invitation: StoredInvitation, *, most: int) -> bool:
        """Keep it, replacing an open one of the same address in the same manufacturer; False when ``most`` are open."""
        ...

    async def list_invitations(self, manufacturer_id: str, at: datetime) -> list[StoredInvitation]:
        """Those open at that time, oldest first."""
        ...

    async def find_invitation(self, token_hash: str, at: datetime) -> StoredInvitation | None: ...

    async def withdraw_invitation(self, manufacturer_id: str, invitation_id: str) -> bool: ...

    async def accept_invitation(self, token_hash: str, account: StoredAccount, at: datetime) -> bool:
        """Use the invitation up and add the person, both or neither; False when it is used, expired or unknown.

        Raises:
            DuplicateAccountError: the address has an account.
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
        """Change a person of this manufacturer and return what they were; None when there is no such person here.

        Args:
            expected_role: None is returned, and nothing changed, where the person has another role by now.

        Raises:
            ValidationError: the last active owner (or, of the platform, admin) would go (code ``LAST_OWNER``).
        """
        ...


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
        """Newest first, a thousand at most."""
        ...
