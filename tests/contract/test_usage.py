"""UsageStore: no concurrency overruns a limit, several takes are one, and what was refused is remembered."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from gatewright.storage import Store, UsageTake

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
DAY = int(datetime(2026, 3, 10, tzinfo=UTC).timestamp())
SINCE = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp())


def take(amount: int, *, limit: int = 10, resource: str = "calls", bucket: int = DAY, since: int = SINCE) -> UsageTake:
    return UsageTake(resource=resource, amount=amount, limit=limit, bucket=bucket, since=since)


async def test_a_take_counts_what_the_window_holds(store: Store) -> None:
    await store.take_usage("m", (take(3, bucket=SINCE - 86_400),), NOW)
    await store.take_usage("m", (take(4, bucket=SINCE),), NOW)
    outcome = await store.take_usage("m", (take(5),), NOW)
    assert (outcome.granted, outcome.used) == (True, (9,))
    refused = await store.take_usage("m", (take(2),), NOW)
    assert (refused.granted, refused.used, refused.refused) == (False, (9,), "calls")
    assert await store.read_usage("m", (take(0), take(0, since=DAY), take(0, resource="other"))) == (9, 5, 0)
    assert await store.read_usage("n", (take(0),)) == (0,)


async def test_several_are_one(store: Store) -> None:
    refused = await store.take_usage("m", (take(1), take(3, resource="other", limit=2)), NOW)
    assert (refused.granted, refused.used, refused.refused) == (False, (0, 0), "other")
    granted = await store.take_usage("m", (take(1), take(2, resource="other", limit=2)), NOW)
    assert (granted.granted, granted.used) == (True, (1, 2))
    unlimited = await store.take_usage("m", (take(10**12, limit=-1),), NOW)
    assert unlimited.used == (10**12 + 1,)


async def test_many_at_once_get_no_more_than_the_limit(store: Store) -> None:
    """Different windows of one resource in one batch included."""
    orders = [take(1 + n % 3, since=SINCE if n % 2 else DAY) for n in range(100)]
    outcomes = await asyncio.gather(*(store.take_usage("m", (order,), NOW) for order in orders))
    granted = sum(order.amount for order, outcome in zip(orders, outcomes, strict=True) if outcome.granted)
    assert granted == 10
    assert await store.read_usage("m", (take(0),)) == (10,)


async def test_a_refund_goes_to_the_newest_and_never_below_zero(store: Store) -> None:
    await store.take_usage("m", (take(3, bucket=SINCE),), NOW)
    await store.take_usage("m", (take(2),), NOW)
    assert await store.refund_usage("m", take(4), NOW) == 1
    assert [(u.start, u.used) for u in await store.usage_history("m")] == [(SINCE, 1), (DAY, 0)]
    assert await store.refund_usage("m", take(4), NOW) == 0
    assert await store.refund_usage("nobody", take(4), NOW) == 0


async def test_a_reset_keeps_the_history(store: Store) -> None:
    for owner in ("m", "n"):
        await store.take_usage(owner, (take(3), take(2, resource="other")), NOW)
    assert await store.reset_usage("m", {"calls"}, since=SINCE) == 1
    assert await store.read_usage("m", (take(0), take(0, resource="other"))) == (0, 2)
    assert await store.reset_usage(None, ["calls", "other"], since=SINCE) == 3
    assert [(u.resource, u.used) for u in await store.usage_history("m")] == [("calls", 3), ("other", 2)]
    assert await store.usage_history("m", since=DAY + 1) == []


async def test_refusals_are_remembered_newest_first(store: Store) -> None:
    for number in range(3):
        await store.take_usage(
            "m", (take(11 + number),), NOW + timedelta(hours=number), operation_context=f"{number}" * 300
        )
    found = await store.overage_attempts("m", since=NOW + timedelta(hours=1))
    assert [(a.amount, a.current, a.limit, a.operation_context) for a in found] == [
        (13, 0, 10, "2" * 200),
        (12, 0, 10, "1" * 200),
    ]
    assert await store.overage_attempts("n", since=NOW) == []
