"""Charts of usage and forecast: SVG for pages, block characters for the terminal. No script, no outside resource."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from gatewright.rbac.insights.analytics import QuotaForecast

_BLOCKS = " ▁▂▃▄▅▆▇█"
_WIDTH, _HEIGHT, _MARGIN = 640, 200, 28


def terminal_chart(days: Sequence[int], *, width: int = 60) -> str:
    """Daily use as one line of blocks, the newest at the right, with the highest value.

    Args:
        width: columns at the most; longer series are added up evenly.
    """
    if not days:
        return "(nothing used yet)"
    size = -(-len(days) // max(1, width))
    first = len(days) % size
    starts = ([0] if first else []) + list(range(first, len(days), size))
    ends = [*starts[1:], len(days)]
    sums = [sum(days[a:b]) for a, b in zip(starts, ends, strict=True)]
    top = max(sums)
    marks = len(_BLOCKS) - 1
    line = "".join(_BLOCKS[0 if value == 0 else max(1, round(value / top * marks))] for value in sums)
    unit = "a day" if size == 1 else f"in {size} days"
    return f"{line}  max {top:,} {unit}"


def usage_svg(days: Sequence[int], forecast: QuotaForecast, *, title: str) -> str:
    """Use as it adds up over the last days, where it leads with its 80 % interval, and the limit.

    Args:
        days: daily use of the present cycle, oldest first.
        forecast: of the same resource.
        title: what the picture shows; read aloud too.
    """
    sums = [0]
    for value in days:
        sums.append(sums[-1] + value)
    sums[-1] = max(sums[-1], forecast.current)
    ahead = max(1, -(-len(sums) // 3))
    top = max(1.0, forecast.high, sums[-1], forecast.limit * 1.05 if forecast.limit > 0 else 0.0)
    columns = len(sums) - 1 + ahead

    def point(column: float, value: float) -> str:
        x = _MARGIN + column / columns * (_WIDTH - 2 * _MARGIN)
        return f"{x:.1f},{_HEIGHT - _MARGIN - value / top * (_HEIGHT - 2 * _MARGIN):.1f}"

    now = len(sums) - 1
    used = " ".join(point(number, value) for number, value in enumerate(sums))
    fan = " ".join((point(now, sums[-1]), point(columns, forecast.high), point(columns, forecast.low)))
    lead = f"{point(now, sums[-1])} {point(columns, forecast.expected)}"
    text = (
        f"{title}: {sums[-1]:,} used, {forecast.expected:,.0f} expected at the end of the cycle "
        f"({forecast.low:,.0f} to {forecast.high:,.0f})"
    )
    limit = ""
    if forecast.limit > 0:
        line = f"{point(0, forecast.limit)} {point(columns, forecast.limit)}"
        limit = f'<polyline class="limit" points="{line}" fill="none" stroke="#b3261e" stroke-dasharray="6 4"/>'
        text += f", limit {forecast.limit:,}"
    safe = escape(text, quote=True)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{safe}">'
        f"<title>{safe}</title>"
        f'<polygon class="interval" points="{fan}" fill="#1f6feb" fill-opacity="0.18"/>{limit}'
        f'<polyline class="used" points="{used}" fill="none" stroke="#1f6feb" stroke-width="2"/>'
        f'<polyline class="expected" points="{lead}" fill="none" stroke="#1f6feb" stroke-dasharray="3 3"/>'
        f'<text x="{_MARGIN}" y="{_MARGIN - 10}" font-size="12" fill="currentColor">{safe}</text></svg>'
    )
