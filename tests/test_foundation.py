"""SecurityFoundation as the contract has it: built from settings, one store, and nothing else to be said."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gatewright.foundation import SecurityFoundation
from gatewright.settings import Settings

QUICK = {"argon2_memory_kib": 8, "argon2_time_cost": 1}
OWNER = {"email": "a@example.com", "password": "gravel-otter-lantern-4471", "company_name": "Alder Works"}


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty directory, and nothing of the machine's own environment."""
    for name in [name for name in os.environ if name.startswith("GATEWRIGHT_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


async def test_settings_alone_are_enough() -> None:
    foundation = SecurityFoundation(Settings())
    await foundation.initialize()
    await foundation.initialize()
    for name in ("auth", "rbac", "validator", "encryption", "monitor", "store", "cache", "settings"):
        assert getattr(foundation, name) is not None
    assert foundation.auth.store is foundation.rbac.store is foundation.store
    await foundation.close()
    await foundation.close()


async def test_what_was_kept_without_naming_a_key_opens_after_a_restart() -> None:
    async with SecurityFoundation(Settings(**QUICK)) as before:
        account = await before.auth.register_manufacturer(OWNER)
        token = (await before.auth.authenticate_manufacturer(OWNER["email"], OWNER["password"])).access_token
        sealed = await before.encryption.encrypt_manufacturer_data(
            {"tax_id": "12-3456789"}, manufacturer_id=account.manufacturer_id
        )
    async with SecurityFoundation(Settings(**QUICK)) as after:
        assert (await after.auth.validate_token(token or ""))["manufacturer_id"] == account.manufacturer_id
        assert await after.encryption.decrypt_manufacturer_data(sealed) == {"tax_id": "12-3456789"}
