"""Incidents: the public calls."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatewright.errors import ValidationError
from gatewright.events import event
from gatewright.monitoring import SecurityMonitor
from gatewright.storage import SqliteStore
from gatewright.testing import ManualClock
from tests.monitoring.conftest import eventually


def attack(monitor: SecurityMonitor, clock: ManualClock, count: int = 5) -> None:
    for _ in range(count):
        monitor.emit(
            event(
                "threats:request:blocked",
                severity="warning",
                timestamp=clock.now(),
                manufacturer_id="m",
                ip_address="203.0.113.7",
            )
        )


async def test_events_become_an_incident_that_grows(monitor: SecurityMonitor, clock: ManualClock) -> None:
    attack(monitor, clock)
    (incident,) = await monitor.list_incidents()
    assert (incident.kind, incident.status, incident.event_count) == ("repeated_threats", "open", 5)
    clock.advance(30)
    attack(monitor, clock)
    (grown, _) = await monitor.list_incidents(since=clock.now())
    assert {i.kind for i in await monitor.list_incidents()} == {"repeated_threats", "manufacturer_threats"}
    assert grown.last_seen == clock.now()
    told = await monitor.audit.search(kind="monitoring:incident:*")
    assert [one.kind.rpartition(":")[2] for one in told] == ["opened", "updated", "opened"]
    assert told[0].severity == "warning"


async def test_an_incident_by_hand_is_resolved_once(monitor: SecurityMonitor, clock: ManualClock) -> None:
    incident = await monitor.create_security_incident(
        "lost_laptop",
        "critical",
        "A laptop of staff was stolen.",
        manufacturer_id="platform",
        ip_address="192.0.2.1",
        event_ids=["e1"],
        actor="ann",
        model="x1",
        password="planted",
    )
    assert (incident.kind, incident.severity, incident.status) == ("lost_laptop", "critical", "open")
    assert incident["summary"] == "A laptop of staff was stolen."
    assert incident.source == "192.0.2.0/24"
    assert incident.details["model"] == "x1"
    assert "planted" not in str(incident)
    assert [entry["event_id"] for entry in incident.timeline] == [None, "e1"]
    assert await monitor.list_incidents(kind="lost_laptop", manufacturer_id="platform") == [incident]
    closed = await monitor.resolve_incident(incident.incident_id, "found again", actor="bob")
    assert (closed.status, closed.resolved_by, closed.resolution) == ("resolved", "bob", "found again")
    assert closed.resolved_at == clock.now()
    assert await monitor.list_incidents(status="open") == []
    for incident_id, code in ((incident.incident_id, "INCIDENT_RESOLVED"), ("unknown", "UNKNOWN_INCIDENT")):
        with pytest.raises(ValidationError) as caught:
            await monitor.resolve_incident(incident_id, "again")
        assert caught.value.code == code
    kinds = [one.kind for one in await monitor.audit.search(kind="monitoring:*")]
    assert kinds == ["monitoring:incident:resolved", "monitoring:incident:opened"]


async def test_by_hand_twice_with_one_key_is_one(monitor: SecurityMonitor) -> None:
    first = await monitor.create_security_incident("outage", dedup_key="k")
    second = await monitor.create_security_incident("outage", dedup_key="k")
    third = await monitor.create_security_incident("outage")
    assert first.incident_id == second.incident_id != third.incident_id
    assert second.event_count == 2
    assert first.severity == "high"


async def test_what_makes_no_sense_is_refused(monitor: SecurityMonitor) -> None:
    for kind, severity in (("x", "awful"), ("", "high"), ("x" * 200, "high")):
        with pytest.raises(ValidationError):
            await monitor.create_security_incident(kind, severity)
    with pytest.raises(ValidationError):
        await monitor.list_incidents(status="half")
    with pytest.raises(ValidationError):
        await monitor.list_incidents(limit=0)


async def test_incidents_of_an_outage_are_kept_until_the_store_is_back(
    store: SqliteStore, monitor: SecurityMonitor, clock: ManualClock
) -> None:
    await monitor.flush()
    await store.close()
    attack(monitor, clock)
    await monitor.flush()
    await store.initialize()
    await eventually(lambda: "audit_store_away 0.0" in monitor.metrics_text())
    monitor.emit(event("auth:login:succeeded", timestamp=clock.now()))
    assert [i.kind for i in await monitor.list_incidents()] == ["repeated_threats"]


async def test_processes_count_together(store: SqliteStore, monitor: SecurityMonitor, tmp_path: Path) -> None:
    def fail(where: SecurityMonitor, count: int, account: str = "a") -> None:
        for _ in range(count):
            where.emit(event("auth:login:failed", account_id=account, manufacturer_id="m"))

    async with (
        SqliteStore(tmp_path / "store.db", durable=False) as elsewhere,
        SecurityMonitor(elsewhere) as other,
    ):
        fail(monitor, 5)
        await monitor.flush()
        fail(other, 4)
        assert await other.list_incidents() == []
        fail(other, 1)
        (incident,) = await other.list_incidents()
        assert (incident.kind, incident.account_id, incident.event_count) == ("brute_force", "a", 5)
        fail(other, 4)
        await other.flush()
        (same,) = await monitor.list_incidents()
        assert same.event_count == 5  # the count began again
