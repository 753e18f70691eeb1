"""A manager with a clock that is turned manually, and its events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from gatewright.rbac import ManufacturerContext, ManufacturerRBACManager
from gatewright.storage import SqliteStore, StoredAccount, StoredManufacturer
from gatewright.testing import ListSink, ManualClock


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


async def register(store: SqliteStore, manufacturer_id: str, *, tier: str = "free", billing_day: int = 1) -> None:
    """A registered manufacturer with an owner, ``<id>-owner``."""

    now = datetime(2026, 1, 1, tzinfo=UTC)
    await store.create_manufacturer(
        StoredManufacturer(
            manufacturer_id=manufacturer_id,
            company_name=manufacturer_id,
            tier=tier,
            billing_day=billing_day,
            created_at=now,
            updated_at=now,
        ),
        account_of(manufacturer_id, "owner"),
    )


def account_of(manufacturer_id: str, role: str, *, status: str = "active") -> StoredAccount:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    address = f"{role}@{manufacturer_id}.example"
    return StoredAccount(
        account_id=f"{manufacturer_id}-{role}",
        manufacturer_id=manufacturer_id,
        email=address,
        email_key=address,
        role=role,
        status=status,
        created_at=now,
        updated_at=now,
    )
