"""The foundation in memory: its clock, events and mail, and nothing on disk."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

import gatewright
from gatewright import ListSink, ManualClock, MemoryNotifier, SecurityFoundation, create_app
from gatewright.errors import ConfigurationError
from gatewright.testing import MemoryFoundation, assert_event, create_tenant, memory_foundation


async def test_it_is_a_foundation_with_a_manual_clock_and_recorders() -> None:
    async with memory_foundation() as foundation:
        assert isinstance(foundation, MemoryFoundation) and isinstance(foundation, SecurityFoundation)
        assert isinstance(foundation.clock, ManualClock)
        assert isinstance(foundation.events, ListSink)
        assert isinstance(foundation.notifier, MemoryNotifier)


async def test_it_writes_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with memory_foundation() as foundation:
        await create_tenant(foundation, company_legal_name="Acme Tools GmbH")
        await foundation.encryption.rotate_if_due()
        await foundation.monitor.create_security_incident("something_odd", severity="high")
    assert os.listdir(tmp_path) == []


async def test_the_environment_has_no_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWRIGHT_MODE", "production")
    monkeypatch.setenv("GATEWRIGHT_DATABASE", f"sqlite:///{tmp_path}/real.db")
    monkeypatch.setenv("GATEWRIGHT_REDIS_URL", "redis://real.example")
    monkeypatch.setenv("GATEWRIGHT_SECRET_KEY_FILE", str(tmp_path / "no such file"))
    async with memory_foundation() as foundation:
        assert foundation.settings.mode == "development"
        assert foundation.settings.redis_url is None
        assert not foundation.store.durable
    assert os.listdir(tmp_path) == []


async def test_two_foundations_share_nothing() -> None:
    async with memory_foundation() as one, memory_foundation() as two:
        caller = await create_tenant(one)
        with pytest.raises(gatewright.SecurityError):
            await two.auth.validate_token(caller.access_token)
        assert await two.store.get_manufacturer(caller.manufacturer_id) is None


async def test_a_token_expires_when_the_clock_is_advanced() -> None:
    clock = ManualClock()
    async with memory_foundation(clock=clock, access_token_minutes=5) as foundation:
        caller = await create_tenant(foundation)
        clock.advance(minutes=4)
        assert (await foundation.auth.validate_token(caller.access_token))["sub"]
        clock.advance(minutes=2)
        with pytest.raises(gatewright.SecurityError, match="expired"):
            await foundation.auth.validate_token(caller.access_token)


async def test_passwords_are_hashed_by_argon2id() -> None:
    async with memory_foundation() as foundation:
        assert (await foundation.auth.hash_new_password("gravel-otter-lantern-4471")).startswith("$argon2id$")
    async with memory_foundation(argon2_memory_kib=64) as foundation:
        assert "m=64," in await foundation.auth.hash_new_password("gravel-otter-lantern-4471")


async def test_mail_and_events_are_recorded() -> None:
    async with memory_foundation() as foundation:
        caller = await create_tenant(foundation)
        assert_event(foundation.events, "auth:login:succeeded", manufacturer_id=caller.manufacturer_id)
        await foundation.auth.request_password_reset(caller.email)
    assert foundation.notifier.last(caller.email)


@pytest.mark.parametrize("name", ["database", "key_database", "redis_url", "notifier"])
def test_state_cannot_be_moved_out_of_memory(name: str) -> None:
    with pytest.raises(TypeError, match=f"does not take {name}"):
        memory_foundation(**{name: "x"})


def test_a_wrong_setting_is_refused_as_ever() -> None:
    with pytest.raises(ConfigurationError, match="ACCESS_TOKEN_MINUTES"):
        memory_foundation(access_token_minutes=-1)
    with pytest.raises(ConfigurationError, match="production requires a key"):
        memory_foundation(mode="production")


async def test_it_serves_requests_in_the_loop_of_the_test() -> None:
    async with memory_foundation() as foundation:
        caller = await create_tenant(foundation)
        transport = httpx.ASGITransport(create_app(foundation))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            assert (await http.get("/v1/sessions")).status_code == 401
            assert (await http.get("/v1/sessions", headers=caller.headers)).status_code == 200


def test_unopened_it_serves_a_test_client() -> None:
    foundation = memory_foundation()
    app: FastAPI = create_app(foundation)
    with TestClient(app) as client:
        assert client.portal is not None
        caller = client.portal.call(create_tenant, foundation)
        assert client.get("/v1/sessions", headers=caller.headers).status_code == 200


def test_the_package_needs_no_pytest_and_loads_nothing_before_use() -> None:
    program = (
        "import sys; sys.modules['pytest'] = None; import gatewright.testing as t;"
        "assert 'gatewright.foundation' not in sys.modules;"
        "assert all(getattr(t, name) for name in t.__all__)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_an_unknown_name_is_an_attribute_error() -> None:
    import gatewright.testing

    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        gatewright.testing.Nothing  # noqa: B018
