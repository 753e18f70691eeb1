"""performance_monitor: times calls against a budget, everywhere, for a fraction of a microsecond.

Each decorated function has one histogram with logarithmic buckets (sixteen to every doubling, so a percentile
is right to about 6 %), of fixed size whatever happens. A call only appends its time to a short list; every
few hundred calls, and when someone asks, the list is folded into the histogram at the speed of C: the top
sixteen bits of an IEEE 754 double *are* its logarithmic bucket.
"""

from __future__ import annotations

import inspect
import logging
import struct
import sys
import threading
import time
from array import array
from collections import Counter
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from gatewright.records import Record

P = ParamSpec("P")
R = TypeVar("R")

WARNING_WINDOW = 60.0
"""Seconds within which one function warns once at the most."""

_FOLD_AT = 512
"""Times that wait at the most: some 20 µs of work once in so many calls."""
_TOP = 3 if sys.byteorder == "little" else 0
"""Which of a double's four 16-bit words holds sign, exponent and the first bits of the fraction."""

_log = logging.getLogger(__name__)


class Timing(Record, frozen=True, kw_only=True):
    """How a function has done since the process began; times in seconds, ``over_budget`` a share from 0 to 1."""

    name: str
    budget: float
    count: int
    p50: float
    p95: float
    p99: float
    max: float
    over_budget: float


class Report(dict[str, Timing]):
    """Timings by qualified name (``ManufacturerAuthManager.validate_token``); a name with its module works too."""

    def __missing__(self, name: str) -> Timing:
        known = _registry.get(name)
        if known is not None and known.key in self:
            return self[known.key]
        raise KeyError(name)


class Histogram(Record, frozen=True, kw_only=True):
    """All calls of a function so far: ``buckets`` are (upper edge in seconds, calls) in ascending order."""

    name: str
    buckets: tuple[tuple[float, int], ...]
    count: int
    total: float


class Stopwatch:
    """The times of one function.

    Args:
        name: module and qualified name.
        key: the name under which it is reported.
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
        """A call was over budget: count it, and say so once in a window."""
        self.over += 1
        now = time.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + WARNING_WINDOW
            took, budget = seconds * 1e3, self.budget * 1e3
            _log.warning(
                "%s took %.3f ms, over its budget of %.3f ms (%d times so far)", self.key, took, budget, self.over
            )

    def fold(self) -> None:
        """Move the fresh times into the histogram. Calls on other threads may go on appending meanwhile."""
        if not self._folding.acquire(blocking=False):
            return  # another thread is at it
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
        """The buckets so far, for metrics."""
        self.fold()
        counts = sorted(self._counts.items())
        return Histogram(
            name=self.key,
            buckets=tuple((_upper_edge(bucket), count) for bucket, count in counts),
            count=sum(count for _, count in counts),
            total=self._total,
        )

    def timing(self) -> Timing:
        """The figures so far."""
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
    """Time every call of a function, sync or async, and warn (once a minute) when one is over budget.

    Args:
        max_time: the budget in seconds, above 0.
        name: what to report it as; the function's qualified name when missing.

    Raises:
        TypeError: ``max_time`` is no number (``@performance_monitor`` without brackets), or the function is a
            generator, whose call does no work to be timed.
        ValueError: ``max_time`` is not above 0.
    """
    if isinstance(max_time, bool) or not isinstance(max_time, int | float):
        raise TypeError("performance_monitor needs a budget: @performance_monitor(max_time=0.05)")
    if not 0 < max_time < 9e9:
        raise ValueError("max_time is in seconds and must be above 0")

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"{function.__qualname__} is a generator: time the call that consumes it")
        watch = _register(function, max_time, name)
        if inspect.iscoroutinefunction(function):
            return cast("Callable[P, R]", _timed_async(cast("Callable[..., Any]", function), watch))
        return _timed(function, watch)

    return decorate


def timings() -> Report:
    """What every decorated function has done since the process began; those never called are left out."""
    found = (watch.timing() for watch in tuple(_registry.values()))
    return Report({timing.name: timing for timing in found if timing.count})


def stopwatches() -> tuple[Stopwatch, ...]:
    """The histograms themselves, for metrics."""
    return tuple(_registry.values())


def _upper_edge(bucket: int) -> float:
    """The lowest time in seconds that no longer falls into ``bucket``."""
    return float(struct.unpack(">d", struct.pack(">Q", (bucket + 1) << 48))[0])


def _percentile(figures: Histogram, share: float) -> float:
    """The upper edge of the bucket in which the share is reached; 0 without calls."""
    wanted, seen = figures.count * share, 0
    for edge, count in figures.buckets:
        seen += count
        if seen >= wanted:
            return edge
    return 0.0


def _register(function: Callable[..., Any], max_time: float, name: str | None) -> Stopwatch:
    full = name or f"{function.__module__}.{function.__qualname__}"
    known = _registry.get(full)
    if known is not None:  # defined again (a reload, a function made in a function): one row, the newest budget
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
