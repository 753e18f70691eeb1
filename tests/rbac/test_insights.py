"""Insights: the forecast's intervals hold, suggestions are right, and what is applied can be undone exactly."""

from __future__ import annotations

from datetime import timedelta

import pytest
from bench import insights
from bench._forecast import back_test
from bench._suggestions import back_test_suggestions, overall

from gatewright.errors import InsufficientPermissionsError, ValidationError
from gatewright.policy import load_policy
from gatewright.rbac import (
    ManufacturerRBACManager,
    Refusals,
    days_until,
    fit,
    span,
    wanted,
)
from gatewright.testing import ListSink, ManualClock
from tests.rbac.conftest import caller


def test_eighty_per_cent_intervals_cover_75_to_90_per_cent() -> None:
    for result in back_test(rounds=200, seed=4):
        assert 0.75 <= result.coverage <= 0.90, result


def test_the_back_test_prints_every_shape_and_kind(capsys: pytest.CaptureFixture[str]) -> None:
    code = insights.main(rounds=60, seed=1)
    printed = capsys.readouterr().out
    assert all(shape in printed for shape in ("steady", "growing", "seasonal", "bursty", "idle"))
    shapes, total = back_test(rounds=60, seed=1), overall(back_test_suggestions(load_policy(), rounds=15, seed=1))
    honest = all(0.75 <= shape.coverage <= 0.9 for shape in shapes) and total.precision >= 0.9
    assert code == (0 if honest else 1)


def test_a_forecast_of_little_or_nothing() -> None:
    assert fit([]).over(10) == 0
    assert span([], 5).expected == 0
    assert span([3.0], 0).high == 0
    assert span([10.0] * 5, 10).expected == pytest.approx(100)
    assert days_until([10.0] * 60, 95, 30) == (10, 10, 10)
    assert days_until([10.0] * 60, 1_000, 30) == (None, None, None)
    assert days_until([10.0] * 60, 5, 0) == (None, None, None)


def test_the_season_is_that_of_the_weekday() -> None:
    days = ([120.0] * 5 + [10.0] * 2) * 10
    season = fit(days).season
    assert season[0] > 1 and season[5] < 0.4 and season[6] < 0.4
    assert fit(days[:-1]).season[0] < 0.4


def test_tier_suggestions_are_precise() -> None:
    """Tenants labeled by what they will want: many near the limit, noisy, with one wild week, or a slow season."""
    kinds = {kind.kind: kind for kind in back_test_suggestions(load_policy(), rounds=60, seed=3)}
    everything = overall(list(kinds.values()))
    assert everything.suggested >= 30 and everything.precision >= 0.9, kinds
    assert kinds["clear"].recall >= 0.8, "who is far over the limit is found"
    assert kinds["one-off burst"].suggested == 0, "some wild days prove nothing, whatever they are refused"
    assert kinds["campaign"].suggested == 0, "nor does what is about to end"


def test_retries_after_a_refusal_do_not_look_like_need() -> None:
    days = [10] * 55 + [0] * 5
    assert Refusals.of([0, 5, 0], today=2) == Refusals(units=7, days=2, daily=(0, 5, 0))
    assert wanted(days, Refusals.of([0] * 55 + [900] * 5)) == [10] * 60
    assert wanted(days, None) == days


async def fill(rbac: ManufacturerRBACManager, clock: ManualClock, days: int, units: int) -> None:
    for _ in range(days):
        await rbac.increment_usage("m1", "api_calls", units)
        clock.advance(days=1)


async def test_analytics(rbac: ManufacturerRBACManager, clock: ManualClock) -> None:
    empty = await rbac.get_usage_analytics("nobody")
    assert (empty.days_known, empty.anomalies, empty.forecasts["api_calls"].ends_on) == (0, (), None)
    await fill(rbac, clock, 60, 20)
    await rbac.increment_usage("m1", "api_calls", 400)
    clock.advance(days=1)
    seen = await rbac.get_usage_analytics("m1")
    assert seen.totals["api_calls"] == 1_600 and seen.resources["api_calls"].last_30_days == 980
    (odd,) = seen.anomalies
    assert (odd.used, odd.direction, odd.day.date()) == (400, "more", (clock.now() - timedelta(days=1)).date())
    ahead = seen.forecasts["api_calls"]
    assert ahead.low <= ahead.expected <= ahead.high and ahead.current == 560
    assert ahead.ends_on is not None and ahead.earliest is not None and clock.now() < ahead.ends_on < ahead.cycle_ends


async def test_a_higher_tier_is_suggested_tried_and_undone(
    rbac: ManufacturerRBACManager, clock: ManualClock, sink: ListSink
) -> None:
    assert (await rbac.suggest_tier("m1")).suggestion_id is None
    await fill(rbac, clock, 60, 90)
    found = await rbac.suggest_tier("m1")
    assert (found.current, found.suggested) == ("free", "professional")
    assert found.evidence[0].resource == "api_calls" and found.evidence[0].suggested_limit == 10_000
    assert found.evidence[0].chance == pytest.approx(32 / 33), "31 spans of 30 days, all over the limit"
    assert "api_calls" in found.reasons[0] and "want more is 97%" in found.reasons[0]
    assert found.suggestion_id is not None
    applied = await rbac.apply_suggestion(found.suggestion_id, author="ann")
    assert applied.until == clock.now() + timedelta(days=14)
    assert await rbac.has_permission(caller("free"), "api_access")
    with pytest.raises(ValidationError) as again:
        await rbac.apply_suggestion(found.suggestion_id)
    assert again.value.code == "SUGGESTION_APPLIED"
    await rbac.roll_back_suggestion(found.suggestion_id, author="ann")
    assert await rbac.store.tier_of_unregistered("m1") is None, "exactly as before: no stored tier at all"
    assert not await rbac.has_permission(caller("free"), "api_access")
    with pytest.raises(ValidationError) as ended:
        await rbac.roll_back_suggestion(found.suggestion_id)
    assert ended.value.code == "SUGGESTION_NOT_APPLIED"
    await rbac.suggest_tier("m1")
    await rbac.apply_suggestion(found.suggestion_id)
    clock.advance(days=14)
    assert not await rbac.has_permission(caller("free"), "api_access"), "the trial ends by itself"
    assert [k for k in sink.kinds() if "suggestion" in k] == [
        "rbac:suggestion:applied",
        "rbac:suggestion:rolled_back",
        "rbac:suggestion:applied",
        "rbac:suggestion:expired",
    ]
    assert [a.status for a in await rbac.suggestion_digest()] == ["expired"]


async def test_bounds_of_suggestions(rbac: ManufacturerRBACManager, clock: ManualClock) -> None:
    await rbac.update_manufacturer_tier("m1", "professional", reason="bought")
    await fill(rbac, clock, 60, 900)
    found = await rbac.suggest_tier("m1")
    assert found.suggested == "enterprise" and found.suggestion_id is not None
    with pytest.raises(ValidationError) as refused:
        await rbac.apply_suggestion(found.suggestion_id)
    assert refused.value.code == "SUGGESTION_OUT_OF_BOUNDS"
    for unknown in ("sug_none", "", None, 3):
        with pytest.raises(ValidationError) as missing:
            await rbac.apply_suggestion(unknown)  # type: ignore[arg-type]  # what a caller may send
        assert missing.value.code == "UNKNOWN_SUGGESTION"


async def test_a_tier_far_too_wide_is_noticed(rbac: ManufacturerRBACManager, clock: ManualClock) -> None:
    await rbac.update_manufacturer_tier("m1", "professional", reason="bought")
    await fill(rbac, clock, 100, 5)
    found = await rbac.suggest_tier("m1")
    assert found.suggested == "free" and "free" in found.reasons[0]
    assert found.suggestion_id is not None
    await rbac.apply_suggestion(found.suggestion_id)
    assert await rbac.tier_of("m1") == "free"
    await rbac.roll_back_suggestion(found.suggestion_id)
    assert await rbac.tier_of("m1") == "professional"


async def test_permissions_wanted_and_unused(rbac: ManufacturerRBACManager, clock: ManualClock) -> None:
    await rbac.enforce_permission(caller(), "view_basic_analytics")
    clock.advance(days=95)
    await rbac.enforce_permission(caller(), "upload_products")
    for _ in range(3):
        for _ in range(2):
            with pytest.raises(InsufficientPermissionsError):
                await rbac.enforce_permission(caller(), "api_access")
        clock.advance(days=1)
    wanted, unused = await rbac.suggest_permissions("m1")
    assert (wanted.permission, wanted.action, wanted.required_tier) == ("api_access", "grant", "professional")
    assert wanted.evidence == {"denials": 6, "days": 3}
    assert (unused.permission, unused.action) == ("view_basic_analytics", "restrict")
    before = await rbac.permissions_of(caller())
    for one in (wanted, unused):
        await rbac.apply_suggestion(one.suggestion_id)
    assert await rbac.permissions_of(caller()) == ["upload_products", "api_access"]
    for one in (wanted, unused):
        await rbac.roll_back_suggestion(one.suggestion_id)
    assert await rbac.permissions_of(caller()) == before
