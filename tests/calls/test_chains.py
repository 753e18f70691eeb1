"""How many calls the way of one request takes: what a reader follows, and what every request pays for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.calls.trace import CHAINS, LIMITS, PAGE, Running, body_to_verdict, running_application, warm_request
from tests.docs.pages import section, table_rows


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_application(tmp_path) as application:
        yield application


def shown(calls: list[str]) -> str:
    return f"{len(calls)} calls:\n" + "\n".join(calls)


async def test_one_warm_request(running: Running) -> None:
    calls = await warm_request(running)
    assert len(calls) <= LIMITS["warm request"], shown(calls)


@pytest.mark.parametrize("name", CHAINS)
async def test_a_chain_is_short_and_as_documented(running: Running, name: str) -> None:
    """Renew the page with ``python -m tests.calls.trace``."""
    calls = await CHAINS[name](running)
    assert 0 < len(calls) <= LIMITS[name], shown(calls)
    documented = [row[1].strip("`") for row in table_rows(section(PAGE, name))]
    assert sorted(set(documented)) == sorted(set(calls)), shown(calls)


async def test_a_body_reaches_the_detector_in_few_steps(running: Running) -> None:
    calls = await body_to_verdict(running)
    assert "threats.engine.DetectionEngine.inspect" in calls
    body = [call for call in calls if call.startswith("web.body")]
    assert len(body) <= 6, shown(body)
