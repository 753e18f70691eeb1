"""Usage analytics: totals, trend, season, forecast of each quota's end, and anomalies."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from gatewright.rbac.insights.forecast import LEVEL_DAYS, SEASON, days_until, fit, span
from gatewright.rbac.records import UsageResult
from gatewright.records import Record
from gatewright.storage.usage import StoredUsage

DAY = 86_400
HISTORY_DAYS = 182
_UNUSUAL = 5.0
"""Robust deviations from the usual at which a day is an anomaly."""
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


class QuotaForecast(Record, frozen=True, kw_only=True):
    """Where a quota leads. ``expected``, ``low`` and ``high`` are units at the end of the cycle (80 % interval).

    ``ends_on`` is when it is expected to be used up, between ``earliest`` and ``latest``; None: not in this cycle.
    """

    resource: str
    current: int
    limit: int
    cycle_ends: datetime
    expected: float
    low: float
    high: float
    ends_on: datetime | None = None
    earliest: datetime | None = None
    latest: datetime | None = None


class Anomaly(Record, frozen=True, kw_only=True):
    """A day unlike the account's own past. ``usual`` is what such a weekday has been."""

    resource: str
    day: datetime
    used: int
    usual: float
    direction: str


class ResourceAnalytics(Record, frozen=True, kw_only=True):
    """One resource: units in 30 days and in the 30 before, change a day as a share, and each weekday's factor."""

    resource: str
    last_30_days: int
    previous_30_days: int
    trend: float
    direction: str
    season: dict[str, float]
    daily: tuple[int, ...]


class UsageAnalytics(Record, frozen=True, kw_only=True):
    """All that recorded usage tells of a manufacturer."""

    manufacturer_id: str
    tier: str
    generated_at: datetime
    days_known: int
    totals: dict[str, int]
    resources: dict[str, ResourceAnalytics]
    forecasts: dict[str, QuotaForecast]
    anomalies: tuple[Anomaly, ...]


def daily_series(usage: Sequence[StoredUsage], now: datetime) -> dict[str, list[int]]:
    """Units of each full UTC day from the first use to yesterday, by resource."""
    today = int(now.timestamp()) // DAY
    days: dict[str, dict[int, int]] = {}
    for entry in usage:
        of_one = days.setdefault(entry.resource, {})
        of_one[entry.start // DAY] = of_one.get(entry.start // DAY, 0) + entry.used
    first = max(today - HISTORY_DAYS, min((d for of_one in days.values() for d in of_one), default=today))
    return {resource: [of_one.get(day, 0) for day in range(first, today)] for resource, of_one in days.items()}


def analyse(
    manufacturer_id: str, tier: str, series: Mapping[str, Sequence[int]], quotas: Sequence[UsageResult], now: datetime
) -> UsageAnalytics:
    """Analyze daily series, oldest first and ending yesterday, against the quotas as they are."""
    described = {q.resource: _describe(q.resource, series.get(q.resource, ()), now) for q in quotas}
    return UsageAnalytics(
        manufacturer_id=manufacturer_id,
        tier=tier,
        generated_at=now,
        days_known=max((len(days) for days in series.values()), default=0),
        totals={q.resource: sum(series.get(q.resource, ())) + _today(q, series, now) for q in quotas},
        resources=described,
        forecasts={q.resource: forecast(q, series.get(q.resource, ()), now) for q in quotas},
        anomalies=tuple(a for q in quotas for a in anomalies(q.resource, series.get(q.resource, ()), now)),
    )


def _today(quota: UsageResult, series: Mapping[str, Sequence[int]], now: datetime) -> int:
    """What was used today: of this cycle's units those that no full day accounts for."""
    return max(0, quota.current - sum(series.get(quota.resource, ())))


def _describe(resource: str, days: Sequence[int], now: datetime) -> ResourceAnalytics:
    parts = fit([float(d) for d in days])
    share = parts.trend / parts.level if parts.level > 0 else 0.0
    last, previous = sum(days[-30:]), sum(days[-60:-30])
    direction = "growing" if share > 0.004 else "falling" if share < -0.004 else "steady"
    return ResourceAnalytics(
        resource=resource,
        last_30_days=last,
        previous_30_days=previous,
        trend=round(share, 5),
        direction=direction if len(days) >= LEVEL_DAYS else "unknown",
        season={_WEEKDAYS[(now.weekday() + n) % SEASON]: round(parts.season[n], 3) for n in range(SEASON)},
        daily=tuple(days),
    )


def forecast(quota: UsageResult, days: Sequence[int], now: datetime) -> QuotaForecast:
    """Where a quota is when its cycle ends, and when it is used up."""
    history = [float(d) for d in days]
    ahead = max(0, -(-int((quota.resets_at - now).total_seconds()) // DAY))
    rest = span(history, ahead)
    found: tuple[int | None, int | None, int | None] = (None, None, None)
    if quota.limit >= 0:
        remaining = quota.limit - quota.current
        found = (0, 0, 0) if remaining <= 0 else days_until(history, remaining, ahead)
    ends, earliest, latest = (None if d is None else min(now + timedelta(days=d), quota.resets_at) for d in found)
    return QuotaForecast(
        resource=quota.resource,
        current=quota.current,
        limit=quota.limit,
        cycle_ends=quota.resets_at,
        expected=round(quota.current + rest.expected, 1),
        low=round(quota.current + rest.low, 1),
        high=round(quota.current + rest.high, 1),
        ends_on=ends,
        earliest=earliest,
        latest=latest,
    )


def anomalies(resource: str, days: Sequence[int], now: datetime, *, look_back: int = 7) -> list[Anomaly]:
    """Days of the last week that are unlike the eight weeks before them, seen against their weekday."""
    found = []
    for index in range(max(LEVEL_DAYS, len(days) - look_back), len(days)):
        past = days[max(0, index - 8 * SEASON) : index]
        season = fit([float(d) for d in past]).season
        flat = [d / max(0.05, season[(n - len(past)) % SEASON]) for n, d in enumerate(past)]
        middle = statistics.median(flat)
        usual = middle * season[0]
        spread = max(1.4826 * statistics.median(abs(d - middle) for d in flat) * season[0], 0.1 * usual, 1.0)
        if abs(days[index] - usual) > max(_UNUSUAL * spread, 0.5 * usual, 5.0):
            midnight = datetime.fromtimestamp((int(now.timestamp()) // DAY - (len(days) - index)) * DAY, UTC)
            direction = "more" if days[index] > usual else "less"
            found.append(
                Anomaly(resource=resource, day=midnight, used=days[index], usual=round(usual, 1), direction=direction)
            )
    return found
