"""Times that callers give: at the edge of what a datetime can hold, they are field errors and never crash."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from gatewright.controls import Controls, Measure
from gatewright.errors import ValidationError
from gatewright.rbac import ManufacturerRBACManager
from tests.auth.access import world
from tests.auth.identity import START

EAST, WEST = timezone(timedelta(hours=14)), timezone(timedelta(hours=-14))
IMPOSSIBLE = [
    datetime(9999, 12, 31, 23, 59, 59, tzinfo=WEST),
    datetime(9999, 12, 31, 10, 0, 0, tzinfo=WEST),
    datetime(1, 1, 1, 0, 0, 0, tzinfo=EAST),
]


@pytest.mark.parametrize("moment", IMPOSSIBLE, ids=str)
async def test_an_expiry_beyond_the_calendar_is_a_field_error(moment: datetime) -> None:
    async with world() as here:
        with pytest.raises(ValidationError) as caught:
            await here.auth.create_api_key("mfr_acme", "ci", permissions=["api_access"], expires_at=moment)
        assert [(e.field, e.error_type) for e in caught.value.errors] == [("expires_at", "INVALID_EXPIRY")]


@pytest.mark.parametrize("expires_at", [START, START - timedelta(days=1), "2999-01-01", 7])
async def test_what_is_past_or_no_time_is_a_field_error(expires_at: Any) -> None:
    async with world() as here:
        with pytest.raises(ValidationError) as caught:
            await here.auth.create_api_key("mfr_acme", "ci", permissions=["api_access"], expires_at=expires_at)
        assert [e.field for e in caught.value.errors] == ["expires_at"]


async def test_the_last_second_of_the_calendar_is_an_expiry() -> None:
    last = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    async with world() as here:
        made = await here.auth.create_api_key("mfr_acme", "ci", permissions=["api_access"], expires_at=last)
        assert made.expires_at == last
        assert [key.expires_at for key in await here.auth.list_api_keys("mfr_acme")] == [last]


@pytest.mark.parametrize("until", [*IMPOSSIBLE, timedelta.max, timedelta(days=3_000_000), timedelta(0), START], ids=str)
async def test_a_grant_cannot_end_beyond_the_calendar(until: datetime | timedelta) -> None:
    async with ManufacturerRBACManager() as rbac:
        with pytest.raises(ValidationError) as caught:
            await rbac.grant_permission("mfr_acme", "export_data", until=until, reason="a trial")
        assert [(e.field, e.error_type) for e in caught.value.errors] == [("until", "INVALID_UNTIL")]
        assert not await rbac.has_permission("mfr_acme", "export_data")


@pytest.mark.parametrize("moment", IMPOSSIBLE, ids=str)
async def test_units_are_not_given_back_to_a_cycle_beyond_the_calendar(moment: datetime) -> None:
    async with ManufacturerRBACManager() as rbac:
        with pytest.raises(ValidationError):
            await rbac.refund_usage("mfr_acme", "api_calls", 1, taken_at=moment)


@pytest.mark.parametrize("moment", IMPOSSIBLE, ids=str)
def test_a_measure_cannot_end_beyond_the_calendar(moment: datetime) -> None:
    measure = Measure(measure_id="m", kind="require_mfa", until=moment, created_at=START)
    with pytest.raises(ValidationError) as caught:
        Controls().apply(measure)
    assert [e.field for e in caught.value.errors] == ["until"]
