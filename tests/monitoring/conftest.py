"""A monitor with a store on disk, as in a foundation, and a manual clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from gatewright.monitoring import SecurityMonitor
from gatewright.storage import SqliteStore
from gatewright.testing import ManualClock

ROOT = bytes(range(32))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    async with SqliteStore(tmp_path / "store.db", durable=False, poll_interval=0.02) as opened:
        yield opened


@pytest.fixture
async def monitor(store: SqliteStore, clock: ManualClock, tmp_path: Path) -> AsyncIterator[SecurityMonitor]:
    async with SecurityMonitor(
        store, clock=clock, root_secret=ROOT, spool_dir=tmp_path / "spool", retry=0.01
    ) as opened:
        yield opened


async def eventually(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for another task or process. Fails after a timeout."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.01)
