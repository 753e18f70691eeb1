"""The service in memory, and people who are signed in to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from gatewright.auth import ClientInfo
from gatewright.foundation import SecurityFoundation
from gatewright.notify import MemoryNotifier
from gatewright.settings import Settings
from gatewright.testing import ManualClock
from gatewright.web import create_app

PASSWORD = "gravel-otter-lantern-4471"


@pytest.fixture
async def foundation() -> AsyncIterator[SecurityFoundation]:
    settings = Settings(database=":memory:", argon2_memory_kib=8, argon2_time_cost=1)
    async with SecurityFoundation(settings, notifier=MemoryNotifier(), clock=ManualClock()) as opened:
        yield opened


@pytest.fixture
def app(foundation: SecurityFoundation) -> FastAPI:
    return create_app(foundation)


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=("198.51.100.7", 4711))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


Join = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture
def join(foundation: SecurityFoundation) -> Join:
    """Make a manufacturer and sign its owner in, on demand with a second factor just shown; ``headers`` and
    ``manufacturer_id`` of the result."""
    count = 0

    async def make(tier: str = "free", *, recent_mfa: bool = False, **data: Any) -> dict[str, Any]:
        nonlocal count
        count += 1
        email = f"owner{count}@example.com"
        account = await foundation.auth.register_manufacturer(
            {"email": email, "password": PASSWORD, "company_name": f"Company {count}", "tier": tier, **data}
        )
        client = ClientInfo(ip_address="198.51.100.7", user_agent="test")
        result = await foundation.auth.authenticate_manufacturer(email, PASSWORD, client=client)
        if recent_mfa:
            await foundation.auth.note_mfa(str(result.session_id))
        return {
            "email": email,
            "manufacturer_id": account.manufacturer_id,
            "account_id": account.account_id,
            "session_id": result.session_id,
            "access_token": result.access_token,
            "headers": {"authorization": f"Bearer {result.access_token}", "user-agent": "test"},
        }

    return make
