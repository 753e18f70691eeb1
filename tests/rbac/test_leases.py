"""Leases: each worker spends a slice by itself, the sum never passes the limit, and what is held comes back."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gatewright.controls import Controls, Measure
from gatewright.errors import AuthorizationError
from gatewright.policy import Policy, parse_policy
from gatewright.rbac import ManufacturerRBACManager
from gatewright.storage import RedisCache, RedisInvalidation, SqliteStore
from gatewright.testing import ManualClock
from tests.rbac.conftest import caller, register
from tests.support.redis import RedisServer, redis_server  # noqa: F401 - a fixture
from tests.support.waiting import eventually
from tests.test_policy import TEXT

START = datetime(2026, 3, 10, 12, tzinfo=UTC)


def policy_with(leases: str) -> Policy:
    return parse_policy(TEXT.replace("[quotas.leases]", f"[quotas.leases]\n{leases}"))


POLICY = policy_with("api_calls = { slice = 100, seconds = 30 }")


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


async def take_until(worker: ManufacturerRBACManager, units: int) -> None:
    """Take single units until so many were granted. What another worker holds comes within a moment."""
    granted = 0

    async def enough() -> bool:
        nonlocal granted
        while granted < units and (await worker.check_usage_limit(caller(), "api_calls", 1)).allowed:
            granted += 1
        return granted == units

    await eventually(enough)


async def test_the_sum_is_the_limit(workers: list[ManufacturerRBACManager]) -> None:
    results = await asyncio.gather(*(workers[n % 2].check_usage_limit(caller(), "api_calls", 3) for n in range(500)))
    granted = sum(3 for r in results if r.allowed)
    assert 0 < granted <= 999
    await take_until(workers[0], 1_000 - granted)
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


async def test_several_resources_at_once_see_what_others_hold(workers: list[ManufacturerRBACManager]) -> None:
    await workers[1].check_usage_limit(caller(), "api_calls", 1)

    async def taken() -> bool:
        one, two = await workers[0].take_usage(caller(), {"api_calls": 999, "data_exports": 1})
        return (one.allowed, one.remaining, two.current) == (True, 0, 1)

    await eventually(taken)


async def test_more_than_a_slice_is_taken_from_the_store_with_what_is_held(
    workers: list[ManufacturerRBACManager],
) -> None:
    for worker in workers:
        await worker.check_usage_limit(caller(), "api_calls", 1)
    await eventually(lambda: _takes(workers[0], 998))
    assert not (await workers[1].check_usage_limit(caller(), "api_calls", 1)).allowed


async def test_who_runs_dry_gets_what_an_idle_worker_holds(workers: list[ManufacturerRBACManager]) -> None:
    await workers[0].check_usage_limit(caller(), "api_calls", 1)
    await take_until(workers[1], 999)
    assert not (await workers[1].check_usage_limit(caller(), "api_calls", 1)).allowed


async def test_another_limit_is_another_slice(workers: list[ManufacturerRBACManager]) -> None:
    assert (await workers[0].check_usage_limit(caller("professional"), "api_calls", 999)).allowed
    await workers[0].update_manufacturer_tier("m1", "free", reason="expired")
    granted = 0
    while (await workers[0].check_usage_limit(caller(), "api_calls", 1)).allowed:
        granted += 1
    assert granted == 1


async def test_a_downgrade_voids_the_slices_of_all_workers(workers: list[ManufacturerRBACManager]) -> None:
    await workers[0].update_manufacturer_tier("m1", "professional", reason="bought")
    await eventually(lambda: _tier(workers[1], "professional"))
    assert (await workers[0].check_usage_limit("m1", "api_calls", 1_500)).allowed
    for worker in workers:
        assert (await worker.check_usage_limit("m1", "api_calls", 1)).leased == 99
    await workers[1].update_manufacturer_tier("m1", "free", reason="expired")
    assert not (await workers[1].check_usage_limit("m1", "api_calls", 1)).allowed, "at once here"
    await eventually(lambda: _tier(workers[0], "free"))
    assert not (await workers[0].check_usage_limit("m1", "api_calls", 1)).allowed
    await eventually(lambda: _is_used(workers[1], 1_502))


async def _tier(worker: ManufacturerRBACManager, tier: str) -> bool:
    return await worker.tier_of("m1") == tier


async def _takes(worker: ManufacturerRBACManager, units: int) -> bool:
    return (await worker.check_usage_limit(caller(), "api_calls", units)).allowed


async def _is_used(worker: ManufacturerRBACManager, units: int) -> bool:
    return bool(await worker.get_current_usage("m1", "api_calls") == units)


async def test_an_unlimited_resource_needs_no_lease(workers: list[ManufacturerRBACManager]) -> None:
    assert (await workers[0].check_usage_limit(caller("enterprise"), "product_uploads", 7)).current == 7


async def test_a_slice_comes_back_when_its_lease_ends(clock: ManualClock) -> None:
    """In one process, and on a store in memory."""
    policy = policy_with("api_calls = { slice = 100, seconds = 0.02 }")
    async with ManufacturerRBACManager(policy, clock=clock) as rbac:
        assert (await rbac.check_usage_limit(caller(), "api_calls", 1)).leased == 99
        clock.advance(seconds=1)
        await eventually(lambda: _is_used(rbac, 1))
        assert (await rbac.check_usage_limit(caller(), "api_calls", 1)).current == 101


async def test_a_slice_ends_with_its_cycle(clock: ManualClock) -> None:
    async with ManufacturerRBACManager(policy_with("api_calls = { slice = 100, seconds = 9e6 }"), clock=clock) as rbac:
        await rbac.check_usage_limit(caller(), "api_calls", 1)
        clock.set(datetime(2026, 4, 1, tzinfo=UTC))
        assert (await rbac.check_usage_limit(caller(), "api_calls", 1)).current == 100
        await rbac.reset_monthly_quotas("m1")
        assert [period.used for period in await rbac.get_usage_history("m1")] == [1, 1]


async def test_a_reset_leaves_what_others_hold_counted(workers: list[ManufacturerRBACManager]) -> None:
    for worker in workers:
        await worker.check_usage_limit(caller(), "api_calls", 1)
    assert await workers[0].reset_monthly_quotas("m1") == 1
    assert await workers[0].get_current_usage("m1", "api_calls") == 100
    await workers[1].close()
    assert await workers[0].get_current_usage("m1", "api_calls") == 1, "what it had spent before is not told apart"
    assert [period.used for period in await workers[0].get_usage_history("m1")] == [2]


async def test_a_reload_takes_other_leases(clock: ManualClock) -> None:
    async with ManufacturerRBACManager(clock=clock) as rbac:
        assert (await rbac.check_usage_limit(caller(), "api_calls", 1)).leased == 0
        await rbac.reload_policy(POLICY)
        assert (await rbac.check_usage_limit(caller(), "api_calls", 1)).leased == 99
        await rbac.reload_policy(policy_with("api_calls = { slice = 10, seconds = 30 }"))
        assert (await rbac.check_usage_limit(caller(), "api_calls", 1)).leased == 9
        await rbac.reload_policy(policy_with(""))
        result = await rbac.check_usage_limit(caller(), "api_calls", 1)
        assert (result.leased, result.allowed) == (0, True)
        await eventually(lambda: _is_used(rbac, 4))


async def test_a_measure_voids_a_slice(clock: ManualClock) -> None:
    controls = Controls(clock=clock)
    async with ManufacturerRBACManager(POLICY, clock=clock, controls=controls) as rbac:
        for _ in range(60):
            await rbac.check_usage_limit(caller(), "api_calls", 1)
        controls.apply(
            Measure(measure_id="x", kind="tighten_limit", target="api_calls", value=0.05, created_at=clock.now())
        )
        refused = await rbac.check_usage_limit(caller(), "api_calls", 1)
        assert (refused.allowed, refused.limit, refused.current) == (False, 50, 60)


async def test_a_slice_is_for_members_only(clock: ManualClock) -> None:
    async with SqliteStore() as store:
        await register(store, "m1")
        async with ManufacturerRBACManager(POLICY, store=store, clock=clock, strict_tenants=True) as rbac:
            member = caller(account_id="m1-owner")
            assert (await rbac.check_usage_limit(member, "api_calls", 1)).leased == 99
            assert (await rbac.check_usage_limit(member, "api_calls", 1)).leased == 98
            with pytest.raises(AuthorizationError):
                await rbac.check_usage_limit(caller(account_id="other-owner"), "api_calls", 1)


async def test_without_a_place_for_the_ledger_the_store_decides(tmp_path: Path) -> None:
    (tmp_path / "s.db-leases").write_text("in the way")
    async with SqliteStore(tmp_path / "s.db") as store, ManufacturerRBACManager(POLICY, store=store) as rbac:
        result = await rbac.check_usage_limit(caller(), "api_calls", 1)
        assert (result.allowed, result.current, result.leased) == (True, 1, 0)


async def test_a_redis_that_is_lost_takes_nothing_with_it(redis_server: RedisServer, tmp_path: Path) -> None:  # noqa: F811
    """It only carries news: slices are spent while it is unavailable, and given back after it came back empty."""
    cache = RedisCache(redis_server.url, probe=0.02)
    await cache.initialize()
    async with SqliteStore(tmp_path / "s.db") as store, ManufacturerRBACManager(POLICY, store=store) as rbac:
        invalidation = RedisInvalidation(cache, store.changes)
        invalidation.start()
        assert (await rbac.check_usage_limit(caller(), "api_calls", 1)).allowed
        redis_server.kill()
        assert (await rbac.check_usage_limit(caller(), "api_calls", 1)).allowed
        redis_server.start()
        await eventually(lambda: cache.up)
        assert (await rbac.check_usage_limit(caller(), "api_calls", 1)).allowed
        await rbac.reset_monthly_quotas("nobody")
        await rbac.close()
        assert await store.usage_history("m1") != []
        assert sum(entry.used for entry in await store.usage_history("m1")) == 3
        await invalidation.stop()
    await cache.close()


def spend_and_die(path: str, units: int) -> None:
    """One process: lease a slice, spend some of it, and be killed."""

    async def go() -> None:
        store = SqliteStore(path)
        await store.initialize()
        rbac = ManufacturerRBACManager(POLICY, store=store, clock=ManualClock(START))
        for _ in range(units):
            assert (await rbac.check_usage_limit("m1", "api_calls", 1)).allowed
        os.kill(os.getpid(), signal.SIGKILL)

    asyncio.run(go())


async def kill_one(path: Path, units: int) -> None:
    context: Any = multiprocessing.get_context("spawn")
    process = context.Process(target=spend_and_die, args=(str(path), units))
    process.start()
    await asyncio.to_thread(process.join, 60)
    assert process.exitcode == -signal.SIGKILL


async def test_what_a_killed_worker_held_comes_back_when_its_lease_ends(tmp_path: Path) -> None:
    await kill_one(tmp_path / "s.db", 7)
    ledgers, clock = tmp_path / "s.db-leases", ManualClock(START)
    async with (
        SqliteStore(tmp_path / "s.db") as store,
        ManufacturerRBACManager(POLICY, store=store, clock=clock) as rbac,
    ):
        look = await rbac.check_usage_limit("m1", "api_calls")
        assert (look.current, look.leased, look.remaining) == (100, 93, 993)
        assert await store.reclaim_leases(clock.now()) == 0
        assert not (await rbac.take_usage("m1", {"api_calls": 950, "data_exports": 1}))[0].allowed
        clock.advance(seconds=31)
        assert (await rbac.take_usage("m1", {"api_calls": 993, "data_exports": 1}))[0].allowed
        assert await rbac.get_current_usage("m1", "api_calls") == 1_000
        assert await store.reclaim_leases(clock.now()) == 0
        assert list(ledgers.iterdir()) == [], "its ledger is tidied up"


async def test_after_a_restart_of_the_machine_all_counts_as_spent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the ledger of an earlier boot tells may be older than what was spent."""
    await kill_one(tmp_path / "s.db", 7)
    monkeypatch.setattr("gatewright.storage.sqlite.ledger._boot", "another0")
    async with SqliteStore(tmp_path / "s.db") as store:
        assert await store.reclaim_leases(START + timedelta(seconds=31)) == 1
        assert sum(entry.used for entry in await store.usage_history("m1")) == 100
        await store.reclaim_leases(START)
        assert list((tmp_path / "s.db-leases").iterdir()) == []
