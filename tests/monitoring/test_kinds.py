"""Event kinds are logged unredacted, unlike values, and rules name only kinds that exist."""

from __future__ import annotations

import fnmatch

import pytest

from gatewright.event_kinds import every_kind
from gatewright.events import event
from gatewright.monitoring import CORRELATION_RULES, FOLD_RULES, CorrelationRule, SecurityMonitor, entry_of

KINDS = [
    "auth:token:revoked",
    "auth:refresh_token:reused",
    "auth:password:changed",
    "auth:api_key:created",
    "shop:secret:rotated",
    "token:revoked",
    "web:bearer:missing",
]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_kind_is_kept_and_found(monitor: SecurityMonitor, kind: str) -> None:
    monitor.emit(event(kind, manufacturer_id="m"))
    monitor.emit(event(kind, manufacturer_id="m", header="Bearer planted-long-enough"))  # the slower way
    for query in (kind, kind.rpartition(":")[0] + ":*"):
        assert [one.kind for one in await monitor.audit.search(kind=query)] == [kind, kind]
    assert await monitor.audit.verify()


@pytest.mark.parametrize("kind", KINDS)
def test_values_beside_a_kind_are_still_redacted(kind: str) -> None:
    told = event(
        kind, manufacturer_id="token:planted-1", actor="password=planted-2", note="auth:token:planted-3", kind_of=kind
    )
    body = entry_of(told).body.decode()
    assert kind in body and "planted" not in body


async def test_an_incident_keeps_its_kind(monitor: SecurityMonitor) -> None:
    incident = await monitor.create_security_incident("shop:token:leaked", "high", "token:planted-1")
    assert incident.kind == "shop:token:leaked" and "planted" not in str(incident)
    assert [one.kind for one in await monitor.list_incidents(kind="shop:token:leaked")] == ["shop:token:leaked"]


def test_a_kind_is_bounded_and_breaks_no_line() -> None:
    entry = entry_of(event("a:b:c\n\u202e" + "d" * 5000))
    assert len(entry.kind) <= 256 and entry.kind.isprintable()


@pytest.mark.parametrize("rule", CORRELATION_RULES, ids=lambda rule: f"{rule.name}-{rule.by}")
def test_every_kind_of_a_correlation_rule_is_emitted(rule: CorrelationRule) -> None:
    unmatched = [pattern for pattern in rule.kinds if not fnmatch.filter(every_kind(), pattern)]
    assert rule.kinds and not unmatched


def test_every_folded_kind_is_emitted() -> None:
    assert set(FOLD_RULES) <= every_kind()


def test_a_kind_that_is_not_emitted_would_be_noticed() -> None:
    assert not fnmatch.filter(every_kind(), "auth:logins:failed")
    assert not fnmatch.filter(every_kind(), "logins:*")
