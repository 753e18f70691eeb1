"""Correlation rules: which events together are an incident."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gatewright.events import SecurityEvent, event
from gatewright.monitoring import CorrelationRule, Correlator, correlation
from gatewright.storage import StoredIncident

START = datetime(2026, 5, 1, tzinfo=UTC)


def at(seconds: float, kind: str, **fields: Any) -> SecurityEvent:
    return event(kind, timestamp=START + timedelta(seconds=seconds), **fields)


def taken(*events: SecurityEvent) -> list[StoredIncident]:
    correlator = Correlator()
    return [incident for one in events for incident in correlator.take(one)]


def test_brute_force_on_one_account() -> None:
    failures = [
        at(n, "auth:login:failed", account_id="a", manufacturer_id="m", ip_address=f"198.51.{n}.1") for n in range(10)
    ]
    assert taken(*failures[:9]) == []
    (incident,) = taken(*failures)
    assert (incident.kind, incident.severity) == ("brute_force", "high")
    assert (incident.account_id, incident.manufacturer_id, incident.source) == ("a", "m", None)
    assert incident.event_count == 10
    assert (incident.first_seen, incident.last_seen) == (failures[0].timestamp, failures[-1].timestamp)
    assert incident.timeline[-1]["event_id"] == failures[-1].event_id


def test_failures_spread_over_time_or_accounts_are_none() -> None:
    assert taken(*(at(n * 70, "auth:login:failed", account_id="a") for n in range(30))) == []
    assert taken(*(at(n, "auth:login:succeeded", account_id="a") for n in range(30))) == []


def test_an_incident_is_reported_again_only_after_as_many_more() -> None:
    incidents = taken(*(at(n, "auth:mfa:failed", account_id="a") for n in range(25)))
    assert [i.event_count for i in incidents] == [10, 10]
    assert incidents[0].dedup_key == incidents[1].dedup_key
    assert incidents[0].incident_id != incidents[1].incident_id


def test_credential_stuffing_from_one_network() -> None:
    incidents = taken(*(at(n, "auth:login:failed", account_key=f"k{n}", ip_address=f"192.0.2.{n}") for n in range(10)))
    (incident,) = incidents
    assert incident.kind == "credential_stuffing"
    assert incident.source == "192.0.2.0/24"
    assert len(incident.details["addresses"]) == 10
    same = (at(n, "auth:login:failed", account_id="a", ip_address="192.0.2.1") for n in range(9))
    assert taken(*same) == []


def test_stuffing_that_auth_reports_itself() -> None:
    (one,) = taken(at(0, "auth:stuffing:detected", pattern="many_accounts", ip_address="192.0.2.1"))
    assert (one.kind, one.source) == ("credential_stuffing", "192.0.2.0/24")
    (all_over,) = taken(at(0, "auth:stuffing:detected", pattern="many_networks"))
    assert (all_over.kind, all_over.source) == ("distributed_guessing", None)


@pytest.mark.parametrize(
    ("kind", "count", "fields", "expected"),
    [
        ("auth:account:locked", 1, {"account_id": "a"}, ["brute_force"]),
        ("auth:attempt:refused", 10, {"account_id": "a"}, ["brute_force"]),
        ("auth:refresh:reused", 1, {"account_id": "a", "manufacturer_id": "m"}, ["refresh_token_reuse"]),
        ("auth:session:risky", 1, {"manufacturer_id": "m", "action": "end"}, ["session_hijack"]),
        ("threats:request:blocked", 5, {"ip_address": "192.0.2.1"}, ["repeated_threats"]),
        (
            "threats:request:blocked",
            10,
            {"ip_address": "192.0.2.1", "manufacturer_id": "m"},
            ["repeated_threats", "repeated_threats", "manufacturer_threats"],
        ),
        ("rbac:permission:denied", 20, {"manufacturer_id": "m"}, ["privilege_probing"]),
        ("rbac:quota:exceeded", 50, {"manufacturer_id": "m"}, ["quota_abuse"]),
        ("web:request:refused", 50, {"manufacturer_id": "m", "code": "RATE_LIMIT_EXCEEDED"}, ["quota_abuse"]),
        ("web:request:refused", 50, {"manufacturer_id": "m", "code": "QUOTA_EXCEEDED"}, []),
        ("encryption:data:refused", 3, {"manufacturer_id": "m"}, ["foreign_data"]),
        ("auth:mfa:bypass_refused", 1, {"account_id": "a"}, ["mfa_bypass"]),
        ("auth:passkey:cloned", 1, {"account_id": "a"}, ["passkey_cloned"]),
        ("web:request:refused", 50, {"manufacturer_id": "m", "code": "INVALID_TOKEN"}, []),
        ("web:request:refused", 50, {"code": "RATE_LIMIT_EXCEEDED"}, []),
        ("monitoring:incident:opened", 100, {"manufacturer_id": "m"}, []),
        ("auth:login:failed", 600, {"ip_address": "no address"}, []),
    ],
)
def test_the_rules(kind: str, count: int, fields: dict[str, Any], expected: list[str]) -> None:
    assert [i.kind for i in taken(*(at(n / 10, kind, **fields) for n in range(count)))] == expected


def test_distinct_values_of_the_data_by_a_rule_of_ones_own() -> None:
    rule = CorrelationRule(
        name="scan",
        kinds=("x:*:y",),
        by="platform",
        threshold=3,
        window=10,
        severity="notice",
        summary="s",
        distinct="path",
    )
    correlator = Correlator([rule])
    found = [correlator.take(at(n, "x:any:y", path=path)) for n, path in enumerate("aabbac")]
    assert [bool(incidents) for incidents in found] == [False, False, False, False, False, True]
    by_network = Correlator(
        [CorrelationRule(**{**rule.to_dict(), "distinct": "network", "threshold": 2})],
    )
    assert not by_network.take(at(0, "x:any:y", ip_address="192.0.2.1"))
    assert not by_network.take(at(0, "x:any:y", ip_address="192.0.2.2"))
    assert by_network.take(at(0, "x:any:y", ip_address="192.0.3.1"))


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correlation, "MAX_WINDOWS", 100)
    correlator = Correlator()
    for n in range(1000):
        correlator.take(at(0, "rbac:permission:denied", manufacturer_id=f"m{n}"))
    assert len(correlator._windows) == 100
    for n in range(2000):
        correlator.take(at(n / 1000, "auth:login:failed", account_id="same", ip_address="192.0.2.1", x="y" * 9999))
    assert all(len(window) < 20 for window in correlator._windows.values())


def test_a_flood_on_one_account_hides_no_other() -> None:
    flood = [at(n / 100, "auth:login:failed", account_id="same", ip_address="192.0.2.1") for n in range(5000)]
    others = [at(60 + n, "auth:login:failed", account_id=f"a{n}", ip_address="192.0.2.1") for n in range(9)]
    found = [i for i in taken(*others[:5], *flood, *others[5:]) if i.kind == "credential_stuffing"]
    assert len(found) == 1
    assert found[0].event_count > 5000
