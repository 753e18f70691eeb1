"""Every store, so that one suite holds for all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gatewright.storage import SqliteStore


@pytest.fixture(params=["memory", "file"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """A fresh, open store of each kind."""
    path = ":memory:" if request.param == "memory" else tmp_path / "store.db"
    async with SqliteStore(path, durable=False) as opened:
        yield opened
