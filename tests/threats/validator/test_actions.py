"""check_rate_limit: the policy's rates, counted here or by the caller, tightened by measures."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from gatewright.controls import Controls, Measure
from gatewright.errors import ValidationError
from gatewright.testing import ListSink, ManualClock
from gatewright.threats import ManufacturerSecurityValidator


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def controls(clock: ManualClock) -> Controls:
    return Controls(clock=clock)


@pytest.fixture
def sink() -> ListSink:
    return ListSink()


@pytest.fixture
def validator(clock: ManualClock, controls: Controls, sink: ListSink) -> ManufacturerSecurityValidator:
    return ManufacturerSecurityValidator(clock=clock, controls=controls, sink=sink)


async def test_a_hundred_uploads_an_hour(
    validator: ManufacturerSecurityValidator, clock: ManualClock, sink: ListSink
) -> None:
    """Each call takes one; the hundred and first is refused and told; an hour later all are free again."""
    first = await validator.check_rate_limit("m1", "product_upload")
    assert (first.allowed, first.remaining_requests, first.limit, first.retry_after) == (True, 99, 100, 0.0)
    for _ in range(99):
        last = await validator.check_rate_limit("m1", "product_upload")
    assert (last.allowed, last.remaining_requests) == (True, 0)
    refused = await validator.check_rate_limit("m1", "product_upload")
    assert (refused.allowed, refused.remaining_requests) == (False, 0)
    assert refused.retry_after == pytest.approx(36.0)
    assert sink.kinds() == ["threats:rate_limit:exceeded"]
    assert (await validator.check_rate_limit("m2", "product_upload")).allowed
    clock.advance(hours=1)
    assert (await validator.check_rate_limit("m1", "product_upload")).remaining_requests == 99


@pytest.mark.parametrize(
    ("usage", "allowed", "remaining"),
    [(0, True, 99), (50, True, 49), (99, True, 0), (100, False, 0), (5_000, False, 0)],
)
async def test_the_callers_own_count(
    validator: ManufacturerSecurityValidator, usage: int, allowed: bool, remaining: int
) -> None:
    """A given count is taken as it is, and nothing is counted here."""
    result = await validator.check_rate_limit("m1", "product_upload", current_usage=usage)
    assert (result.allowed, result.remaining_requests, result["limit"]) == (allowed, remaining, 100)
    assert (result.retry_after > 0) is not allowed
    assert (await validator.check_rate_limit("m1", "product_upload")).remaining_requests == 99


async def test_an_unknown_action_gets_the_default(validator: ManufacturerSecurityValidator) -> None:
    result = await validator.check_rate_limit("m1", "something_else")
    assert (result.limit, result.remaining_requests) == (1_000, 999)


async def test_names_with_colons_share_no_count(validator: ManufacturerSecurityValidator) -> None:
    for manufacturer_id, action in (("c", "a:b"), ("b:c", "a"), ("c", "product_upload:b"), ("b:c", "product_upload")):
        result = await validator.check_rate_limit(manufacturer_id, action)
        assert result.remaining_requests == result.limit - 1


async def test_a_measure_tightens(
    validator: ManufacturerSecurityValidator, controls: Controls, clock: ManualClock
) -> None:
    measure = Measure(measure_id="x", kind="tighten_limit", scope="manufacturer:m1", value=0.1, created_at=clock.now())
    controls.apply(measure)
    assert (await validator.check_rate_limit("m1", "product_upload")).limit == 10
    assert (await validator.check_rate_limit("m2", "product_upload")).limit == 100


@pytest.mark.parametrize(
    "arguments",
    [
        *((name, "x") for name in ("", "m" * 201, None, 5, b"m1")),
        *(("m1", action) for action in ("", "x" * 201, None, 5, b"x")),
        *(("m1", "x", usage) for usage in (-1, True, 1.5, "1")),
    ],
)
async def test_nonsense_is_refused(validator: ManufacturerSecurityValidator, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(ValidationError):
        await validator.check_rate_limit(*arguments)
