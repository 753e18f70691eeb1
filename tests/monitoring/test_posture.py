"""Posture: from events to measures in force, and rolling back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gatewright.controls import Controls, Measure, MeasureKind
from gatewright.errors import ValidationError
from gatewright.events import ListSink, event
from gatewright.monitoring import MeasureLimits, SecurityMonitor
from gatewright.performance import performance_monitor
from gatewright.storage import SqliteStore
from gatewright.testing import ManualClock
from tests.monitoring.conftest import eventually


def attack(monitor: SecurityMonitor, clock: ManualClock, address: str = "203.0.113.7", count: int = 5) -> None:
    for _ in range(count):
        monitor.emit(event("threats:request:blocked", timestamp=clock.now(), manufacturer_id="m", ip_address=address))


@pytest.fixture
async def enforcing(store: SqliteStore, clock: ManualClock) -> AsyncIterator[SecurityMonitor]:
    async with SecurityMonitor(store, clock=clock, posture_mode="enforce") as opened:
        yield opened


async def test_suggestions_wait_for_a_person(monitor: SecurityMonitor, clock: ManualClock) -> None:
    attack(monitor, clock)
    (finding,) = [f for f in await monitor.assess() if f.kind == "repeated_threats"]
    assert finding.severity == "high"
    assert finding.measured["events"] == 5
    assert all(type(answer.kind) is str for found in await monitor.assess() for answer in found.answers)
    block, level = await monitor.propose()
    assert {block.measure.kind, level.measure.kind} == {"block", "detection_level"}
    if block.measure.kind != "block":
        block, level = level, block
    assert block.measure.scope == "network:203.0.113.7/32"
    assert "Block network 203.0.113.7/32 for 1 h" in block.summary
    assert not monitor.controls.is_blocked("203.0.113.7")
    assert {p.proposal_id for p in await monitor.propose()} == {block.proposal_id, level.proposal_id}

    applied = await monitor.apply(block.proposal_id, actor="ann")
    assert applied.status == "applied"
    assert applied.measure.created_by == "ann"
    assert monitor.controls.is_blocked("203.0.113.7")
    assert [p.proposal_id for p in await monitor.propose()] == [level.proposal_id]
    clock.advance(3601)
    assert not monitor.controls.is_blocked("203.0.113.7")
    assert len(await monitor.propose()) == 2  # it ran out and the incident is open: it may be proposed again


async def test_rolling_back_restores_what_held_before(monitor: SecurityMonitor, clock: ManualClock) -> None:
    attack(monitor, clock)
    (level,) = [p for p in await monitor.propose() if p.measure.kind == "detection_level"]
    await monitor.apply(level.proposal_id)
    assert monitor.controls.detection_level("m") == 2
    rolled = await monitor.roll_back(level.proposal_id, actor="bob")
    assert rolled.status == "rolled_back"
    assert monitor.controls.detection_level("m") == 1
    assert [p.proposal_id for p in await monitor.posture.proposals(status="rolled_back")] == [level.proposal_id]
    kinds = [one.kind for one in await monitor.audit.search(kind="monitoring:measure:*")]
    assert kinds == ["monitoring:measure:lifted", "monitoring:measure:applied"]
    for call in (monitor.apply, monitor.roll_back):
        with pytest.raises(ValidationError) as caught:
            await call(level.proposal_id)
        assert caught.value.code == "PROPOSAL_NOT_OPEN"
        with pytest.raises(ValidationError) as caught:
            await call("unknown")
        assert caught.value.code == "UNKNOWN_PROPOSAL"


async def test_enforcing_acts_by_itself_and_ends_by_itself(enforcing: SecurityMonitor, clock: ManualClock) -> None:
    attack(enforcing, clock)
    await enforcing.flush()
    assert enforcing.controls.is_blocked("203.0.113.7")
    assert enforcing.controls.detection_level("m") == 2
    assert not enforcing.controls.is_blocked("203.0.113.8")
    applied = await enforcing.audit.search(kind="monitoring:measure:applied")
    assert {one.actor for one in applied} == {"posture"}
    clock.advance(3601)
    assert not enforcing.controls.is_blocked("203.0.113.7")
    assert enforcing.controls.detection_level("m") == 2
    clock.advance(6 * 3600)
    assert enforcing.controls.detection_level("m") == 1


@pytest.mark.parametrize(
    ("kind", "count", "fields", "check"),
    [
        (
            "auth:refresh:reused",
            1,
            {"account_id": "a", "manufacturer_id": "m"},
            lambda controls: controls.mfa_required("m") and not controls.mfa_required("n"),
        ),
        (
            "rbac:permission:denied",
            20,
            {"manufacturer_id": "m"},
            lambda controls: controls.limit_factor("anything", "m") == 0.5,
        ),
        (
            "auth:stuffing:detected",
            1,
            {"pattern": "many_networks"},
            lambda controls: controls.limit_factor("login") == 0.5 and controls.limit_factor("api") == 1,
        ),
        (
            "auth:stuffing:detected",
            1,
            {"pattern": "many_accounts", "ip_address": "2001:db8::1"},
            lambda controls: controls.is_blocked("2001:db8::ffff"),
        ),
    ],
)
async def test_what_answers_what(
    enforcing: SecurityMonitor, clock: ManualClock, kind: str, count: int, fields: dict[str, Any], check: Any
) -> None:
    for _ in range(count):
        enforcing.emit(event(kind, timestamp=clock.now(), **fields))
    await enforcing.flush()
    assert check(enforcing.controls)


async def test_what_a_person_rolled_back_is_respected(enforcing: SecurityMonitor, clock: ManualClock) -> None:
    attack(enforcing, clock)
    await enforcing.flush()
    (block,) = [p for p in await enforcing.posture.proposals() if p.measure.kind == "block"]
    await enforcing.roll_back(block.proposal_id, actor="ann")
    attack(enforcing, clock)
    await enforcing.flush()
    assert not enforcing.controls.is_blocked("203.0.113.7")
    clock.advance(86_401)
    attack(enforcing, clock)
    await enforcing.flush()
    assert enforcing.controls.is_blocked("203.0.113.7")


async def test_bounds_hold(store: SqliteStore, clock: ManualClock) -> None:
    limits = MeasureLimits(
        active=2, detection_level=1, limit_factor=0.8, seconds=60, kinds=("block", "tighten_limit", "detection_level")
    )
    async with SecurityMonitor(store, clock=clock, posture_mode="enforce", measure_limits=limits) as monitor:
        attack(monitor, clock, "127.0.0.1")
        monitor.emit(event("auth:refresh:reused", timestamp=clock.now(), manufacturer_id="m"))
        await monitor.flush()
        assert monitor.controls.snapshot() == []
        for _ in range(20):
            monitor.emit(event("rbac:permission:denied", timestamp=clock.now(), manufacturer_id="m"))
        for last in (1, 2, 3):
            attack(monitor, clock, f"198.51.{last}.7")
        await monitor.flush()
        assert len(monitor.controls.snapshot()) == 2
        assert monitor.controls.limit_factor("x", "m") == 0.8
        assert monitor.controls.is_blocked("198.51.1.7")
        assert not monitor.controls.is_blocked("198.51.2.7")
        clock.advance(61)
        assert monitor.controls.snapshot() == []


async def test_facts_are_judged(store: SqliteStore) -> None:
    facts = {
        "debug": True,
        "mode": "production",
        "inspection_mode": "shadow",
        "staff_without_mfa": 2,
        "failed_compliance_checks": [],
        "audit_intact": None,
        "detector_degraded": False,
        "public_url_https": True,
    }

    async def measured() -> dict[str, Any]:
        return facts

    for given in (facts, lambda: facts, measured):
        async with SecurityMonitor(store, facts=given) as monitor:
            found = {f.kind: f for f in await monitor.assess() if f.finding_id.startswith("fact:")}
            assert set(found) == {"debug", "inspection_mode", "staff_without_mfa"}
            assert found["staff_without_mfa"].measured == {"staff_without_mfa": 2}
            (proposal,) = await monitor.propose()
            assert proposal.measure.kind == "require_mfa"
    async with SecurityMonitor(store, facts=facts) as monitor:
        await monitor.apply(proposal.proposal_id)
        assert monitor.controls.mfa_required("platform")


async def test_a_function_over_budget_is_a_finding(monitor: SecurityMonitor) -> None:
    @performance_monitor(max_time=1e-9, name="posture_test_slow")
    def slow() -> None:
        return None

    for _ in range(120):
        slow()
    (finding,) = [f for f in await monitor.assess() if "posture_test_slow" in f.finding_id]
    assert finding.measured["over_budget"] == 1.0


async def test_measures_reach_other_processes_and_survive_a_restart(
    store: SqliteStore, monitor: SecurityMonitor, clock: ManualClock, tmp_path: Path
) -> None:
    local = Measure(
        measure_id="local", kind=MeasureKind.REQUIRE_MFA.value, scope="manufacturer:l", created_at=clock.now()
    )
    shared = Measure(measure_id="s", kind=MeasureKind.REQUIRE_MFA.value, scope="manufacturer:m", created_at=clock.now())
    async with SqliteStore(tmp_path / "store.db", durable=False, poll_interval=0.02) as elsewhere:
        sink, controls = ListSink(), Controls(clock=clock)
        controls.apply(local)
        async with SecurityMonitor(elsewhere, sink, clock=clock, controls=controls) as other:
            await monitor.posture.impose(shared, actor="ann")
            await eventually(lambda: controls.mfa_required("m"))
            assert await other.posture.lift("s", actor="bob") == shared
            assert sink.kinds() == ["monitoring:measure:lifted"]
            await eventually(lambda: not monitor.controls.mfa_required("m"))
            assert controls.mfa_required("l")
            assert await other.posture.lift("unknown") is None
    await monitor.posture.impose(shared)
    async with SecurityMonitor(store, clock=clock) as later:
        assert later.controls.mfa_required("m")


async def test_a_mode_is_one_of_two(store: SqliteStore) -> None:
    with pytest.raises(ValidationError):
        SecurityMonitor(store, posture_mode="panic")  # type: ignore[arg-type]  # the mistake that is tested
