"""Two workers on one store: what one decides, the other honours, within a second on a machine that has time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from gatewright.errors import InvalidTokenError
from gatewright.foundation import SecurityFoundation
from gatewright.notify import MemoryNotifier
from gatewright.settings import Settings
from tests.support.redis import RedisServer
from tests.support.waiting import eventually

PASSWORD = "gravel-otter-lantern-4471"
KEYS = {"secret_key": "8f1c03b7a955e2d64f21" * 4, "encryption_key": "51aac7d20e9fb34618ac" * 4}

Pair = tuple[SecurityFoundation, SecurityFoundation]


@pytest.fixture(params=["sqlite", "redis"])
async def workers(request: pytest.FixtureRequest, tmp_path: Path, redis_server: RedisServer) -> AsyncIterator[Pair]:
    """Two foundations on one file; they share only that, or Redis as well."""
    settings = Settings(
        data_dir=tmp_path,
        durable=False,
        redis_url=redis_server.url if request.param == "redis" else None,
        argon2_memory_kib=8,
        argon2_time_cost=1,
        **KEYS,
    )
    async with (
        SecurityFoundation(settings, notifier=MemoryNotifier()) as one,
        SecurityFoundation(settings, notifier=MemoryNotifier()) as two,
    ):
        yield one, two


async def test_a_revoked_session_is_refused_by_the_other_worker(workers: Pair) -> None:
    one, two = workers
    data = {"email": "a@example.com", "password": PASSWORD, "company_name": "Alder Works"}
    account = await one.auth.register_manufacturer(data)
    signed_in = await one.auth.authenticate_manufacturer("a@example.com", PASSWORD)
    token = signed_in.access_token
    assert (await two.auth.validate_token(token))["manufacturer_id"] == account.manufacturer_id
    await one.auth.invalidate_session(signed_in.session_id)

    async def refused() -> bool:
        try:
            await two.auth.validate_token(token)
        except InvalidTokenError:
            return True
        return False

    await eventually(refused)


async def test_a_tier_downgrade_is_honoured_by_the_other_worker(workers: Pair) -> None:
    one, two = workers
    data = {"email": "a@example.com", "password": PASSWORD, "company_name": "Alder Works", "tier": "enterprise"}
    who = (await one.auth.register_manufacturer(data)).manufacturer_id
    assert await two.rbac.has_permission(who, "bulk_operations")
    await one.rbac.update_manufacturer_tier(who, "free", reason="contract ended")
    assert not await one.rbac.has_permission(who, "bulk_operations")

    async def cut() -> bool:
        return not await two.rbac.has_permission(who, "bulk_operations")

    await eventually(cut)


async def test_tokens_outlive_a_restart_and_a_rotation(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, argon2_memory_kib=8, argon2_time_cost=1, **KEYS)
    data = {"email": "a@example.com", "password": PASSWORD, "company_name": "Alder Works"}
    async with SecurityFoundation(settings, notifier=MemoryNotifier()) as before:
        await before.auth.register_manufacturer(data)
        token = (await before.auth.authenticate_manufacturer("a@example.com", PASSWORD)).access_token
        await before.auth.rotate_signing_key()
    async with SecurityFoundation(settings, notifier=MemoryNotifier()) as after:
        assert await after.auth.validate_token(token)
        assert (await after.monitor.audit.verify()).valid


async def test_a_token_of_a_destroyed_key_is_refused_though_a_worker_knew_it(workers: Pair) -> None:
    one, two = workers
    data = {"email": "a@example.com", "password": PASSWORD, "company_name": "Alder Works"}
    await one.auth.register_manufacturer(data)
    token = (await one.auth.authenticate_manufacturer("a@example.com", PASSWORD)).access_token
    assert await two.auth.validate_token(token)
    await one.auth.rotate_signing_key()
    await one.store.delete_signing_keys(now=one.clock.now() + timedelta(days=400))

    async def refused() -> bool:
        try:
            await two.auth.validate_token(token)
        except InvalidTokenError:
            return True
        return False

    await eventually(refused)
