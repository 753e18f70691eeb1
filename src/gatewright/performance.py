"""Call timing against a budget, at a cost of less than a microsecond per call.

Each decorated function has one histogram of bounded size with logarithmic buckets, sixteen per power of two, which
makes percentiles accurate to about 6 %. A call appends its duration to a short list. Every few hundred calls, and on
read, the list is folded into the histogram without a Python loop: the top sixteen bits of an IEEE 754 double are its
logarithmic bucket.
"""

from __future__ import annotations

import inspect
import struct
import sys
import threading
import time
from array import array
from collections import Counter
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from gatewright.logs import get_logger
from gatewright.records import Record

P = ParamSpec("P")
R = TypeVar("R")

WARNING_WINDOW = 60.0
"""A function warns at most once in so many seconds."""

_FOLD_AT = 512
"""Durations kept before they are folded, which takes about 20 µs."""
_TOP = 3 if sys.byteorder == "little" else 0
"""The index of the 16-bit word of a double with its sign, exponent and leading fraction bits."""

_log = get_logger(__name__)


class Timing(Record, frozen=True, kw_only=True):
    """Timing of a function since the process started. Times in seconds; ``over_budget`` is a share from 0 to 1."""

    name: str
    budget: float
    count: int
    p50: float
    p95: float
    p99: float
    max: float
    over_budget: float


class Report(dict[str, Timing]):
    """Timings by qualified name (``ManufacturerAuthManager.validate_token``), with or without the module."""

    def __missing__(self, name: str) -> Timing:
        known = _registry.get(name)
        if known is not None and known.key in self:
            return self[known.key]
        raise KeyError(name)


class Histogram(Record, frozen=True, kw_only=True):
    """The calls of a function so far. ``buckets`` are (upper bound in seconds, calls), ascending."""

    name: str
    buckets: tuple[tuple[float, int], ...]
    count: int
    total: float


class Stopwatch:
    """The durations of one function.

    Args:
        name: module and qualified name.
        key: the name in reports.
        budget: seconds that a call may take.
    """

    def __init__(self, name: str, key: str, budget: float) -> None:
        self.name = name
        self.key = key
        self.budget = budget
        self.fresh: list[float] = []
        self._counts: Counter[int] = Counter()
        self._folding = threading.Lock()
        self._longest = 0.0
        self._total = 0.0
        self.over = 0
        self._quiet_until = 0.0

    def warn(self, seconds: float) -> None:
        """Count a call over budget, and log a warning at most once per window."""
        self.over += 1
        now = time.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + WARNING_WINDOW
            _log.warning(
                "operation_over_budget",
                operation=self.key,
                took_ms=round(seconds * 1e3, 3),
                budget_ms=round(self.budget * 1e3, 3),
                times=self.over,
            )

    def fold(self) -> None:
        """Move recent durations into the histogram. Safe while other threads append."""
        if not self._folding.acquire(blocking=False):
            return  # another thread is folding
        try:
            taken = self.fresh[:]
            del self.fresh[: len(taken)]
            if taken:
                self._counts.update(array("H", struct.pack(f"{len(taken)}d", *taken))[_TOP::4])
                self._longest = max(self._longest, max(taken))
                self._total += sum(taken)
        finally:
            self._folding.release()

    def histogram(self) -> Histogram:
        """The buckets, for metrics."""
        self.fold()
        counts = sorted(self._counts.items())
        return Histogram(
            name=self.key,
            buckets=tuple((_upper_edge(bucket), count) for bucket, count in counts),
            count=sum(count for _, count in counts),
            total=self._total,
        )

    def timing(self) -> Timing:
        """Count, percentiles and share over budget."""
        figures = self.histogram()
        p50, p95, p99 = (min(_percentile(figures, share), self._longest) for share in (0.50, 0.95, 0.99))
        return Timing(
            name=self.key,
            budget=self.budget,
            count=figures.count,
            p50=p50,
            p95=p95,
            p99=p99,
            max=self._longest,
            over_budget=min(1.0, self.over / figures.count) if figures.count else 0.0,
        )


_registry: dict[str, Stopwatch] = {}
_keys: dict[str, str] = {}


def performance_monitor(max_time: float, *, name: str | None = None) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Time the calls of a sync or async function, and warn (once a minute) when one is over budget.

    Args:
        max_time: the budget in seconds, above 0.
        name: the name in reports. Defaults to the qualified name of the function.

    Raises:
        TypeError: ``max_time`` is not a number (``@performance_monitor`` without parentheses), or the function is a
            generator, whose call does no work.
        ValueError: ``max_time`` is not above 0.
    """
    if isinstance(max_time, bool) or not isinstance(max_time, int | float):
        raise TypeError("performance_monitor requires a budget: @performance_monitor(max_time=0.05)")
    if not 0 < max_time < 9e9:
        raise ValueError("max_time is in seconds and must be above 0")

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"{function.__qualname__} is a generator: time the function that consumes it")
        watch = _register(function, max_time, name)
        if inspect.iscoroutinefunction(function):
            return cast("Callable[P, R]", _timed_async(cast("Callable[..., Any]", function), watch))
        return _timed(function, watch)

    return decorate


def timings() -> Report:
    """Timings of every decorated function that was called since the process started."""
    found = (watch.timing() for watch in tuple(_registry.values()))
    return Report({timing.name: timing for timing in found if timing.count})


def stopwatches() -> tuple[Stopwatch, ...]:
    """The stopwatch of every decorated function, for metrics."""
    return tuple(_registry.values())


def _upper_edge(bucket: int) -> float:
    """The upper bound of a bucket, in seconds."""
    return float(struct.unpack(">d", struct.pack(">Q", (bucket + 1) << 48))[0])


def _percentile(figures: Histogram, share: float) -> float:
    """The upper bound of the bucket that contains the percentile, or 0 without calls."""
    wanted, seen = figures.count * share, 0
    for edge, count in figures.buckets:
        seen += count
        if seen >= wanted:
            return edge
    return 0.0


def _register(function: Callable[..., Any], max_time: float, name: str | None) -> Stopwatch:
    full = name or f"{function.__module__}.{function.__qualname__}"
    known = _registry.get(full)
    if known is not None:  # redefined (a reload, a nested function): keep one row, with the latest budget
        known.budget = max_time
        return known
    short = name or function.__qualname__
    key = short if _keys.setdefault(short, full) == full else full
    return _registry.setdefault(full, Stopwatch(full, key, max_time))


def _timed(function: Callable[P, R], watch: Stopwatch) -> Callable[P, R]:
    fresh, keep, now, budget = watch.fresh, watch.fresh.append, time.perf_counter, watch.budget

    @wraps(function)
    def timed(*args: P.args, **kwargs: P.kwargs) -> R:
        begin = now()
        try:
            return function(*args, **kwargs)
        finally:
            spent = now() - begin
            keep(spent)
            if spent > budget:
                watch.warn(spent)
            if len(fresh) >= _FOLD_AT:
                watch.fold()

    return timed


def _timed_async(function: Callable[..., Any], watch: Stopwatch) -> Callable[..., Any]:
    fresh, keep, now, budget = watch.fresh, watch.fresh.append, time.perf_counter, watch.budget

    @wraps(function)
    async def timed(*args: Any, **kwargs: Any) -> Any:
        begin = now()
        try:
            return await function(*args, **kwargs)
        finally:
            spent = now() - begin
            keep(spent)
            if spent > budget:
                watch.warn(spent)
            if len(fresh) >= _FOLD_AT:
                watch.fold()

    return timed
