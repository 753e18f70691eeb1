"""What every throttle promises: all at once up to the limit, then one each interval."""

from __future__ import annotations

import asyncio

from gatewright.storage import Rate, Store

RATE = Rate(limit=5, period=60.0)


async def test_the_limit_passes_at_once_and_the_next_is_told_to_wait(store: Store) -> None:
    results = [await store.throttle("k", RATE) for _ in range(6)]
    assert [r.allowed for r in results] == [True] * 5 + [False]
    assert [r.remaining for r in results] == [4, 3, 2, 1, 0, 0]
    assert 10.0 < results[-1].retry_after <= 12.0
    assert 55.0 < results[-1].reset_after <= 60.0


async def test_a_refusal_and_a_look_cost_nothing(store: Store) -> None:
    assert (await store.throttle("k", RATE, cost=0)).remaining == 5
    await store.throttle("k", RATE, cost=4)
    assert not (await store.throttle("k", RATE, cost=2)).allowed
    look = await store.throttle("k", RATE, cost=0)
    assert look.allowed and look.remaining == 1


async def test_keys_do_not_share_and_can_be_cleared(store: Store) -> None:
    await store.throttle("a", RATE, cost=5)
    assert (await store.throttle("b", RATE)).allowed
    await store.clear_throttle("a")
    assert (await store.throttle("a", RATE)).remaining == 4


async def test_fifty_tasks_get_no_more_than_the_limit(store: Store) -> None:
    results = await asyncio.gather(*(store.throttle("k", RATE) for _ in range(50)))
    assert sum(r.allowed for r in results) == 5
