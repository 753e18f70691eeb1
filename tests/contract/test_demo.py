"""The demo takes an empty store for its own, once and for all, and never one that somebody uses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gatewright.storage import OneTimeSecret, SqliteStore, Store, StoredAccount, StoredManufacturer

NOW = datetime(2026, 3, 1, tzinfo=UTC)


async def a_manufacturer(store: Store) -> None:
    maker = StoredManufacturer(manufacturer_id="m", company_name="M", tier="free", created_at=NOW, updated_at=NOW)
    owner = StoredAccount(
        account_id="a",
        manufacturer_id="m",
        email="a@m.example",
        email_key="a@m.example",
        created_at=NOW,
        updated_at=NOW,
    )
    await store.create_manufacturer(maker, owner)


async def one_secret(store: Store) -> None:
    secret = OneTimeSecret(key="k", purpose="p", subject="s", data={}, created_at=NOW, expires_at=NOW + timedelta(1))
    await store.put_one_time(secret)


async def test_an_empty_store_becomes_the_demos_and_stays_so(store: Store) -> None:
    assert not await store.is_demo()
    assert await store.claim_for_demo()
    assert await store.is_demo()
    await a_manufacturer(store)
    assert await store.claim_for_demo(), "its own, with what it has put there"
    assert await store.is_demo()


@pytest.mark.parametrize("use", [a_manufacturer, one_secret])
async def test_a_store_in_use_is_not_taken(store: Store, use: Callable[[Store], Awaitable[None]]) -> None:
    await use(store)
    assert not await store.claim_for_demo()
    assert not await store.is_demo()


async def test_the_mark_outlives_the_process_and_others_see_it(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "demo.db") as first, SqliteStore(tmp_path / "demo.db") as second:
        assert all(await asyncio.gather(*(store.claim_for_demo() for store in (first, second) for _ in range(8))))
    async with SqliteStore(tmp_path / "demo.db") as again:
        assert await again.is_demo()


async def test_either_the_demo_or_a_tenant_is_first(tmp_path: Path) -> None:
    """Raced by two connections, a store that is in use is never marked before its tenant was there."""
    for number in range(10):
        path = tmp_path / f"{number}.db"
        async with SqliteStore(path, durable=False) as demo, SqliteStore(path, durable=False) as real:
            claimed, _ = await asyncio.gather(demo.claim_for_demo(), a_manufacturer(real))
            assert claimed == await real.is_demo()
