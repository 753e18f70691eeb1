"""Fixtures for pytest: a manual clock, a foundation in memory, its events, and a tenant factory.

The foundation runs in the event loop of the test, opened by pytest-asyncio (strict or auto mode) or, in a test marked
``anyio``, by AnyIO. Gatewright is imported inside the fixtures: pytest loads the plugin before coverage starts.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from gatewright import Policy
    from gatewright.testing import Caller, ListSink, ManualClock, MemoryFoundation

try:
    from pytest_asyncio import fixture as _asyncio_fixture
except ImportError:
    _asyncio_fixture = None  # type: ignore[assignment]


@pytest.fixture
def gatewright_settings() -> dict[str, Any]:
    """Settings of ``gatewright_foundation``; override it to change some."""
    return {}


@pytest.fixture
def gatewright_policy() -> Policy | None:
    """Policy of ``gatewright_foundation``; override it to use your own. The bundled one by default."""
    return None


@pytest.fixture
def gatewright_clock() -> ManualClock:
    """The clock of ``gatewright_foundation``; it moves with ``advance(minutes=16)``."""
    from gatewright.testing import ManualClock

    return ManualClock()


@pytest.fixture
def gatewright_unopened(
    gatewright_settings: dict[str, Any], gatewright_policy: Policy | None, gatewright_clock: ManualClock
) -> MemoryFoundation:
    """A foundation that the application's lifespan opens, for tests that use ``TestClient``."""
    from gatewright.testing import memory_foundation

    return memory_foundation(policy=gatewright_policy, clock=gatewright_clock, **gatewright_settings)


@pytest.fixture
def gatewright_foundation(request: pytest.FixtureRequest) -> MemoryFoundation:
    """An open foundation in memory, in the event loop of the test."""
    if "anyio_backend" in request.fixturenames:
        name = "_gatewright_opened_by_anyio"
    elif _asyncio_fixture is not None and request.config.pluginmanager.hasplugin("asyncio"):
        name = "_gatewright_opened_by_asyncio"
    else:
        pytest.fail(
            "gatewright_foundation needs an event loop: install pytest-asyncio, or mark the test with "
            "@pytest.mark.anyio. With TestClient, use gatewright_unopened.",
            pytrace=False,
        )
    opened: MemoryFoundation = request.getfixturevalue(name)
    return opened


@pytest.fixture
def gatewright_events(gatewright_foundation: MemoryFoundation) -> ListSink:
    """Every event of ``gatewright_foundation``, for ``assert_event``."""
    return gatewright_foundation.events


@pytest.fixture
def gatewright_tenant(gatewright_foundation: MemoryFoundation) -> Callable[..., Awaitable[Caller]]:
    """``create_tenant`` on ``gatewright_foundation``: ``await gatewright_tenant(tier="free", role="viewer")``."""
    from gatewright.testing import create_tenant

    async def create(**options: Any) -> Caller:
        return await create_tenant(gatewright_foundation, **options)

    return create


def _require_asyncio(backend: str) -> None:
    if backend != "asyncio":
        pytest.fail(
            f'Gatewright runs on asyncio, not {backend}: define a fixture anyio_backend that returns "asyncio".',
            pytrace=False,
        )


@pytest.fixture
async def _gatewright_opened_by_anyio(
    gatewright_unopened: MemoryFoundation, anyio_backend_name: str
) -> AsyncIterator[MemoryFoundation]:
    _require_asyncio(anyio_backend_name)
    async with gatewright_unopened as opened:
        yield opened


if _asyncio_fixture is not None:

    @_asyncio_fixture
    async def _gatewright_opened_by_asyncio(gatewright_unopened: MemoryFoundation) -> AsyncIterator[MemoryFoundation]:
        async with gatewright_unopened as opened:
            yield opened
