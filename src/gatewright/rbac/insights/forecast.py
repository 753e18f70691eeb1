"""Forecasts of daily usage: a weekly season on a recent level, with intervals from past errors.

The level is the mean of the last four weeks; the trend, half of the change between the last two fortnights; the
season, what each weekday is to the mean, drawn towards 1 while there is little to learn from. The interval for a
span of days is where the method's errors for spans of that length lay in the tenant's own past, so it widens for
tenants that are hard to predict. See ``bench/insights.py``.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from gatewright.records import Record

SEASON = 7
LEVEL_DAYS = 28
_ORIGINS = 40
_FEWEST_ERRORS = 8
_LOWER, _UPPER = 0.08, 0.92
"""Not 0.1 and 0.9: past errors overlap, so their tails are seen too short (see the back-test)."""
_Z80 = 1.2816


class Span(Record, frozen=True, kw_only=True):
    """What is expected over the coming days, with its 80 % interval."""

    days: int
    expected: float
    low: float
    high: float


class DailyForecast(Record, frozen=True, kw_only=True):
    """The parts of a forecast: units a day now, change a day, and a factor for each day ahead's weekday."""

    level: float
    trend: float
    season: tuple[float, ...]

    def over(self, days: int) -> float:
        """The expected sum of the coming ``days``; the trend is let fade over four weeks."""
        total = 0.0
        for ahead in range(1, days + 1):
            faded = self.trend * LEVEL_DAYS * (1 - math.exp(-ahead / LEVEL_DAYS))
            total += max(0.0, self.level + faded) * self.season[(ahead - 1) % SEASON]
        return total


def fit(history: Sequence[float]) -> DailyForecast:
    """Learn from daily use, oldest first; the season is that of the day after the last one."""
    if not history:
        return DailyForecast(level=0.0, trend=0.0, season=(1.0,) * SEASON)
    recent = history[-LEVEL_DAYS:]
    level = statistics.fmean(recent)
    trend = 0.0
    if len(history) >= LEVEL_DAYS:
        half = LEVEL_DAYS // 2
        change = statistics.fmean(recent[half:]) - statistics.fmean(recent[:half])
        trend = change / half / 2
        level += change / 2  # the mean lies two weeks back, the forecast begins today
    return DailyForecast(level=max(0.0, level), trend=trend, season=_season(history[-8 * SEASON :]))


def _season(days: Sequence[float]) -> tuple[float, ...]:
    mean = statistics.fmean(days)
    if mean <= 0 or len(days) < 2 * SEASON:
        return (1.0,) * SEASON
    factors = []
    for ahead in range(SEASON):
        same = _same(days, ahead)
        weight = len(same) / (len(same) + 2)
        factors.append(1 + weight * (statistics.fmean(same) / mean - 1))
    scale = SEASON / sum(factors)
    return tuple(factor * scale for factor in factors)


def _same(days: Sequence[float], ahead: int) -> Sequence[float]:
    """The past days of the weekday that is ``ahead`` + 1 days after the last."""
    return [days[i] for i in range(len(days)) if (len(days) + ahead - i) % SEASON == 0]


def span(history: Sequence[float], days: int) -> Span:
    """The coming ``days`` with an 80 % interval from the method's past errors for spans as long."""
    expected = fit(history).over(days)
    if days <= 0:
        return Span(days=0, expected=0.0, low=0.0, high=0.0)
    errors = past_errors(history, days)
    if len(errors) >= _FEWEST_ERRORS:
        # Errors grow with what is expected, and a method that lags behind a trend errs to one side.
        scale = max(1.0, expected)
        low, high = (expected + scale * _quantile(errors, share) for share in (_LOWER, _UPPER))
    else:
        spread = statistics.pstdev(history[-LEVEL_DAYS:]) if len(history) > 1 else expected
        width = _Z80 * math.sqrt(days * spread**2 + (days * spread) ** 2 / max(1, min(len(history), LEVEL_DAYS)))
        low, high = expected - width, expected + width
    return Span(days=days, expected=expected, low=max(0.0, low), high=max(0.0, high))


def past_errors(history: Sequence[float], days: int) -> list[float]:
    """What came less what was expected, as a share of that, at past days from which ``days`` have gone by since."""
    errors = []
    last = len(history) - days
    first = max(2 * SEASON, last - _ORIGINS * 2)
    for origin in range(last, first, -2):
        came = sum(history[origin : origin + days])
        expected = fit(history[:origin]).over(days)
        errors.append((came - expected) / max(1.0, expected))
    return errors


def _quantile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` of them lie, one rank further out for what the sample has not seen."""
    ordered = sorted(values)
    rank = share * (len(ordered) + 1) - 1
    rank = math.floor(rank) if share < 0.5 else math.ceil(rank)
    return ordered[min(len(ordered) - 1, max(0, rank))]


def days_until(history: Sequence[float], remaining: float, horizon: int) -> tuple[int | None, int | None, int | None]:
    """Days until ``remaining`` units are used: expected, soonest and latest by the interval.

    Args:
        horizon: days; anything beyond is None.
    """
    known: dict[int, Span] = {}

    def ahead(days: int) -> Span:
        if days not in known:
            known[days] = span(history, days)
        return known[days]

    def first(bound: str) -> int | None:
        """The first day on which it is reached. Sums only grow, so halving finds it."""
        if horizon < 1 or ahead(horizon)[bound] < remaining:
            return None
        low, high = 1, horizon
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if ahead(middle)[bound] >= remaining else (middle + 1, high)
        return low

    return first("expected"), first("high"), first("low")
