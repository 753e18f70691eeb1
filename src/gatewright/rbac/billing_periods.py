"""Billing periods of quotas: the billing month of a manufacturer, the UTC day, and rolling hours. All in UTC."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta

from gatewright.policy import Limit
from gatewright.records import Record

HOUR = 3_600


class Period(Record, frozen=True, kw_only=True):
    """The ``bucket`` in which a take is counted, the start of what counts towards the limit, and when it resets."""

    bucket: int
    since: int
    resets_at: datetime


def month_start(moment: datetime, billing_day: int) -> datetime:
    """The start of the billing month that contains ``moment``. In a month without that day, its last day is used.

    Args:
        billing_day: 1 to 31.
    """
    start = _on(moment.year, moment.month, billing_day)
    if start > moment:
        year, month = (moment.year - 1, 12) if moment.month == 1 else (moment.year, moment.month - 1)
        start = _on(year, month, billing_day)
    return start


def next_month_start(moment: datetime, billing_day: int) -> datetime:
    """The start of the billing month after the one that contains ``moment``."""
    start = month_start(moment, billing_day)
    year, month = (start.year + 1, 1) if start.month == 12 else (start.year, start.month + 1)
    return _on(year, month, billing_day)


def _on(year: int, month: int, day: int) -> datetime:
    return datetime(year, month, min(day, calendar.monthrange(year, month)[1]), tzinfo=UTC)


def period_of(limit: Limit, moment: datetime, billing_day: int) -> Period:
    """The period of a limit at a moment.

    Usage is counted by UTC day, so that changing between tiers with monthly and daily limits, or changing the billing
    day, loses nothing. A rolling window is counted in sixtieths of its length. Each counts until all of it has left
    the window, so that the limit is never exceeded in any span of that length.
    """
    if limit.window == "rolling":
        length = int((limit.hours or 1) * HOUR)
        width = max(1, length // 60)
        bucket = int(moment.timestamp()) // width * width
        return Period(bucket=bucket, since=bucket - length, resets_at=datetime.fromtimestamp(bucket + width, UTC))
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if limit.window == "day":
        start, end = day, day + timedelta(days=1)
    else:
        start, end = month_start(moment, billing_day), next_month_start(moment, billing_day)
    return Period(bucket=int(day.timestamp()), since=int(start.timestamp()), resets_at=end)


class PeriodCache:
    """Caches the current period of each kind of limit. A period ends with its bucket, at least once a day."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, float | None, int], tuple[float, float, Period]] = {}

    def of(self, limit: Limit, moment: datetime, billing_day: int) -> Period:
        """The period of a limit; see :func:`period_of`."""
        key = (limit.window, limit.hours, billing_day)
        known, seconds = self._known.get(key), moment.timestamp()
        if known is not None and known[0] <= seconds < known[1]:
            return known[2]
        period = period_of(limit, moment, billing_day)
        width = max(1, int((limit.hours or 1) * HOUR) // 60) if limit.window == "rolling" else 24 * HOUR
        self._known[key] = (period.bucket, period.bucket + width, period)
        return period
