"""Measures in force are listed with their ids, and protected networks are never blocked."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given, strategies as st

from gatewright.controls import Controls, Measure
from gatewright.errors import ValidationError
from gatewright.foundation import SecurityFoundation
from gatewright.monitoring import SecurityMonitor
from gatewright.settings import Settings
from gatewright.storage import SqliteStore
from gatewright.testing import ManualClock
from tests.monitoring.test_posture import attack


def block(network: str, clock: ManualClock, measure_id: str = "mea_by_hand") -> Measure:
    return Measure(measure_id=measure_id, kind="block", scope=f"network:{network}", created_at=clock.now())


async def test_what_is_in_force_is_listed_and_rolled_back_by_its_id(
    monitor: SecurityMonitor, clock: ManualClock
) -> None:
    attack(monitor, clock)
    proposal = next(p for p in await monitor.propose() if p.measure.kind == "block")
    assert await monitor.measures_in_force() == []
    await monitor.apply(proposal.proposal_id, actor="ann")
    await monitor.posture.impose(block("198.51.100.0/24", clock), actor="bob")
    listed = {found.id: found for found in await monitor.measures_in_force()}
    assert set(listed) == {proposal.measure.measure_id, "mea_by_hand"}
    found = listed[proposal.measure.measure_id]
    assert "Block network 203.0.113.7/32" in found.summary and found.until is not None and found.created_by == "ann"
    rolled = await monitor.roll_back(proposal.measure.measure_id, actor="ann")
    assert (rolled.proposal_id, rolled.status) == (proposal.proposal_id, "rolled_back")
    assert (await monitor.roll_back("mea_by_hand", actor="ann")).status == "rolled_back"
    assert await monitor.measures_in_force() == [] == monitor.controls.snapshot()
    for gone in ("mea_by_hand", proposal.measure.measure_id, "mea_none"):
        with pytest.raises(ValidationError) as caught:
            await monitor.roll_back(gone)
        assert caught.value.code == "UNKNOWN_PROPOSAL"


async def test_a_measure_that_ended_is_not_listed(monitor: SecurityMonitor, clock: ManualClock) -> None:
    attack(monitor, clock)
    for proposal in await monitor.propose():
        await monitor.apply(proposal.proposal_id)
    clock.advance(7 * 3600)
    assert await monitor.measures_in_force() == []


@pytest.mark.parametrize("network", ["127.0.0.1/32", "126.0.0.0/7", "::1/128", "::/1"])
async def test_loopback_is_blocked_by_nobody(monitor: SecurityMonitor, clock: ManualClock, network: str) -> None:
    with pytest.raises(ValidationError) as caught:
        await monitor.posture.impose(block(network, clock))
    assert caught.value.code == "PROTECTED_NETWORK"


async def test_an_attack_from_a_protected_network_proposes_no_block(store: SqliteStore, clock: ManualClock) -> None:
    controls = Controls(clock=clock, protected=["203.0.113.0/24"])
    for mode in ("suggest", "enforce"):
        async with SecurityMonitor(store, clock=clock, controls=controls, posture_mode=mode) as monitor:
            attack(monitor, clock)
            assert {p.measure.kind for p in await monitor.propose()} <= {"detection_level"}
            assert not controls.is_blocked("203.0.113.7")


async def test_a_foundation_protects_loopback_its_proxies_and_configured_networks(clock: ManualClock) -> None:
    settings = Settings(
        database=":memory:", trusted_proxies="10.1.0.0/16", protected_networks="192.0.2.7, 2001:db8::/32"
    )
    async with SecurityFoundation(settings, clock=clock) as foundation:
        for network in ("127.0.0.1/32", "10.1.2.0/24", "192.0.2.0/24", "2001:db8:1::/64"):
            with pytest.raises(ValidationError):
                await foundation.monitor.posture.impose(block(network, clock))
            foundation.controls.apply(block(network, clock))  # as an older version left it in the store
        for address in ("127.0.0.1", "::ffff:127.0.0.1", "10.1.2.3", "192.0.2.7", "2001:db8:1::1"):
            assert not foundation.controls.is_blocked(address), address
        await foundation.monitor.posture.impose(block("10.2.0.0/16", clock))
        assert foundation.controls.is_blocked("10.2.0.1")


@given(st.ip_addresses(), st.ip_addresses(), st.integers(1, 128), st.integers(0, 128))
def test_no_protected_address_is_ever_blocked(
    a: ipaddress._BaseAddress, b: ipaddress._BaseAddress, n: int, m: int
) -> None:
    clock = ManualClock()
    safe = ipaddress.ip_network(f"{a}/{min(m, a.max_prefixlen)}", strict=False)
    controls = Controls(clock=clock, protected=[str(safe)])
    controls.apply(block(str(ipaddress.ip_network(f"{b}/{min(n, b.max_prefixlen)}", strict=False)), clock))
    assert not controls.is_blocked(str(a))
