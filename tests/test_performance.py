"""performance_monitor: what it counts, what it says, and what it costs."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
import time
from types import SimpleNamespace

import pytest
from hypothesis import given, strategies as st

from gatewright.performance import Stopwatch, performance_monitor, timings


def fresh(budget: float = 1.0) -> Stopwatch:
    return Stopwatch("module.name", "name", budget)


def test_sync_calls_are_counted_under_the_qualified_name() -> None:
    @performance_monitor(max_time=60)
    def work(value: int) -> int:
        """Doubles."""
        return value * 2

    assert [work(n) for n in range(5)] == [0, 2, 4, 6, 8]
    name = "test_sync_calls_are_counted_under_the_qualified_name.<locals>.work"
    timing = timings()[name]
    assert timing.count == 5
    assert 0 < timing.p50 <= timing.p95 <= timing.p99 <= timing.max < 60
    assert timing.over_budget == 0
    assert timing.budget == 60
    assert timings()[f"{__name__}.{name}"] == timing
    assert work.__doc__ == "Doubles."
    with pytest.raises(KeyError):
        timings()["no such function"]


async def test_async_calls_are_timed_to_their_end() -> None:
    @performance_monitor(max_time=1.0, name="waits")
    async def waits() -> str:
        await asyncio.sleep(0.02)
        return "done"

    assert inspect.iscoroutinefunction(waits)
    assert await waits() == "done"
    timing = timings()["waits"]
    assert timing.count == 1
    assert timing.p50 > 0.015, "a sleep may end a tick of the loop's clock early"


def test_a_failing_call_is_timed_and_fails() -> None:
    @performance_monitor(max_time=1.0, name="fails")
    def fails() -> None:
        raise LookupError("no")

    with pytest.raises(LookupError):
        fails()
    assert timings()["fails"].count == 1


def test_over_budget_is_counted_and_said_once_in_a_window(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    hand = SimpleNamespace(perf_counter=lambda: now, monotonic=time.monotonic)
    monkeypatch.setattr("gatewright.performance.time", hand)

    @performance_monitor(max_time=0.001, name="slow")
    def slow(seconds: float) -> None:
        nonlocal now
        now += seconds

    with caplog.at_level(logging.WARNING, logger="gatewright.performance"):
        slow(0.004)
        slow(0.004)
        for _ in range(6):
            slow(0.0005)
    assert sum(record.getMessage().startswith("operation_over_budget") for record in caplog.records) == 1
    timing = timings()["slow"]
    assert timing.count == 8
    assert timing.over_budget == 0.25
    assert timing.max == pytest.approx(0.004)


@given(st.lists(st.floats(1e-8, 100.0), min_size=1, max_size=600), st.sampled_from([0.5, 0.95, 0.99]))
def test_percentiles_are_right_to_a_bucket(times: list[float], share: float) -> None:
    watch = fresh()
    watch.fresh.extend(times)
    timing = watch.timing()
    exact = sorted(times)[max(0, -(-int(len(times) * share * 100) // 100) - 1)]
    shown = {0.5: timing.p50, 0.95: timing.p95, 0.99: timing.p99}[share]
    assert exact <= shown * (1 + 1e-9)
    assert timing.count == len(times)
    assert timing.max == max(times)
    above = [t for t in sorted(times) if t > exact]
    assert shown <= max(exact * 1.0626, min(above, default=exact) * 1.0626)


def test_memory_is_bounded_and_nothing_is_lost() -> None:
    @performance_monitor(max_time=1.0, name="often")
    def often() -> None:
        return None

    for _ in range(5000):
        often()
    assert timings()["often"].count == 5000


def test_threads_may_call_at_the_same_time() -> None:
    @performance_monitor(max_time=1.0, name="threaded")
    def threaded() -> None:
        return None

    threads = [threading.Thread(target=lambda: [threaded() for _ in range(3000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert timings()["threaded"].count == 12_000


def test_defined_again_is_the_same_row_and_elsewhere_another() -> None:
    def make() -> None:
        return None

    for module in ("one", "one", "two"):
        make.__module__ = module
        make.__qualname__ = "Same.name"
        performance_monitor(max_time=1.0)(make)()
    report = timings()
    assert report["Same.name"].count == 2
    assert report["two.Same.name"].count == 1


def test_misuse_is_named() -> None:
    with pytest.raises(TypeError, match="budget"):
        performance_monitor(test_misuse_is_named)  # type: ignore[arg-type]  # the mistake that is tested
    with pytest.raises(ValueError, match="seconds"):
        performance_monitor(0)

    def generator():  # type: ignore[no-untyped-def]  # a generator is what is tested
        yield 1

    with pytest.raises(TypeError, match="generator"):
        performance_monitor(1)(generator)


def test_a_function_that_was_never_called_is_left_out() -> None:
    performance_monitor(max_time=1.0, name="never")(lambda: None)
    assert "never" not in timings()
