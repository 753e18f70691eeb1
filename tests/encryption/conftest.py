"""Managers with derived keys, and with keys in a store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gatewright.encryption import ManufacturerEncryptionManager
from gatewright.storage import SqliteStore
from gatewright.testing import ListSink, ManualClock
from tests.encryption.killing import ROOT

__all__ = ["ROOT"]


@pytest.fixture
def sink() -> ListSink:
    return ListSink()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def key_store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    async with SqliteStore(tmp_path / "keys.db", durable=False, poll_interval=0.1) as store:
        yield store


@pytest.fixture(params=["derived", "stored"])
async def manager(
    request: pytest.FixtureRequest, sink: ListSink, clock: ManualClock, tmp_path: Path
) -> AsyncIterator[ManufacturerEncryptionManager]:
    if request.param == "derived":
        async with ManufacturerEncryptionManager(ROOT, sink=sink, clock=clock) as made:
            yield made
        return
    async with (
        SqliteStore(tmp_path / "keys.db", durable=False) as store,
        ManufacturerEncryptionManager(ROOT, store=store, sink=sink, clock=clock) as made,
    ):
        yield made
