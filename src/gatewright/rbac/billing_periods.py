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
    """The window of a limit at a moment.

    Use is counted by UTC day, so a tier may count by month and another by day, and a billing day may change,
    without anything being lost. A rolling window counts in sixtieths of its length, each until all of it has
    left, so that the limit holds in every span of that length.
    """
    if limit.window == "rolling":
        length = int((limit.hours or 1) * HOUR)
        width = max(1, length // 60)
        bucket = int(moment.timestamp()) // width * width
        return Window(bucket=bucket, since=bucket - length, resets_at=datetime.fromtimestamp(bucket + width, UTC))
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if limit.window == "day":
        start, end = day, day + timedelta(days=1)
    else:
        start, end = month_start(moment, billing_day), next_month_start(moment, billing_day)
    return Window(bucket=int(day.timestamp()), since=int(start.timestamp()), resets_at=end)


class Windows:
    """Remembers the present window of each kind of limit; a window changes with the bucket, once a day at least."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, float | None, int], tuple[float, float, Window]] = {}

    def of(self, limit: Limit, moment: datetime, billing_day: int) -> Window:
        """As :func:`window_of`."""
        key = (limit.window, limit.hours, billing_day)
        known, seconds = self._known.get(key), moment.timestamp()
        if known is not None and known[0] <= seconds < known[1]:
            return known[2]
        window = window_of(limit, moment, billing_day)
        width = max(1, int((limit.hours or 1) * HOUR) // 60) if limit.window == "rolling" else 24 * HOUR
        self._known[key] = (window.bucket, window.bucket + width, window)
        return window
