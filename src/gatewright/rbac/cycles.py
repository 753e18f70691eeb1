"""Windows of quotas: the billing month of an account, the UTC day, and rolling hours. All in UTC."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta

from gatewright.policy import Limit
from gatewright.records import Record

HOUR = 3_600


class Window(Record, frozen=True, kw_only=True):
    """Where a take counts (``bucket``), what counts towards the limit (from ``since``), and when it begins anew."""

    bucket: int
    since: int
    resets_at: datetime


def month_start(moment: datetime, billing_day: int) -> datetime:
    """The begin of the billing month around ``moment``. In a month without that day, its last day counts.

    Args:
        billing_day: 1 to 31.
    """
    start = _on(moment.year, moment.month, billing_day)
    if start > moment:
        year, month = (moment.year - 1, 12) if moment.month == 1 else (moment.year, moment.month - 1)
        start = _on(year, month, billing_day)
    return start


def next_month_start(moment: datetime, billing_day: int) -> datetime:
    """The begin of the billing month after the one around ``moment``."""
    start = month_start(moment, billing_day)
    year, month = (start.year + 1, 1) if start.month == 12 else (start.year, start.month + 1)
    return _on(year, month, billing_day)


def _on(year: int, month: int, day: int) -> datetime:
    return datetime(year, month, min(day, calendar.monthrange(year, month)[1]), tzinfo=UTC)


def window_of(limit: Limit, moment: datetime, billing_day: int) -> Window:
    """The window of a limit at a moment. A rolling one frees its oldest hour when the next hour begins."""
    if limit.window == "month":
        start = month_start(moment, billing_day)
        seconds = int(start.timestamp())
        return Window(bucket=seconds, since=seconds, resets_at=next_month_start(moment, billing_day))
    if limit.window == "day":
        start = moment.replace(hour=0, minute=0, second=0, microsecond=0)
        seconds = int(start.timestamp())
        return Window(bucket=seconds, since=seconds, resets_at=start + timedelta(days=1))
    hour = int(moment.timestamp()) // HOUR * HOUR
    span = int((limit.hours or 1) * HOUR)
    return Window(bucket=hour, since=hour - span + HOUR, resets_at=datetime.fromtimestamp(hour + HOUR, UTC))
