"""Folding of repeated refusals: number and content of rows, and what is never folded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from gatewright.events import SecurityEvent, Severity, event
from gatewright.monitoring import MAX_SITE_NETWORKS, WINDOW_SECONDS, Folding, SecurityMonitor
from gatewright.testing import ManualClock

REFUSED = "web:request:refused"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def monitor(clock: ManualClock) -> AsyncIterator[SecurityMonitor]:
    async with SecurityMonitor(clock=clock) as opened:
        yield opened


def refused(clock: ManualClock, kind: str = REFUSED, ip: str = "192.0.2.1", **more: Any) -> SecurityEvent:
    return event(
        kind,
        severity=Severity.NOTICE,
        timestamp=clock.now(),
        ip_address=ip,
        **{"code": "INVALID_TOKEN", "request_id": "r", **more},
    )


async def rows(monitor: SecurityMonitor, kind: str = REFUSED) -> list[Any]:
    await monitor.flush()
    return list(await monitor.audit.search(kind=kind, limit=1000))


async def test_the_first_is_kept_at_once_and_the_rest_as_one(monitor: SecurityMonitor, clock: ManualClock) -> None:
    for number in range(500):
        monitor.emit(refused(clock, request_id=f"r{number}"))
        clock.advance(0.1)
    assert len(await rows(monitor)) == 1
    clock.advance(WINDOW_SECONDS)
    monitor.emit(refused(clock))
    kept = await rows(monitor)
    assert len(kept) == 3, "the first, the folded one, and the first of the next minute"
    folded = next(e for e in kept if "count" in e.data)
    assert folded.data["count"] == 499 and folded.data["codes"] == [{"code": "INVALID_TOKEN", "count": 499}]
    assert folded.data["first_at"] < folded.data["last_at"]
    assert folded.data["request_ids"] == [f"r{n}" for n in range(495, 500)] and folded.data["source"] == "192.0.2.0/24"
    assert folded.ip_address == "192.0.2.1"


async def test_each_code_shows_and_many_codes_do_not_make_many_rows(
    monitor: SecurityMonitor, clock: ManualClock
) -> None:
    for number in range(300):
        monitor.emit(refused(clock, code=f"CODE_{number % 100}"))
    assert len(await rows(monitor)) == 9


async def test_closing_keeps_what_was_counted(clock: ManualClock) -> None:
    from gatewright.storage import SqliteStore

    store = SqliteStore()
    await store.initialize()
    async with SecurityMonitor(store, clock=clock) as monitor:
        for _ in range(5):
            monitor.emit(refused(clock))
    async with SecurityMonitor(store, clock=clock) as again:
        assert sorted(e.data.get("count", 1) for e in await rows(again)) == [1, 4]
        assert (await again.audit.verify()).valid
    await store.close()


async def test_folding_hides_nothing_from_correlation(monitor: SecurityMonitor, clock: ManualClock) -> None:
    for _ in range(20):
        monitor.emit(refused(clock, "rbac:permission:denied", manufacturer_id="m", permission="x"))
    found = await monitor.list_incidents()
    assert [(i.kind, i.event_count) for i in found] == [("privilege_probing", 20)]
    clock.advance(WINDOW_SECONDS + 1)
    monitor.emit(refused(clock))
    await monitor.flush()
    assert len(await rows(monitor, "rbac:permission:denied")) == 2
    assert [i.event_count for i in await monitor.list_incidents()] == [20], "the folded one does not count again"


async def test_people_are_told_apart_from_their_neighbours(monitor: SecurityMonitor, clock: ManualClock) -> None:
    for account in ("a", "b"):
        for _ in range(10):
            monitor.emit(refused(clock, manufacturer_id="m", account_id=account))
    assert sorted(e.account_id for e in await rows(monitor)) == ["a", "b"]


async def test_what_matters_most_and_guesses_are_never_folded(monitor: SecurityMonitor, clock: ManualClock) -> None:
    for _ in range(15):
        monitor.emit(event(REFUSED, severity=Severity.HIGH, timestamp=clock.now(), code="X"))
        monitor.emit(
            event("auth:login:failed", severity=Severity.WARNING, timestamp=clock.now(), ip_address="192.0.2.1")
        )
    assert len(await rows(monitor)) == 15
    assert len(await rows(monitor, "auth:login:failed")) == 15


async def test_an_ipv6_site_makes_no_row_for_each_of_its_networks(monitor: SecurityMonitor, clock: ManualClock) -> None:
    for number in range(2_000):
        monitor.emit(refused(clock, ip=f"2001:db8:7:{number:x}::1"))
    assert len(await rows(monitor)) == MAX_SITE_NETWORKS + 1


def test_memory_is_bounded_whoever_comes(clock: ManualClock) -> None:
    folding = Folding(clock, sources=50)
    kept = sum(folding.take(refused(clock, ip=f"10.{n // 256}.{n % 256}.1")) for n in range(5_000))
    assert kept == 51
    clock.advance(WINDOW_SECONDS)
    (others,) = folding.due()
    assert others.data["count"] == 5_000 - 51 and others.data["source"] == "*"
    assert others.ip_address is None
    assert folding.due() == []


def test_addresses_that_are_none_are_one_source(clock: ManualClock) -> None:
    folding = Folding(clock)
    assert [folding.take(refused(clock, ip=ip)) for ip in ("", "junk", "\n", "::ffff:junk")] == [True] + [False] * 3


async def test_metrics_count_each(monitor: SecurityMonitor, clock: ManualClock) -> None:
    for _ in range(7):
        monitor.emit(refused(clock))
    assert any(line.endswith(" 7.0") and REFUSED in line for line in monitor.metrics_text().splitlines())
