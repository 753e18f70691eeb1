"""What ``performance_monitor`` adds around a call: at most 0.5 µs, against the bare call in the same run.

Prints one line of JSON a figure. Run: ``python -m bench.performance_monitor``.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

from gatewright.performance import performance_monitor

CALLS = 200_000
ROUNDS = 9
TARGET = 0.5


def work(value: int) -> int:
    """The bare call."""
    return value


async def work_async(value: int) -> int:
    """The bare call."""
    return value


def sync_cost(function: Callable[[int], int]) -> float:
    """Microseconds a call."""
    begin = time.perf_counter()
    for _ in range(CALLS):
        function(1)
    return (time.perf_counter() - begin) / CALLS * 1e6


async def async_cost(function: Callable[[int], Awaitable[int]]) -> float:
    """Microseconds a call."""
    begin = time.perf_counter()
    for _ in range(CALLS):
        await function(1)
    return (time.perf_counter() - begin) / CALLS * 1e6


async def main() -> None:
    """Measure and print."""
    monitored: Any = performance_monitor(max_time=0.05)(work)
    monitored_async: Any = performance_monitor(max_time=0.05)(work_async)
    added: dict[str, list[float]] = {"sync": [], "async": []}
    for _ in range(ROUNDS):  # interleaved, so that both see the same machine
        added["sync"].append(-sync_cost(work) + sync_cost(monitored))
        added["async"].append(-await async_cost(work_async) + await async_cost(monitored_async))
    for name, values in added.items():
        cost = statistics.median(values)
        row = {"figure": f"performance_monitor {name}", "us_added": round(cost, 3), "best": round(min(values), 3)}
        print(json.dumps({**row, "target": TARGET, "met": cost <= TARGET}))


if __name__ == "__main__":
    asyncio.run(main())
