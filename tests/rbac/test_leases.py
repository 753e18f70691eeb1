"""Leases: workers spend slices from one pool, and the sum never passes the limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gatewright.policy import parse_policy
from gatewright.rbac import ManufacturerRBACManager
from gatewright.storage.sqlite.store import SqliteStore
from tests.rbac.conftest import caller
from tests.test_policy import TEXT

POLICY = parse_policy(TEXT.replace("[quotas.leases]", "[quotas.leases]\napi_calls = { slice = 100, seconds = 30 }"))


@pytest.fixture
async def workers(tmp_path: Path) -> AsyncIterator[list[ManufacturerRBACManager]]:
    """Two workers on one file, each with a store of its own, as processes have."""
    made: list[ManufacturerRBACManager] = []
    for _ in range(2):
        store = SqliteStore(tmp_path / "s.db", durable=False, poll_interval=0.1)
        await store.initialize()
        made.append(ManufacturerRBACManager(POLICY, store=store))
        await made[-1].initialize()
    yield made
    for worker in made:
        await worker.close()
        await worker.store.close()


async def test_the_sum_is_the_limit(workers: list[ManufacturerRBACManager]) -> None:
    results = await asyncio.gather(*(workers[n % 2].check_usage_limit(caller(), "api_calls", 3) for n in range(500)))
    assert sum(3 for r in results if r.allowed) == 999
    last = await workers[0].check_usage_limit(caller(), "api_calls", 1)
    assert last.allowed and last.remaining == 0
    refused = await workers[1].check_usage_limit(caller(), "api_calls", 1)
    assert (refused.allowed, refused.current, refused.leased, refused.reason) == (False, 1_000, 0, "quota_exceeded")
    assert len(await workers[1].get_overage_attempts("m1")) >= 1


async def test_what_is_leased_counts_as_used_and_says_so(workers: list[ManufacturerRBACManager]) -> None:
    first = await workers[0].check_usage_limit(caller(), "api_calls", 1)
    assert (first.current, first.leased, first.remaining) == (100, 99, 999)
    look = await workers[1].check_usage_limit(caller(), "api_calls")
    assert (look.allowed, look.current, look.leased, look.remaining) == (True, 100, 99, 999)
    await workers[0].close()
    after = await workers[1].check_usage_limit(caller(), "api_calls")
    assert (after.current, after.leased) == (1, 0)


async def test_several_resources_at_once_see_what_is_leased(workers: list[ManufacturerRBACManager]) -> None:
    await workers[0].check_usage_limit(caller(), "api_calls", 1)
    one, two = await workers[0].take_usage(caller(), {"api_calls": 999, "data_exports": 1})
    assert (one.allowed, one.remaining, two.current) == (True, 0, 1)


async def test_another_limit_is_another_pool(workers: list[ManufacturerRBACManager]) -> None:
    assert (await workers[0].check_usage_limit(caller("professional"), "api_calls", 999)).allowed
    await workers[0].update_manufacturer_tier("m1", "free", reason="expired")
    granted = 0
    while (await workers[0].check_usage_limit(caller(), "api_calls", 1)).allowed:
        granted += 1
    assert granted == 1


async def test_an_unlimited_resource_needs_no_lease(workers: list[ManufacturerRBACManager]) -> None:
    assert (await workers[0].check_usage_limit(caller("enterprise"), "product_uploads", 7)).current == 7
