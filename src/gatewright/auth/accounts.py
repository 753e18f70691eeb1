"""Accounts as callers see them."""

from __future__ import annotations

from gatewright.auth.records import ManufacturerAccount
from gatewright.storage.tenants import StoredAccount, StoredManufacturer


def account_roles(account: StoredAccount, manufacturer: StoredManufacturer) -> list[str]:
    """The role of the manufacturer's tier, and the person's own role where it is a platform one."""
    own = [account.role] if account.role.startswith("platform") else []
    return [f"manufacturer_{manufacturer.tier}", *own]


def describe(account: StoredAccount, manufacturer: StoredManufacturer) -> ManufacturerAccount:
    """The account as callers see it: no hashes, no profile."""
    return ManufacturerAccount(
        manufacturer_id=manufacturer.manufacturer_id,
        account_id=account.account_id,
        email=account.email,
        company_name=manufacturer.company_name,
        tier=manufacturer.tier,
        roles=account_roles(account, manufacturer),
        role=account.role,
        status=account.status,
        created_at=account.created_at,
        last_login_at=account.last_login_at,
    )
