"""Outages of the store: nothing is lost, order is preserved, and a full spool refuses events."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gatewright.errors import StoreUnavailableError
from gatewright.events import event
from gatewright.monitoring import SecurityMonitor, Spool
from gatewright.storage import SqliteStore
from tests.monitoring.conftest import ROOT, eventually


def emit(monitor: SecurityMonitor, start: int, stop: int, kind: str = "auth:login:succeeded") -> None:
    for n in range(start, stop):
        monitor.emit(event(kind, manufacturer_id="m", n=n))


async def numbers(monitor: SecurityMonitor) -> list[int]:
    found = await monitor.audit.search(kind="auth:*", limit=1000)
    return [one.data["n"] for one in reversed(found)]


async def test_an_outage_loses_nothing_and_keeps_the_order(
    store: SqliteStore, monitor: SecurityMonitor, tmp_path: Path
) -> None:
    emit(monitor, 0, 50)
    await monitor.flush()
    await store.close()
    for start in range(50, 150, 10):
        emit(monitor, start, start + 10)
        await monitor.flush()
    (segment,) = (tmp_path / "spool").glob("*.spool")
    assert stat.S_IMODE(segment.stat().st_mode) == 0o600
    assert "audit_store_away 1.0" in monitor.metrics_text()
    assert monitor.accepting
    await store.initialize()
    emit(monitor, 150, 160)
    await eventually(lambda: not segment.exists())
    await monitor.flush()
    assert await numbers(monitor) == list(range(160))
    assert await monitor.audit.verify()
    assert "audit_store_away 0.0" in monitor.metrics_text()
    assert "audit_spool_bytes 0.0" in monitor.metrics_text()


async def test_what_a_dead_process_spooled_is_adopted(store: SqliteStore, tmp_path: Path) -> None:
    async with SecurityMonitor(store, root_secret=ROOT, spool_dir=tmp_path / "spool") as first:
        await store.close()
        emit(first, 0, 3000)
        await first.flush()
    assert list((tmp_path / "spool").glob("*.spool"))
    await store.initialize()
    async with SecurityMonitor(store, root_secret=ROOT, spool_dir=tmp_path / "spool") as second:
        await eventually(lambda: not list((tmp_path / "spool").glob("*.spool")))
        emit(second, 3000, 3001)
        await second.flush()
        assert (await numbers(second))[-3:] == [2998, 2999, 3000]
        assert (await second.audit.verify()).size == 3001


async def test_events_wait_in_memory_where_there_is_no_spool(store: SqliteStore) -> None:
    async with SecurityMonitor(store, root_secret=ROOT, retry=0.01) as monitor:
        await store.close()
        emit(monitor, 0, 20)
        with pytest.raises(StoreUnavailableError):
            await monitor.flush()
        with pytest.raises(StoreUnavailableError):
            await monitor.flush()
        await store.initialize()
        await eventually(lambda: not monitor.pipeline.stuck)
        await monitor.flush()
        assert await numbers(monitor) == list(range(20))


async def test_when_nothing_can_be_kept_the_must_be_audited_is_refused(store: SqliteStore, tmp_path: Path) -> None:
    async with SecurityMonitor(
        store, root_secret=ROOT, spool_dir=tmp_path / "spool", spool_bytes=1200, capacity=10, retry=0.01
    ) as monitor:
        await store.close()
        emit(monitor, 0, 5)
        await monitor.flush()
        emit(monitor, 5, 15)
        with pytest.raises(StoreUnavailableError):
            await monitor.flush()
        emit(monitor, 15, 25 - monitor.pipeline.waiting)
        assert not monitor.accepting
        with pytest.raises(StoreUnavailableError) as caught:
            emit(monitor, 99, 100)
        assert caught.value.retry_after > 0
        emit(monitor, 99, 100, kind="web:request:served")  # routine: counted instead
        assert "audit_dropped_events 1.0" in monitor.metrics_text()
        await store.initialize()
        await eventually(lambda: monitor.pipeline.waiting == 0 and not monitor.pipeline.stuck)
        await monitor.flush()
        kept = await numbers(monitor)
        assert kept == list(range(len(kept)))
        assert len(kept) >= 15


async def test_emitting_before_opening_and_from_threads(store: SqliteStore) -> None:
    monitor = SecurityMonitor(store)
    emit(monitor, 0, 5)
    with pytest.raises(StoreUnavailableError):
        await monitor.flush()
    async with monitor:
        await monitor.flush()
        threads = [threading.Thread(target=emit, args=(monitor, 100 * n, 100 * n + 50)) for n in range(1, 5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            await asyncio.to_thread(thread.join)
        await monitor.flush()
        assert sorted(await numbers(monitor)) == [*range(5), *(100 * n + i for n in range(1, 5) for i in range(50))]


async def test_closing_writes_what_waits(store: SqliteStore) -> None:
    async with SecurityMonitor(store) as monitor:
        emit(monitor, 0, 5000)
    assert (await store.audit_head()).size == 5000


_WRITER = """
import asyncio, sys
from gatewright.events import event
from gatewright.monitoring import SecurityMonitor
from gatewright.storage.sqlite.store import SqliteStore

async def main():
    async with SqliteStore(sys.argv[1], durable=False) as store, SecurityMonitor(store) as monitor:
        for n in range(400):
            monitor.emit(event("auth:login:succeeded", process=sys.argv[2], n=n))
            if n % 7 == 0:
                await asyncio.sleep(0)
        await monitor.flush()

asyncio.run(main())
"""


async def test_several_processes_write_one_log(store: SqliteStore, tmp_path: Path) -> None:
    async with SecurityMonitor(store) as monitor:
        path = str(tmp_path / "store.db")
        running = [
            await asyncio.create_subprocess_exec(sys.executable, "-c", _WRITER, path, str(n), stderr=subprocess.PIPE)
            for n in range(3)
        ]
        for process in running:
            _, errors = await process.communicate()
            assert process.returncode == 0, errors
        result = await monitor.audit.verify()
        assert result, result.detail
        assert result.size == 1200
        found = [one for page in (None, 200) for one in await monitor.audit.search(limit=1000, before=page)]
        for n in range(3):
            of_one = [one.data["n"] for one in found if one.data["process"] == str(n)]
            assert of_one == list(reversed(range(400)))


async def test_a_spool_that_cannot_be_read_stops_nothing(store: SqliteStore, tmp_path: Path) -> None:
    async with SecurityMonitor(store, root_secret=ROOT, spool_dir=tmp_path / "spool", retry=0.001) as monitor:
        await store.close()
        emit(monitor, 0, 10)
        await monitor.flush()
        (segment,) = monitor.pipeline._spool._segments if monitor.pipeline._spool else []
        readable, segment._descriptor = segment._descriptor, os.open(tmp_path, os.O_RDONLY)  # a directory: EISDIR
        await store.initialize()
        emit(monitor, 10, 11)
        with pytest.raises(StoreUnavailableError):
            await monitor.flush()
        os.close(segment._descriptor)
        segment._descriptor = readable
        await eventually(lambda: not monitor.pipeline.stuck)
        await monitor.flush()
        assert await numbers(monitor) == list(range(11))


_KILLED = """
import asyncio, sys
from gatewright.events import event
from gatewright.monitoring import SecurityMonitor
from gatewright.storage.sqlite.store import SqliteStore

async def main():
    async with SqliteStore(sys.argv[1]) as store, SecurityMonitor(store, spool_dir=sys.argv[2]) as monitor:
        for n in range(1_000_000):
            monitor.emit(event("auth:login:succeeded", n=n))
            if n % 50 == 49:
                await monitor.flush()
                print(n, flush=True)

asyncio.run(main())
"""


async def test_what_was_flushed_survives_kill(tmp_path: Path) -> None:
    path = str(tmp_path / "killed.db")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _KILLED, path, str(tmp_path / "spool"), stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    lines = [await process.stdout.readline() for _ in range(10)]
    process.kill()
    lines += (await process.stdout.read()).splitlines()
    await process.wait()
    promised = int([line for line in lines if line.strip()][-1])
    async with SqliteStore(path) as store, SecurityMonitor(store, spool_dir=tmp_path / "spool") as monitor:
        result = await monitor.audit.verify()
        assert result, result.detail
        assert result.size > promised
        kept = await numbers(monitor)
        assert kept == list(range(kept[0], kept[0] + len(kept)))


def test_a_spool_gives_back_what_it_took_in_order(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.open()
    bodies = [b'{"n":%d}' % n for n in range(1000)]
    for at in range(0, 1000, 90):
        spool.append(bodies[at : at + 90])
    taken: list[bytes] = []
    while spool.pending:
        taken += spool.peek(70)
        if spool.pending:
            spool.drop()
    assert taken == bodies
    assert spool.size == 0
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_spool_peeked_again_gives_the_same(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append([b"{}", b"[]"])
    assert spool.peek(1) == spool.peek(1) == [b"{}"]
    spool.drop()
    assert spool.peek(5) == [b"[]"]
    spool.close()


def test_torn_and_damaged_lines_are_passed_over(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append([b'{"n":1}', b'{"n":2}', b'{"n":3}'])
    spool.close()
    (segment,) = tmp_path.glob("*.spool")
    text = segment.read_bytes().replace(b'{"n":2}', b'{"n":7}')
    segment.write_bytes(text + b"0123abcd {torn")
    again = Spool(tmp_path)
    again.open()
    assert again.peek(10) == [b'{"n":1}', b'{"n":3}']
    again.drop()
    assert again.peek(10) == []
    assert not again.pending


def test_a_segment_in_use_is_left_alone(tmp_path: Path) -> None:
    living, other = Spool(tmp_path), Spool(tmp_path)
    living.append([b"{}"])
    other.open()
    assert not other.pending
    living.close()
    other.open()
    assert other.peek(1) == [b"{}"]
    other.close()


def test_a_spool_is_bounded_and_says_when_its_disk_fails(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=100)
    spool.append([b"x" * 50])
    with pytest.raises(StoreUnavailableError) as caught:
        spool.append([b"x" * 50])
    assert caught.value.code == "AUDIT_SPOOL_FULL"
    spool.close()
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailableError):
        Spool(tmp_path / "file").append([b"{}"])
