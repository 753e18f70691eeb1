"""What outlives a restart, and what a second process on the same file knows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pyotp
import pytest

from gatewright.auth import AccessOptions, AuthOptions, ManufacturerAuthManager
from gatewright.errors import AccountLockedError, InvalidCredentialsError, RateLimitExceededError
from gatewright.storage import SqliteStore
from gatewright.testing import ManualClock
from tests.auth.access import CHEAP, EMAIL, OWNER, PASSWORD
from tests.auth.identity import CHROME, HOME, SECRET, START
from tests.auth.mfa.test_devices import on
from tests.support.waiting import eventually


@asynccontextmanager
async def process(path: Path, clock: ManualClock) -> AsyncIterator[ManufacturerAuthManager]:
    """A manager as one process has it, on a shared file."""
    async with SqliteStore(path, durable=False, poll_interval=0.02) as store:
        options = AuthOptions(access=AccessOptions(argon2=CHEAP))
        async with ManufacturerAuthManager(SECRET, store=store, clock=clock, options=options) as auth:
            yield auth


async def fail(auth: ManufacturerAuthManager, times: int) -> None:
    for _ in range(times):
        with pytest.raises((InvalidCredentialsError, RateLimitExceededError, AccountLockedError)):
            await auth.authenticate_manufacturer(EMAIL, "wrong", client=HOME)


async def test_factors_devices_keys_and_locks_outlive_a_restart(tmp_path: Path) -> None:
    clock = ManualClock(START)
    async with process(tmp_path / "a.db", clock) as auth:
        await auth.register_manufacturer(OWNER)
        enrolment = await auth.setup_mfa("mfr_acme")
        code = pyotp.TOTP(enrolment.secret).at(int(clock.timestamp()))
        await auth.confirm_mfa("mfr_acme", code)
        device = await auth.register_trusted_device("mfr_acme", HOME)
        key = await auth.create_api_key("mfr_acme", "ci", permissions=["api_access"])
        await fail(auth, 12)
    async with process(tmp_path / "a.db", clock) as auth:
        with pytest.raises(AccountLockedError):
            await auth.authenticate_manufacturer(EMAIL, PASSWORD, client=HOME)
        owner = on(device.device_token, agent=CHROME)
        assert (await auth.authenticate_manufacturer(EMAIL, PASSWORD, client=owner)).status == "authenticated"
        assert not await auth.verify_mfa_token("mfr_acme", code)
        assert await auth.verify_backup_code("mfr_acme", enrolment.backup_codes[0])
        assert (await auth.verify_api_key(key.key or "")).manufacturer_id == "mfr_acme"


async def test_two_processes_count_together(tmp_path: Path) -> None:
    clock = ManualClock(START)
    async with process(tmp_path / "a.db", clock) as one, process(tmp_path / "a.db", clock) as two:
        await one.register_manufacturer(OWNER)
        await fail(one, 3)
        await fail(two, 2)
        with pytest.raises(RateLimitExceededError):
            await one.authenticate_manufacturer(EMAIL, PASSWORD, client=HOME)


async def test_a_revoked_key_is_refused_by_the_other_process(tmp_path: Path) -> None:
    clock = ManualClock(START)
    async with process(tmp_path / "a.db", clock) as one, process(tmp_path / "a.db", clock) as two:
        await one.register_manufacturer(OWNER)
        key = await one.create_api_key("mfr_acme", "ci", permissions=["api_access"])
        await two.verify_api_key(key.key or "")
        await one.revoke_api_key(key.key_id)

        async def refused() -> bool:
            try:
                await two.verify_api_key(key.key or "")
            except InvalidCredentialsError:
                return True
            return False

        await eventually(refused)


async def test_another_secret_key_opens_nothing(tmp_path: Path) -> None:
    clock = ManualClock(START)
    async with process(tmp_path / "a.db", clock) as auth:
        await auth.register_manufacturer(OWNER)
        key = await auth.create_api_key("mfr_acme", "ci", permissions=["api_access"])
        device = await auth.register_trusted_device("mfr_acme", HOME)
        codes = await auth.generate_backup_codes("mfr_acme")
    async with process(tmp_path / "a.db", clock) as auth:
        stranger = ManufacturerAuthManager("ab" * 32, store=auth.store, clock=clock)
        assert not await stranger.verify_device("mfr_acme", device.device_token or "")
        assert not await stranger.verify_backup_code("mfr_acme", codes[0])
        with pytest.raises(InvalidCredentialsError):
            await stranger.verify_api_key(key.key or "")
        await stranger.services.close()
