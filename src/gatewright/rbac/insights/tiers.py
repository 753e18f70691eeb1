"""Tier suggestions: a higher tier where quotas are too low, a lower one where they are far too high."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from gatewright.policy import UNLIMITED, Policy
from gatewright.rbac.insights.analytics import DAY, UsageAnalytics
from gatewright.records import Record

_ROOM = 0.6
"""A lower tier must leave this much air: the highest 30 days of the last 90 may use this share of its limits."""
_REFUSED_DAYS = 3
"""Different days with refusals in the last 30 that count as evidence by themselves."""
SURE = 0.95
"""The chance that more than the limit will be wanted, from which a higher tier is suggested."""
_KNOWN_DAYS = 28
_LONG_KNOWN_DAYS = 90
REFUSAL_DAYS = 90
"""Days of refusals that are considered."""


class Refusals(Record, frozen=True, kw_only=True):
    """Refusals of one resource in the last days; ``daily`` are units of each, oldest first and ending yesterday."""

    units: int
    days: int
    daily: tuple[int, ...] = ()

    @staticmethod
    def of(daily: Sequence[int], today: int = 0) -> Refusals:
        """From units by day."""
        days = sum(1 for units in (*daily, today) if units)
        return Refusals(units=sum(daily) + today, days=days, daily=tuple(daily))


class UsageEvidence(Record, frozen=True, kw_only=True):
    """What speaks for a tier, by resource. ``expected_shortfall`` is what waiting would cost: units that will be
    refused until the cycle ends, by the forecast; ``chance``, 0 to 1, that 30 days will want more than the limit, None
    where too little is known."""

    resource: str
    current: int
    limit: int
    expected_at_cycle_end: float
    low: float
    high: float
    refused_units: int = 0
    refused_days: int = 0
    expected_shortfall: float = 0.0
    chance: float | None = None
    suggested_limit: int


class TierSuggestion(Record, frozen=True, kw_only=True):
    """``suggested`` equals ``current`` where nothing should change. ``suggestion_id`` can be applied, None cannot."""

    manufacturer_id: str
    current: str
    suggested: str
    reasons: tuple[str, ...]
    evidence: tuple[UsageEvidence, ...] = ()
    suggestion_id: str | None = None


def judge(policy: Policy, seen: UsageAnalytics, refused: Mapping[str, Refusals]) -> TierSuggestion:
    """The tier that suits what was seen."""
    short = [r for r in seen.forecasts if _is_short(seen, refused.get(r), r)]
    if short:
        suggested = _lowest_that_serves(policy, seen, refused, short)
        if suggested != seen.tier:
            evidence = tuple(_evidence(policy, seen, refused.get(r), r, suggested) for r in short)
            return TierSuggestion(
                manufacturer_id=seen.manufacturer_id,
                current=seen.tier,
                suggested=suggested,
                reasons=tuple(_why_more(one, suggested) for one in evidence),
                evidence=evidence,
            )
    lower = None if short or refused else _lower_that_suffices(policy, seen)
    if lower is not None:
        evidence = tuple(_evidence(policy, seen, None, r, lower) for r in seen.forecasts)
        reason = f"For {_LONG_KNOWN_DAYS} days nothing came near the limits of {lower}."
        return TierSuggestion(
            manufacturer_id=seen.manufacturer_id,
            current=seen.tier,
            suggested=lower,
            reasons=(reason,),
            evidence=evidence,
        )
    reason = "The quotas suit what is used." if seen.days_known >= _KNOWN_DAYS else "Too little is known to tell."
    return TierSuggestion(
        manufacturer_id=seen.manufacturer_id, current=seen.tier, suggested=seen.tier, reasons=(reason,)
    )


def _is_short(seen: UsageAnalytics, refused: Refusals | None, resource: str) -> bool:
    limit = seen.forecasts[resource].limit
    if limit <= 0:
        return False
    if seen.days_known < _KNOWN_DAYS:
        return refused is not None and refused.days >= _REFUSED_DAYS
    return _chance(seen, refused, resource) >= SURE


def _chance(seen: UsageAnalytics, refused: Refusals | None, resource: str) -> float:
    """How likely the next 30 days want more than the limit: as often as the 30 days did that ended on each day of the
    last two months, by Laplace's rule of succession, so that little history never makes sure.

    Wild days and campaigns lie in some of these windows only, so they do not pass for a lasting need.
    """
    limit = seen.forecasts[resource].limit
    days = wanted(seen.resources[resource].daily, refused)[-_LONG_KNOWN_DAYS:]
    windows = [sum(days[end - 30 : end]) for end in range(30, len(days) + 1)]
    return (sum(units > limit for units in windows) + 1) / (len(windows) + 2)


def wanted(used: Sequence[int], refused: Refusals | None) -> list[int]:
    """What was used and what was refused, by day. Who is refused may ask again and again, so no day counts for more
    than the busiest on which all was granted."""
    by_day = list(used)
    daily = refused.daily[-len(by_day) :] if refused is not None and by_day else ()
    begin = len(by_day) - len(daily)
    most = max((units for day, units in enumerate(by_day) if day < begin or not daily[day - begin]), default=0)
    for day, units in enumerate(daily, begin):
        if units:
            by_day[day] = max(by_day[day], min(by_day[day] + units, most))
    return by_day


def _lowest_that_serves(
    policy: Policy, seen: UsageAnalytics, refused: Mapping[str, Refusals], short: Sequence[str]
) -> str:
    ranked = policy.tiers_by_rank()
    above = ranked[ranked.index(seen.tier) + 1 :]
    needed = {r: sum(wanted(seen.resources[r].daily, refused.get(r))[-30:]) for r in short}
    for tier in above:
        limits = policy.limits_of_tier(tier)
        if all(r in limits and (limits[r].limit == UNLIMITED or needed[r] <= limits[r].limit) for r in short):
            return tier
    return above[-1] if above else seen.tier


def _lower_that_suffices(policy: Policy, seen: UsageAnalytics) -> str | None:
    if seen.days_known < _LONG_KNOWN_DAYS:
        return None
    ranked = policy.tiers_by_rank()
    for tier in ranked[: ranked.index(seen.tier)]:
        limits = policy.limits_of_tier(tier)
        if all(_fits(seen, r, limits[r].limit if r in limits else 0) for r in seen.resources):
            return tier
    return None


def _fits(seen: UsageAnalytics, resource: str, limit: int) -> bool:
    days = seen.resources[resource].daily[-_LONG_KNOWN_DAYS:]
    highest = max((sum(days[n : n + 30]) for n in range(max(1, len(days) - 29))), default=0)
    return limit == UNLIMITED or max(highest, seen.forecasts[resource].high) <= limit * _ROOM


def _evidence(
    policy: Policy, seen: UsageAnalytics, refused: Refusals | None, resource: str, suggested: str
) -> UsageEvidence:
    forecast = seen.forecasts[resource]
    limit = policy.limits_of_tier(suggested).get(resource)
    return UsageEvidence(
        resource=resource,
        current=forecast.current,
        limit=forecast.limit,
        expected_at_cycle_end=forecast.expected,
        low=forecast.low,
        high=forecast.high,
        refused_units=refused.units if refused else 0,
        refused_days=refused.days if refused else 0,
        expected_shortfall=max(0.0, round(forecast.expected - forecast.limit, 1)) if forecast.limit >= 0 else 0.0,
        chance=_chance(seen, refused, resource) if forecast.limit > 0 and seen.days_known >= _KNOWN_DAYS else None,
        suggested_limit=0 if limit is None else limit.limit,
    )


def _why_more(one: UsageEvidence, suggested: str) -> str:
    allows = "any number" if one.suggested_limit == UNLIMITED else f"{one.suggested_limit:,}"
    refused = f"{one.refused_units:,} were refused on {one.refused_days} days" if one.refused_days else ""
    ahead = f"about {one.expected_at_cycle_end:,.0f} ({one.low:,.0f} to {one.high:,.0f}) are expected in this cycle"
    what = f"{refused}, and {ahead}" if refused else ahead
    cost = f"; waiting costs about {one.expected_shortfall:,.0f} refused" if one.expected_shortfall else ""
    chance = "" if one.chance is None else f" The chance that the next 30 days want more is {one.chance:.0%}."
    return f"{one.resource}: {what} of {one.limit:,}{cost}.{chance} The tier {suggested} allows {allows}."


def day_number(moment: datetime) -> int:
    """Days since 1970-01-01."""
    return int(moment.timestamp()) // DAY
