"""Controls: what is in force, for whom, and for how long."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, strategies as st

from gatewright.controls import Controls, Measure, MeasureKind, network_of
from gatewright.errors import ValidationError
from gatewright.testing import ManualClock

CLOCK = ManualClock()


def measure(kind: str, scope: str = "*", *, number: int = 1, clock: ManualClock = CLOCK, **fields: Any) -> Measure:
    return Measure(measure_id=f"m{number}", kind=kind, scope=scope, created_at=clock.now(), **fields)


def test_nothing_in_force_changes_nothing() -> None:
    controls = Controls()
    assert not controls.mfa_required("m")
    assert controls.limit_factor("login", "m") == 1.0
    assert controls.detection_level("m", "/x") == 1
    assert not controls.is_blocked("192.0.2.1", manufacturer_id="m")
    assert controls.snapshot() == []


def test_mfa_is_required_of_one_or_of_everyone() -> None:
    controls = Controls()
    controls.apply(measure(MeasureKind.REQUIRE_MFA, "manufacturer:m"))
    assert controls.mfa_required("m")
    assert not controls.mfa_required("other")
    assert not controls.mfa_required()
    controls.apply(measure(MeasureKind.REQUIRE_MFA, number=2))
    assert controls.mfa_required("other")
    assert controls.mfa_required()


def test_the_strongest_tightening_counts() -> None:
    controls = Controls()
    controls.apply(measure(MeasureKind.TIGHTEN_LIMIT, target="login", value=0.5))
    controls.apply(measure(MeasureKind.TIGHTEN_LIMIT, "manufacturer:m", number=2, value=0.25))
    assert controls.limit_factor("login") == 0.5
    assert controls.limit_factor("login", "m") == 0.25
    assert controls.limit_factor("api", "m") == 0.25
    assert controls.limit_factor("api", "other") == 1.0


def test_the_highest_level_counts() -> None:
    controls = Controls(default_level=2)
    controls.apply(measure(MeasureKind.DETECTION_LEVEL, "manufacturer:m", value=3))
    controls.apply(measure(MeasureKind.DETECTION_LEVEL, number=2, target="/admin", value=4))
    controls.apply(measure(MeasureKind.DETECTION_LEVEL, number=3, value=1))
    assert controls.detection_level() == 2
    assert controls.detection_level("m") == 3
    assert controls.detection_level("m", "/admin") == 4
    assert controls.detection_level(route="/admin") == 4


def test_blocks_by_manufacturer_and_network() -> None:
    controls = Controls()
    controls.apply(measure(MeasureKind.BLOCK, "manufacturer:m"))
    assert controls.is_blocked(manufacturer_id="m")
    assert not controls.is_blocked("192.0.2.9", manufacturer_id="n")
    controls.apply(measure(MeasureKind.BLOCK, "network:192.0.2.0/24", number=2))
    controls.apply(measure(MeasureKind.BLOCK, "network:2001:db8::/64", number=3))
    assert controls.is_blocked("192.0.2.9")
    assert controls.is_blocked("::ffff:192.0.2.9")
    assert controls.is_blocked("2001:db8::1", manufacturer_id="n")
    assert not controls.is_blocked("192.0.3.9")
    assert not controls.is_blocked("2001:db8:0:1::1")
    assert not controls.is_blocked("no address")
    found = controls.blocked_by("192.0.2.9")
    assert found is not None
    assert found.measure_id == "m2"


@given(st.ip_addresses(), st.ip_addresses(), st.integers(1, 128))
def test_a_block_covers_exactly_its_network(inside: Any, other: Any, prefix: int) -> None:
    network = ipaddress.ip_network(f"{inside}/{min(prefix, inside.max_prefixlen)}", strict=False)
    controls = Controls()
    controls.apply(measure(MeasureKind.BLOCK, f"network:{network}"))
    mapped = getattr(other, "ipv4_mapped", None) or other
    assert controls.is_blocked(str(other)) == (mapped.version == network.version and mapped in network)


def test_a_measure_ends_by_the_clock() -> None:
    clock = ManualClock()
    controls = Controls(clock=clock)
    controls.apply(measure(MeasureKind.REQUIRE_MFA, clock=clock, until=clock.now() + timedelta(seconds=60)))
    controls.apply(measure(MeasureKind.TIGHTEN_LIMIT, clock=clock, number=2, value=0.5))
    assert controls.mfa_required("m")
    clock.advance(59.9)
    assert controls.mfa_required("m")
    clock.advance(0.2)
    assert not controls.mfa_required("m")
    assert [m.measure_id for m in controls.snapshot()] == ["m2"]
    assert controls.get("m1") is None


def test_removing_restores_what_held_before() -> None:
    controls = Controls()
    controls.apply(measure(MeasureKind.DETECTION_LEVEL, value=2))
    controls.apply(measure(MeasureKind.DETECTION_LEVEL, number=2, value=4))
    removed = controls.remove("m2")
    assert removed is not None
    assert removed.value == 4
    assert controls.detection_level() == 2
    assert controls.remove("m2") is None
    controls.replace([measure(MeasureKind.REQUIRE_MFA, number=5)])
    assert controls.detection_level() == 1
    assert controls.mfa_required()


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("unheard_of", {}),
        (MeasureKind.BLOCK, {"scope": "*"}),
        (MeasureKind.BLOCK, {"scope": "network:0.0.0.0/0"}),
        (MeasureKind.BLOCK, {"scope": "network:192.0.2.1/24"}),
        (MeasureKind.BLOCK, {"scope": "network:nonsense"}),
        (MeasureKind.BLOCK, {"scope": "manufacturer:"}),
        (MeasureKind.REQUIRE_MFA, {"scope": "network:192.0.2.0/24"}),
        (MeasureKind.TIGHTEN_LIMIT, {"value": 0}),
        (MeasureKind.TIGHTEN_LIMIT, {"value": 1.5}),
        (MeasureKind.DETECTION_LEVEL, {"value": 5}),
        (MeasureKind.DETECTION_LEVEL, {"value": 2.5}),
    ],
)
def test_a_measure_that_breaks_the_rules_is_refused(kind: str, fields: dict[str, Any]) -> None:
    controls = Controls()
    with pytest.raises(ValidationError) as caught:
        controls.apply(measure(kind, **fields))
    assert caught.value.errors[0].error_type == "INVALID_MEASURE"
    assert controls.snapshot() == []


def test_a_naive_end_is_refused() -> None:
    with pytest.raises(ValidationError):
        Controls().apply(measure(MeasureKind.REQUIRE_MFA, until=CLOCK.now().replace(tzinfo=None)))


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.77", "192.0.2.0/24"),
        ("2001:db8::77", "2001:db8::/64"),
        ("::ffff:192.0.2.77", "192.0.2.0/24"),
        ("nonsense", None),
    ],
)
def test_what_counts_as_one_source(address: str, network: str | None) -> None:
    assert network_of(address) == network


def test_a_measure_on_all_limits_leaves_paid_quotas_alone() -> None:
    controls = Controls()
    now = datetime.now(UTC)
    controls.apply(Measure(measure_id="m1", kind="tighten_limit", value=0.5, created_at=now))
    assert controls.limit_factor("requests") == 0.5
    assert controls.limit_factor("product_uploads", exact=True) == 1.0
    named = Measure(measure_id="m2", kind="tighten_limit", target="product_uploads", value=0.25, created_at=now)
    controls.apply(named)
    assert controls.limit_factor("product_uploads", "mfr_1", exact=True) == 0.25
