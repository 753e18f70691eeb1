"""A manager with a clock that is turned by hand, and its events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from gatewright.clock import ManualClock
from gatewright.events import ListSink
from gatewright.rbac import ManufacturerContext, ManufacturerRBACManager


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 3, 10, 12, tzinfo=UTC))


@pytest.fixture
def sink() -> ListSink:
    return ListSink()


@pytest.fixture
async def rbac(clock: ManualClock, sink: ListSink) -> AsyncIterator[ManufacturerRBACManager]:
    async with ManufacturerRBACManager(clock=clock, sink=sink) as manager:
        yield manager


def caller(tier: object = "free", *, of: str = "m1", roles: object = (), **more: object) -> ManufacturerContext:
    return ManufacturerContext(of, "Company", "a@example.com", tier, list(roles), **more)  # type: ignore[call-overload]  # any form a caller may bring
