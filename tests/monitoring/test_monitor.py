"""SecurityMonitor as a whole: standalone use, metrics and performance figures."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gatewright.events import FanOut, ListSink, event
from gatewright.monitoring import MAX_KINDS, SecurityMonitor
from gatewright.performance import performance_monitor
from gatewright.storage import SqliteStore
from tests.monitoring.conftest import eventually


async def test_alone_with_nothing() -> None:
    monitor = SecurityMonitor()
    await monitor.initialize()
    await monitor.initialize()
    monitor.emit(event("auth:login:succeeded", manufacturer_id="m"))
    (kept,) = await monitor.audit.search()
    assert kept["kind"] == "auth:login:succeeded"
    assert await monitor.audit.verify()
    await monitor.close()
    await monitor.close()


async def test_its_own_events_go_to_the_sink(store: SqliteStore) -> None:
    sink = FanOut(seen := ListSink())
    async with SecurityMonitor(store, sink) as monitor:
        sink.add(monitor)
        await monitor.create_security_incident("drill", "info")
        assert seen.kinds() == ["monitoring:incident:opened"]
        assert [e.kind for e in await monitor.audit.search()] == ["monitoring:incident:opened"]


async def test_closing_signs_a_growing_log(store: SqliteStore) -> None:
    for _ in range(2):
        async with SecurityMonitor(store) as monitor:
            monitor.emit(event("a:b:c"))
    async with SecurityMonitor(store):
        pass
    assert [c.size for c in await store.list_checkpoints()] == [1, 2]


async def test_upkeep_signs_from_time_to_time(store: SqliteStore) -> None:
    async with SecurityMonitor(store, checkpoint_every=0.01) as monitor:
        monitor.emit(event("a:b:c"))
        for _ in range(3_000):
            if signed := await store.list_checkpoints():
                break
            await asyncio.sleep(0.01)
        assert [checkpoint.size for checkpoint in signed] == [1]


async def test_the_log_is_verified_by_itself_by_one_process_of_a_store(store: SqliteStore) -> None:
    heard = ListSink()
    one = SecurityMonitor(store, heard, checkpoint_every=0.01, verify_every=3_600.0)
    other = SecurityMonitor(store, heard, checkpoint_every=0.01, verify_every=3_600.0)
    one.emit(event("a:b:c"))
    async with one, other:
        await eventually(lambda: "monitoring:audit:verified" in heard.kinds())
        for _ in range(20):
            await asyncio.sleep(0.01)
    assert heard.kinds().count("monitoring:audit:verified") == 1


async def test_a_log_that_was_altered_is_told_of_without_anybody_asking(store: SqliteStore) -> None:
    heard = ListSink()
    async with SecurityMonitor(store) as writer:
        writer.emit(event("a:b:c"))
    await store.engine.write(lambda c: c.execute("UPDATE audit_entries SET leaf_hash = zeroblob(32)").rowcount)
    async with SecurityMonitor(store, heard, verify_every=0.01) as monitor:
        await eventually(lambda: "monitoring:audit:tampered" in heard.kinds())
        found = monitor.audit.last_verification
        assert found is not None and not found.valid
        (told, *_) = [one for one in heard.events if one.kind == "monitoring:audit:tampered"]
        assert (told.severity, told.data["first_bad_index"]) == ("critical", 0)
        await eventually(lambda: "monitoring:incident:opened" in heard.kinds())


async def test_performance_gives_every_function(monitor: SecurityMonitor) -> None:
    @performance_monitor(max_time=0.05, name="monitor_test")
    async def work() -> None:
        return None

    await work()
    timing = monitor.performance()["monitor_test"]
    assert timing["count"] == 1
    assert set(timing) == {"name", "budget", "count", "p50", "p95", "p99", "max", "over_budget"}


async def test_metrics_are_what_prometheus_reads(monitor: SecurityMonitor) -> None:
    @performance_monitor(max_time=1.0, name="metrics_test")
    def work() -> None:
        return None

    for _ in range(3):
        work()
        monitor.emit(event("auth:login:failed", severity="warning"))
    monitor.metrics.gauge("hashing_queue", "Passwords that wait", lambda: 2.0)
    families = {family.name: family for family in text_string_to_metric_families(monitor.metrics_text())}
    (sample,) = families["gatewright_events"].samples
    assert sample.labels == {"kind": "auth:login:failed", "severity": "warning"}
    assert sample.value == 3
    buckets = [
        s
        for s in families["gatewright_call_seconds"].samples
        if s.labels["function"] == "metrics_test" and s.name.endswith("_bucket")
    ]
    assert buckets[-1].labels["le"] == "+Inf"
    assert buckets[-1].value == 3
    assert [b.value for b in buckets] == sorted(b.value for b in buckets)
    assert families["gatewright_hashing_queue"].samples[0].value == 2
    assert "gatewright_calls_over_budget" in families
    assert monitor.metrics_text() == monitor.metrics_text()


async def test_labels_are_bounded(monitor: SecurityMonitor) -> None:
    for n in range(MAX_KINDS + 50):
        monitor.metrics.count(event(f"made:up:{n}"))
    monitor.metrics.count(event("a:b:c", severity="awful"))
    text = monitor.metrics_text()
    assert text.count("gatewright_events_total{") == MAX_KINDS + 2
    assert 'kind="other",severity="info"} 50.0' in text
    assert 'kind="other",severity="notice"} 1.0' in text


async def test_a_store_that_is_away_does_not_stop_the_start(store: SqliteStore) -> None:
    await store.close()
    async with SecurityMonitor(store) as monitor:
        assert monitor.controls.snapshot() == []
        with pytest.raises(KeyError):
            monitor.performance()["nothing of this name"]
    await store.initialize()
