"""SecurityFoundation as the contract has it: built from settings, one store, and nothing else to be said."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from gatewright.auth import ClientInfo
from gatewright.errors import ConfigurationError
from gatewright.foundation import SecurityFoundation
from gatewright.settings import Settings
from gatewright.wiring import PostureFacts

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


async def test_posture_is_told_what_the_managers_know() -> None:
    async with SecurityFoundation(Settings(**QUICK, database=":memory:")) as opened:
        await opened.auth.register_staff("root@platform.example", "gravel-otter-lantern-4471", role="platform_admin")
        found = {finding.kind: finding.measured for finding in await opened.monitor.assess()}
        assert found["staff_without_mfa"] == {"staff_without_mfa": 1}
        facts = await PostureFacts(opened)()
        assert facts["signing_key_age_days"] == facts["data_key_age_days"] == 0.0
        assert facts["audit_intact"] is None
        await opened.monitor.audit.verify()
        facts = await PostureFacts(opened)()
        assert (facts["audit_intact"], facts["store_away"]) == (True, False)


async def test_places_of_networks_are_read_where_a_setting_asks_for_them() -> None:
    settings = Settings(**QUICK, database=":memory:", places="geoip2fast")
    async with SecurityFoundation(settings) as opened:
        await opened.auth.register_manufacturer(OWNER)
        client = ClientInfo(ip_address="8.8.8.8", user_agent="test")
        done = await opened.auth.authenticate_manufacturer(OWNER["email"], OWNER["password"], client=client)
        assert done.manufacturer is not None
        (session,) = await opened.auth.list_sessions(done.manufacturer.manufacturer_id)
        assert session.place == "US"


async def test_places_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "geoip2fast", None)
    with pytest.raises(ConfigurationError, match=r"GATEWRIGHT_PLACES=geoip2fast: .*pip install geoip2fast"):
        SecurityFoundation(Settings(**QUICK, places="geoip2fast"))
