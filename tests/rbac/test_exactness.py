"""Exactness: a model and the manager agree, whatever comes; and so do processes, even when one is killed."""

from __future__ import annotations

import asyncio
import multiprocessing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from bench.soak_quota import one_round
from hypothesis import HealthCheck, given, settings, strategies as st

from gatewright.rbac import ManufacturerRBACManager
from gatewright.storage import SqliteStore
from gatewright.testing import ManualClock
from tests.rbac.conftest import caller
from tests.support.redis import RedisServer, redis_session  # noqa: F401 - a fixture

LIMITS = {"free": 5, "professional": 50}

steps = st.one_of(
    st.tuples(st.just("take"), st.integers(1, 7)),
    st.tuples(st.just("together"), st.lists(st.integers(1, 4), min_size=2, max_size=6)),
    st.tuples(st.just("refund"), st.integers(1, 7)),
    st.tuples(st.just("tier"), st.sampled_from(sorted(LIMITS))),
    st.tuples(st.just("days"), st.integers(1, 20)),
    st.tuples(st.just("reset"), st.just(0)),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(steps, max_size=25))
def test_the_manager_agrees_with_the_model(program: list[tuple[str, Any]]) -> None:
    asyncio.run(run(program))


async def run(program: list[tuple[str, Any]]) -> None:
    """The model: one number, one limit, and the months."""
    clock = ManualClock(datetime(2026, 1, 10, tzinfo=UTC))
    used, tier = 0, "free"
    async with ManufacturerRBACManager(clock=clock) as rbac:
        await rbac.update_manufacturer_tier("m1", tier, reason="begin")
        for what, value in program:
            if what == "take":
                result = await rbac.check_usage_limit(caller(), "data_exports", value)
                assert result.allowed == (used + value <= LIMITS[tier])
                used += value if result.allowed else 0
                assert result.current == used
            elif what == "together":
                results = await asyncio.gather(*(rbac.check_usage_limit("m1", "data_exports", n) for n in value))
                taken = sum(n for n, r in zip(value, results, strict=True) if r.allowed)
                assert taken == 0 or used + taken <= LIMITS[tier]
                assert all(
                    used + taken + n > LIMITS[tier] for n, r in zip(value, results, strict=True) if not r.allowed
                )
                used += taken
            elif what == "refund":
                used = max(0, used - value)
                assert await rbac.refund_usage("m1", "data_exports", value) == used
            elif what == "tier":
                tier = value
                await rbac.update_manufacturer_tier("m1", tier, reason="model")
            elif what == "days":
                month = clock.now().month
                clock.advance(timedelta(days=value).total_seconds())
                used = used if clock.now().month == month else 0
            else:
                await rbac.reset_monthly_quotas("m1")
                used = 0
            assert await rbac.get_current_usage("m1", "data_exports") == used


def manager(store: SqliteStore) -> ManufacturerRBACManager:
    """A manager whose month does not end while processes fight."""
    return ManufacturerRBACManager(store=store, clock=ManualClock(datetime(2026, 3, 10, 12, tzinfo=UTC)))


def fight(path: str, results: Any, start: Any) -> None:
    """One process: fifty tasks for the last unit."""

    async def go() -> int:
        async with SqliteStore(path, durable=False) as store, manager(store) as rbac:
            start.wait()
            answers = await asyncio.gather(*(rbac.check_usage_limit("m1", "data_exports", 1) for _ in range(50)))
            return sum(answer.allowed for answer in answers)

    results.put(asyncio.run(go()))


async def test_of_four_processes_with_fifty_tasks_exactly_one_gets_the_last_unit(tmp_path: Path) -> None:
    path = str(tmp_path / "s.db")
    async with SqliteStore(path, durable=False) as store, manager(store) as rbac:
        await rbac.increment_usage("m1", "data_exports", 4)
    context = multiprocessing.get_context("spawn")
    results, start = context.Queue(), context.Barrier(4)
    processes = [context.Process(target=fight, args=(path, results, start)) for _ in range(4)]
    for process in processes:
        process.start()
    won = [await asyncio.to_thread(results.get, True, 300) for _ in processes]
    for process in processes:
        await asyncio.to_thread(process.join, 60)
    assert sorted(won) == [0, 0, 0, 1]


@pytest.mark.slow
@pytest.mark.parametrize("number", range(3))
def test_a_killed_process_breaks_no_promise(number: int, tmp_path: Path, redis_session: RedisServer) -> None:  # noqa: F811 - the fixture
    """The store alone, leases, and leases with Redis."""
    assert one_round(tmp_path, number, tasks=60, redis=redis_session.url).problems == []
