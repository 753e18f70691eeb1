"""Prometheus metrics: events by kind, calls by function, and gauges."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from gatewright.events import SecurityEvent
from gatewright.monitoring.audit_encoding import SEVERITIES
from gatewright.performance import stopwatches

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

MAX_KINDS = 300
"""The maximum number of kinds with their own label, to bound memory."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_EDGES = (1e-6, 5e-6, 1e-5, 5e-5, 1e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """Metrics in a separate registry, so that they never collide with other monitors or the application."""

    def __init__(self) -> None:
        self._events: dict[tuple[str, str], int] = {}
        self._gauges: dict[str, tuple[str, Callable[[], float]]] = {}
        self._registry: Any = None

    def count(self, event: SecurityEvent) -> None:
        """Count an event."""
        key = (event.kind, event.severity)
        known = self._events.get(key)
        if known is not None:
            self._events[key] = known + 1
            return
        if len(self._events) >= MAX_KINDS or event.severity not in SEVERITIES:
            key = ("other", event.severity if event.severity in SEVERITIES else "notice")
        self._events[key] = self._events.get(key, 0) + 1

    def gauge(self, name: str, description: str, read: Callable[[], float]) -> None:
        """Report ``read()`` as ``gatewright_<name>`` at each scrape."""
        self._gauges[name] = (description, read)

    def text(self) -> str:
        """All metrics in Prometheus text format (:data:`CONTENT_TYPE`)."""
        from prometheus_client import CollectorRegistry, generate_latest

        if self._registry is None:
            self._registry = CollectorRegistry(auto_describe=False)
            self._registry.register(self)
        return generate_latest(self._registry).decode()

    def describe(self) -> list[Metric]:
        """Required by Prometheus. No metric is described in advance."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All metrics, for the Prometheus registry."""
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        events = CounterMetricFamily("gatewright_events", "Security events", labels=["kind", "severity"])
        for labels, count in sorted(self._events.items()):
            events.add_metric(list(labels), count)
        yield events
        calls = HistogramMetricFamily("gatewright_call_seconds", "Time of calls", labels=["function"])
        over = CounterMetricFamily("gatewright_calls_over_budget", "Calls over their budget", labels=["function"])
        for watch in stopwatches():
            figures = watch.histogram()
            if figures.count:
                calls.add_metric([figures.name], _cumulated(figures.buckets), figures.total)
                over.add_metric([figures.name], watch.over)
        yield calls
        yield over
        for name, (description, read) in sorted(self._gauges.items()):
            gauge = GaugeMetricFamily(f"gatewright_{name}", description)
            gauge.add_metric([], read())
            yield gauge


def _cumulated(buckets: tuple[tuple[float, int], ...]) -> list[tuple[str, float]]:
    """Convert fine buckets into cumulative Prometheus buckets. A bucket across an edge is counted above it."""
    result, seen, at = [], 0, 0
    for edge in _EDGES:
        while at < len(buckets) and buckets[at][0] <= edge:
            seen += buckets[at][1]
            at += 1
        result.append((f"{edge:g}", float(seen)))
    return [*result, ("+Inf", float(sum(count for _, count in buckets)))]
