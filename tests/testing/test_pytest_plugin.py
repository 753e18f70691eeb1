"""The pytest plugin in a run of its own, under pytest-asyncio in both modes, under AnyIO, and without either."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gatewright.testing.pytest_plugin import _require_asyncio

ASYNC_TESTS = """
from gatewright.testing import assert_event, create_member

async def test_one(gatewright_foundation, gatewright_tenant, gatewright_clock, gatewright_events):
    caller = await gatewright_tenant(tier="free")
    assert gatewright_foundation.clock is gatewright_clock
    assert await gatewright_foundation.auth.validate_session(caller.session_id)
    assert_event(gatewright_events, "auth:login:succeeded", account_id=caller.account_id)
    assert (await create_member(gatewright_foundation, caller, role="viewer")).role == "viewer"

async def test_two(gatewright_foundation, gatewright_tenant):
    await gatewright_tenant(email="same@example.com")

async def test_three(gatewright_foundation, gatewright_tenant):
    await gatewright_tenant(email="same@example.com")
"""
ANYIO = 'import pytest\npytestmark = pytest.mark.anyio\n@pytest.fixture\ndef anyio_backend():\n    return "asyncio"\n'
SESSION_LOOP = (
    *("-o", "asyncio_default_fixture_loop_scope=session"),
    *("-o", "asyncio_default_test_loop_scope=session"),
)
MARKED = "import pytest\npytestmark = pytest.mark.asyncio\n"
SYNC_TEST = """
from fastapi.testclient import TestClient
from gatewright import create_app
from gatewright.testing import create_tenant

def test_client(gatewright_unopened):
    with TestClient(create_app(gatewright_unopened)) as client:
        caller = client.portal.call(create_tenant, gatewright_unopened)
        assert client.get("/v1/sessions", headers=caller.headers).status_code == 200
"""
OVERRIDES = """
import pytest
from gatewright import load_policy

@pytest.fixture
def gatewright_settings():
    return {"access_token_minutes": 1}

@pytest.fixture
def gatewright_policy():
    return POLICY

POLICY = load_policy()

def test_overrides(gatewright_unopened):
    assert gatewright_unopened.settings.access_token_minutes == 1
    assert gatewright_unopened.policy is POLICY
"""


def run(directory: Path, text: str, *options: str) -> tuple[int, str]:
    """Run pytest on a test file with the plugins that are named, and no others."""
    (directory / "test_it.py").write_text(text)
    (directory / "pytest.ini").write_text("[pytest]\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "gatewright.testing.pytest_plugin", *options, "test_it.py"],
        cwd=directory,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (ASYNC_TESTS, ("-p", "asyncio", "-o", "asyncio_mode=auto")),
        (MARKED + ASYNC_TESTS, ("-p", "asyncio", "-o", "asyncio_mode=strict")),
        (MARKED + ASYNC_TESTS, ("-p", "asyncio", "-p", "anyio")),
        (ASYNC_TESTS, ("-p", "asyncio", "-o", "asyncio_mode=auto", *SESSION_LOOP)),
        (ANYIO + ASYNC_TESTS, ("-p", "anyio")),
        (ANYIO + ASYNC_TESTS, ("-p", "asyncio", "-p", "anyio")),
    ],
    ids=["asyncio auto", "asyncio strict", "asyncio beside anyio", "one loop", "anyio", "anyio beside asyncio"],
)
def test_each_test_gets_a_foundation_in_its_own_loop(text: str, options: tuple[str, ...], tmp_path: Path) -> None:
    code, output = run(tmp_path, text, *options)
    assert code == 0 and "3 passed" in output, output


def test_a_synchronous_test_opens_it_by_the_application(tmp_path: Path) -> None:
    code, output = run(tmp_path, SYNC_TEST)
    assert code == 0 and "1 passed" in output, output


def test_settings_and_policy_can_be_overridden(tmp_path: Path) -> None:
    code, output = run(tmp_path, OVERRIDES)
    assert code == 0 and "1 passed" in output, output


def test_without_an_event_loop_it_says_what_to_install(tmp_path: Path) -> None:
    code, output = run(tmp_path, "def test_it(gatewright_foundation):\n    pass\n")
    assert code == 1 and "install pytest-asyncio" in output and "gatewright_unopened" in output, output


@pytest.mark.parametrize("backend", ["trio", "curio"])
def test_another_event_loop_than_asyncio_is_named(backend: str) -> None:
    with pytest.raises(pytest.fail.Exception, match=f"runs on asyncio, not {backend}"):
        _require_asyncio(backend)
    _require_asyncio("asyncio")


def test_loading_the_plugin_loads_no_part_of_the_foundation(tmp_path: Path) -> None:
    text = "import sys\ndef test_it():\n    assert 'gatewright.foundation' not in sys.modules\n"
    code, output = run(tmp_path, text)
    assert code == 0, output
