"""Quotas: the contract's limits, cycles, refunds, warnings, and what is refused as an amount."""

from __future__ import annotations

import asyncio
import enum
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gatewright.errors import QuotaExceededError, UnknownResourceError, ValidationError
from gatewright.policy import load_policy, parse_policy
from gatewright.rbac import ManufacturerRBACManager
from gatewright.storage import SqliteStore
from gatewright.testing import ListSink, ManualClock
from tests.rbac.conftest import caller, register
from tests.support.waiting import eventually
from tests.test_policy import TEXT

LIMITS = {
    "free": {"product_uploads": 100, "ml_tool_requests": 50, "api_calls": 1_000, "data_exports": 5},
    "professional": {"product_uploads": 1_000, "ml_tool_requests": 500, "api_calls": 10_000, "data_exports": 50},
    "enterprise": {"product_uploads": -1, "ml_tool_requests": 5_000, "api_calls": 100_000, "data_exports": 500},
}


class Own(enum.Enum):
    UPLOADS = "product_uploads"


@pytest.mark.parametrize("tier", LIMITS)
@pytest.mark.parametrize("resource", LIMITS["free"])
async def test_every_limit(rbac: ManufacturerRBACManager, tier: str, resource: str) -> None:
    limit = LIMITS[tier][resource]
    context = caller(tier)
    before = await rbac.check_usage_limit(context, resource)
    assert (before.allowed, before.limit, before.current, before.tier) == (True, limit, 0, tier)
    if limit == -1:
        taken = await rbac.check_usage_limit(context, resource, 1_000_000)
        assert (taken.allowed, taken.limit, taken.remaining, taken.current) == (True, -1, -1, 1_000_000)
        return
    taken = await rbac.check_usage_limit(context, resource, limit)
    assert (taken.allowed, taken.remaining, taken.current, taken.reason) == (True, 0, limit, None)
    refused = await rbac.check_usage_limit(context, resource, 1)
    assert (refused.allowed, refused.remaining, refused.current) == (False, 0, limit)
    assert refused["reason"] == "quota_exceeded"
    assert not (await rbac.check_usage_limit(context, resource)).allowed


async def test_all_or_nothing(rbac: ManufacturerRBACManager) -> None:
    assert (await rbac.check_usage_limit(caller(), Own.UPLOADS, 99)).allowed
    refused = await rbac.check_usage_limit(caller(), "product_uploads", 2)
    assert (refused.allowed, refused.current, refused.remaining) == (False, 99, 1)
    assert (await rbac.check_usage_limit(caller(), "product_uploads", 1)).allowed


async def test_several_resources_are_taken_together_or_not_at_all(rbac: ManufacturerRBACManager) -> None:
    one, two = await rbac.take_usage(caller(), {"product_uploads": 3, "data_exports": 5})
    assert (one.allowed, one.current, two.allowed, two.current) == (True, 3, True, 5)
    one, two = await rbac.take_usage(caller(), {"product_uploads": 1, "data_exports": 1})
    assert (one.current, two.allowed, two.reason) == (3, False, "quota_exceeded")
    assert await rbac.get_current_usage("m1", "product_uploads") == 3
    (both,) = await rbac.take_usage(caller(), {Own.UPLOADS: 1, "product_uploads": 2})
    assert both.current == 6


async def test_enforcing(rbac: ManufacturerRBACManager, sink: ListSink, clock: ManualClock) -> None:
    assert (await rbac.enforce_usage_limit(caller(), "data_exports", 5)).current == 5
    with pytest.raises(QuotaExceededError) as refused:
        await rbac.enforce_usage_limit(caller(ip_address="192.0.2.1"), "data_exports", 2, operation_context="nightly")
    error = refused.value
    assert (error.manufacturer_id, error.resource, error.current, error.limit) == ("m1", "data_exports", 5, 5)
    assert (error.operation_context, error.resets_at) == ("nightly", datetime(2026, 4, 1, tzinfo=UTC))
    (attempt,) = await rbac.get_overage_attempts("m1", 1)
    assert (attempt.resource, attempt.amount, attempt.current, attempt.limit) == ("data_exports", 2, 5, 5)
    assert (attempt.operation_context, attempt.timestamp) == ("nightly", clock.now())
    assert sink.kinds()[-1] == "rbac:quota:exceeded"
    clock.advance(hours=2)
    assert await rbac.get_overage_attempts("m1", 1) == []
    assert await rbac.get_overage_attempts("m2", 100) == []


async def test_counting_what_happened_and_giving_back(rbac: ManufacturerRBACManager) -> None:
    assert await rbac.increment_usage("m1", "product_uploads", 150) == 150
    assert not (await rbac.check_usage_limit(caller(), "product_uploads", 1)).allowed
    assert await rbac.refund_usage("m1", "product_uploads", 60) == 90
    assert await rbac.refund_usage("m1", "product_uploads", 1_000) == 0
    assert await rbac.increment_usage("m1", "product_uploads") == 1
    usage = await rbac.get_current_usage("m1")
    assert usage == {"product_uploads": 1, "ml_tool_requests": 0, "api_calls": 0, "data_exports": 0}
    assert [r.resource for r in await rbac.get_usage_overview("m1")] == sorted(usage)


@pytest.mark.parametrize("amount", [-1, 1.0, 1.5, float("nan"), float("inf"), True, "1", None, 10**13, [1]])
async def test_what_is_no_amount(rbac: ManufacturerRBACManager, amount: Any) -> None:
    for call in (
        rbac.check_usage_limit(caller(), "api_calls", amount),
        rbac.enforce_usage_limit(caller(), "api_calls", amount),
        rbac.increment_usage("m1", "api_calls", amount),
        rbac.refund_usage("m1", "api_calls", amount),
        rbac.take_usage(caller(), {"api_calls": amount}),
    ):
        with pytest.raises(ValidationError) as refused:
            await call
        assert refused.value.code == "INVALID_AMOUNT"
    assert await rbac.get_current_usage("m1", "api_calls") == 0


@pytest.mark.parametrize("resource", ["odd", "", None, 3, ["api_calls"]])
async def test_what_is_no_resource(rbac: ManufacturerRBACManager, resource: Any) -> None:
    for call in (
        rbac.check_usage_limit(caller(), resource),
        rbac.increment_usage("m1", resource),
        rbac.refund_usage("m1", resource),
    ):
        with pytest.raises(UnknownResourceError, match="api_calls"):
            await call


async def test_warnings_come_once_at_each_share(rbac: ManufacturerRBACManager, sink: ListSink) -> None:
    for _ in range(100):
        await rbac.check_usage_limit(caller(), "product_uploads", 1)
    assert [(e.kind, e.data["share"], e.data["current"]) for e in sink.events] == [
        ("rbac:quota:nearly_used", 0.8, 80),
        ("rbac:quota:nearly_used", 0.95, 95),
    ]


@pytest.mark.parametrize(
    ("billing_day", "now", "start", "end"),
    [
        (1, datetime(2026, 3, 31, 23, 59, 59), datetime(2026, 3, 1), datetime(2026, 4, 1)),
        (15, datetime(2026, 3, 14), datetime(2026, 2, 15), datetime(2026, 3, 15)),
        (28, datetime(2027, 2, 28), datetime(2027, 2, 28), datetime(2027, 3, 28)),
        (29, datetime(2027, 2, 28), datetime(2027, 2, 28), datetime(2027, 3, 29)),
        (30, datetime(2028, 2, 29), datetime(2028, 2, 29), datetime(2028, 3, 30)),
        (31, datetime(2026, 4, 29), datetime(2026, 3, 31), datetime(2026, 4, 30)),
        (31, datetime(2026, 12, 31), datetime(2026, 12, 31), datetime(2027, 1, 31)),
        (31, datetime(2027, 1, 30), datetime(2026, 12, 31), datetime(2027, 1, 31)),
    ],
)
async def test_the_cycle_is_the_account_s_own(billing_day: int, now: datetime, start: datetime, end: datetime) -> None:
    clock = ManualClock(now.replace(tzinfo=UTC))
    async with SqliteStore() as store, ManufacturerRBACManager(store=store, clock=clock) as rbac:
        await register(store, "m1", billing_day=billing_day)
        await rbac.check_usage_limit("m1", "data_exports", 5)
        assert (await rbac.check_usage_limit("m1", "data_exports")).resets_at == end.replace(tzinfo=UTC)
        clock.set(end.replace(tzinfo=UTC) - timedelta(microseconds=1))
        assert await rbac.get_current_usage("m1", "data_exports") == 5
        clock.set(end.replace(tzinfo=UTC))
        assert await rbac.get_current_usage("m1", "data_exports") == 0
        assert (await rbac.check_usage_limit("m1", "data_exports", 2)).allowed
        assert [(p.period_start, p.used) for p in await rbac.get_usage_history("m1")] == [
            (start.replace(tzinfo=UTC), 5),
            (end.replace(tzinfo=UTC), 2),
        ]


async def test_a_reset_keeps_the_past(rbac: ManufacturerRBACManager, sink: ListSink) -> None:
    await rbac.check_usage_limit(caller(), "data_exports", 5)
    await rbac.check_usage_limit(caller(), "api_calls", 7)
    await rbac.check_usage_limit(caller(of="m2"), "data_exports", 5)
    assert await rbac.reset_monthly_quotas("m1") == 2
    assert await rbac.get_current_usage("m1", "data_exports") == 0
    assert await rbac.get_current_usage("m2", "data_exports") == 5
    assert {p.resource: p.used for p in await rbac.get_usage_history("m1")} == {"data_exports": 5, "api_calls": 7}
    assert await rbac.reset_monthly_quotas() == 1
    assert sink.kinds() == ["rbac:quota:nearly_used"] * 4 + ["rbac:quota:reset"] * 2


async def test_a_refund_after_the_cycle_s_end_goes_back_to_that_cycle(
    rbac: ManufacturerRBACManager, clock: ManualClock
) -> None:
    clock.set(datetime(2026, 3, 31, 23, 59, 59, tzinfo=UTC))
    taken_at = clock.now()
    await rbac.check_usage_limit(caller(), "data_exports", 5)
    clock.advance(2)
    await rbac.check_usage_limit(caller(), "data_exports", 5)
    assert await rbac.refund_usage("m1", "data_exports", 1, taken_at=taken_at) >= 4
    assert not (await rbac.check_usage_limit(caller(), "data_exports", 1)).allowed
    assert [p.used for p in await rbac.get_usage_history("m1")] == [4, 5]
    for bad in (clock.now() + timedelta(1), clock.now().replace(tzinfo=None)):
        with pytest.raises(ValidationError):
            await rbac.refund_usage("m1", "data_exports", 1, taken_at=bad)


async def test_a_refund_of_yesterday_within_the_cycle(rbac: ManufacturerRBACManager, clock: ManualClock) -> None:
    await rbac.check_usage_limit(caller(), "data_exports", 3)
    clock.advance(days=1)
    await rbac.check_usage_limit(caller(), "data_exports", 1)
    assert await rbac.refund_usage("m1", "data_exports", 3) == 1


async def test_usage_is_kept_when_the_tier_changes(rbac: ManufacturerRBACManager) -> None:
    await rbac.check_usage_limit(caller(), "data_exports", 5)
    await rbac.update_manufacturer_tier("m1", "professional", reason="bought")
    up = await rbac.check_usage_limit(caller(), "data_exports", 10)
    assert (up.allowed, up.current, up.remaining, up.tier) == (True, 15, 35, "professional")
    await rbac.update_manufacturer_tier("m1", "free", reason="expired")
    down = await rbac.check_usage_limit(caller(), "data_exports", 1)
    assert (down.allowed, down.current, down.remaining, down.limit) == (False, 15, 0, 5)


async def test_days_and_rolling_windows(clock: ManualClock) -> None:
    text = TEXT.replace('limit = 5, window = "month"', 'limit = 5, window = "day"')
    text = text.replace('= { limit = 1_000, window = "month" }', '= { limit = 6, window = "rolling", hours = 1 }', 1)
    async with ManufacturerRBACManager(parse_policy(text), clock=clock) as rbac:
        taken = await rbac.check_usage_limit(caller(), "data_exports", 5)
        assert taken.resets_at == datetime(2026, 3, 11, tzinfo=UTC)
        assert not (await rbac.check_usage_limit(caller(), "data_exports", 1)).allowed
        clock.set(datetime(2026, 3, 11, tzinfo=UTC))
        assert (await rbac.check_usage_limit(caller(), "data_exports", 5)).allowed
        granted: list[datetime] = []
        for _ in range(200):
            if (await rbac.check_usage_limit(caller(), "api_calls", 1)).allowed:
                granted.append(clock.now())
            clock.advance(seconds=61)
        assert len(granted) >= 15
        for moment in granted:
            assert sum(moment - timedelta(hours=1) < other <= moment for other in granted) <= 6


async def test_fifty_tasks_fight_for_the_last_unit(rbac: ManufacturerRBACManager) -> None:
    await rbac.increment_usage("m1", "data_exports", 4)
    results = await asyncio.gather(*(rbac.check_usage_limit(caller(), "data_exports", 1) for _ in range(50)))
    assert sum(r.allowed for r in results) == 1
    assert await rbac.get_current_usage("m1", "data_exports") == 5


async def test_what_a_cancelled_caller_took_is_given_back(rbac: ManufacturerRBACManager) -> None:
    early = [asyncio.ensure_future(rbac.check_usage_limit(caller(), "data_exports", 1)) for _ in range(3)]
    early[0].cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    early[1].cancel()
    await asyncio.gather(*early, return_exceptions=True)
    assert early[2].result().allowed

    async def given_back() -> bool:
        return await rbac.get_current_usage("m1", "data_exports") == 1

    await eventually(given_back)


async def test_an_own_resource_of_a_policy(clock: ManualClock) -> None:
    text = TEXT.replace("[tiers.free.limits]", "[tiers.free.limits]\nsample_boxes = { limit = 2 }")
    async with ManufacturerRBACManager(parse_policy(text), clock=clock) as rbac:
        assert (await rbac.check_usage_limit(caller("enterprise"), "sample_boxes", 2)).allowed
        assert not (await rbac.check_usage_limit(caller("enterprise"), "sample_boxes", 1)).allowed
    assert "sample_boxes" not in load_policy().tiers["free"].limits
