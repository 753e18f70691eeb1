"""LeaseStore: a slice is counted before it is spent, shrinks towards the limit, and comes back once."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gatewright.storage import Leased, LeasedUnits, Store
from tests.contract.test_usage import NOW, take

UNTIL = NOW + timedelta(seconds=30)


async def lease(store: Store, amount: int, most: int, *, limit: int = 100, former: LeasedUnits | None = None) -> Leased:
    return await store.lease_usage("m", take(amount, limit=limit), most, at=NOW, until=UNTIL, former=former)


async def used(store: Store) -> int:
    return (await store.read_usage("m", (take(0),)))[0]


async def test_a_slice_is_counted_and_what_is_not_spent_comes_back_once(store: Store) -> None:
    leased = await lease(store, 1, 30)
    piece = leased.units
    assert piece is not None and (leased.used, piece.left, piece.take.amount) == (30, 30, 30)
    assert piece.spend(12) and not piece.spend(19) and piece.left == 18
    assert await store.unspent_usage("m", take(0)) == 18
    piece.freeze()
    assert not piece.spend(1)
    for _ in range(2):
        await store.end_lease(piece)
        assert (await used(store), await store.unspent_usage("m", take(0))) == (12, 0)


async def test_a_new_slice_takes_the_place_of_the_former_in_one_step(store: Store) -> None:
    former = (await lease(store, 1, 30)).units
    assert former is not None and former.spend(25)
    former.freeze()
    leased = await lease(store, 10, 30, former=former)
    assert leased.units is not None and leased.used == 25 + 30
    await store.end_lease(former)
    assert await used(store) == 55, "the former was ended already"


async def test_slices_shrink_towards_the_limit(store: Store) -> None:
    sizes = []
    while (piece := (await lease(store, 1, 60)).units) is not None:
        sizes.append(piece.take.amount)
    assert sizes == [50, 25, 16, 9]
    refused = await lease(store, 1, 60)
    assert (refused.used, refused.units) == (100, None)
    assert await store.overage_attempts("m", since=NOW) == [], "a slice that is not to be had is no attempt"


async def test_more_than_a_slice_is_not_leased(store: Store) -> None:
    assert (await lease(store, 31, 30)).units is None
    assert await used(store) == 0


@pytest.mark.parametrize("seconds", [0, 31])
async def test_what_this_process_holds_is_not_reclaimed(store: Store, seconds: int) -> None:
    piece = (await lease(store, 1, 30)).units
    assert piece is not None
    assert await store.reclaim_leases(NOW + timedelta(seconds=seconds)) == 0
    assert piece.spend(30) and await used(store) == 30


async def test_a_reset_keeps_what_is_leased(store: Store) -> None:
    piece = (await lease(store, 1, 30)).units
    await store.take_usage("m", (take(10, limit=100),), NOW)
    assert await store.reset_usage("m", {"calls"}, since=0) == 1
    assert piece is not None and await used(store) == 30
    await store.end_lease(piece)
    assert (await used(store), [entry.used for entry in await store.usage_history("m")]) == (0, [10])
