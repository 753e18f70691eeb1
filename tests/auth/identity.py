"""What the tests of tokens and sessions begin with."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from gatewright.auth import AuthResult, ClientInfo, Factor, ManufacturerAuthManager
from gatewright.storage import StoredAccount, StoredManufacturer

CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36"
)
NEWER_CHROME = CHROME.replace("120", "121")
OLDER_CHROME = CHROME.replace("120", "90")
SAFARI = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)"
    " Version/17.0 Safari/605.1.15"
)
HOME = ClientInfo("203.0.113.9", CHROME)
NEIGHBOUR = ClientInfo("203.0.113.200", CHROME)
ELSEWHERE = ClientInfo("198.51.100.7", SAFARI)
SECRET = "0f" * 32
START = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)

ACME: dict[str, Any] = {
    "manufacturer_id": "mfr_acme",
    "company_name": "Acme Tools",
    "email": "owner@acme.example",
    "tier": "professional",
}


async def known_account(auth: ManufacturerAuthManager, name: str = "acme") -> tuple[StoredAccount, StoredManufacturer]:
    """A manufacturer and its owner, in the store."""
    manufacturer = StoredManufacturer(
        manufacturer_id=f"mfr_{name}",
        company_name=name.title(),
        tier="professional",
        created_at=START,
        updated_at=START,
    )
    account = StoredAccount(
        account_id=f"acc_{name}",
        manufacturer_id=manufacturer.manufacturer_id,
        email=f"owner@{name}.example",
        email_key=f"owner@{name}.example",
        created_at=START,
        updated_at=START,
    )
    await auth.store.create_manufacturer(manufacturer, account)
    return account, manufacturer


async def sign_in(auth: ManufacturerAuthManager, name: str = "acme", client: ClientInfo | None = HOME) -> AuthResult:
    """A finished sign-in of a new manufacturer's owner, by the function in which every one of them ends."""
    account, manufacturer = await known_account(auth, name)
    return await auth.services.issuer.issue(account, manufacturer, client, factors=frozenset({Factor.PASSWORD.value}))
