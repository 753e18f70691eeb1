"""Tenants and people: what every store keeps of manufacturers and their accounts."""

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
            DuplicateAccountError: the id or the e-mail address is taken.
        """
        ...

    async def add_account(self, account: StoredAccount) -> None:
        """Add a person to a tenant; raises DuplicateAccountError when the e-mail address is taken."""
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
