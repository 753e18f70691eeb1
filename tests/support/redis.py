"""A real redis-server on a free port, with a directory of its own, that a test may kill and start again."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ports import free_port

MISSING = (
    "redis-server is not installed, so this cannot be tested: apt-get install redis-server (Debian), or set "
    "GATEWRIGHT_TEST_SKIP=redis by hand to leave it out."
)


class RedisServer:
    """One server process.

    Args:
        directory: its working directory.
    """

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        program = shutil.which("redis-server")
        if program is None:
            if "redis" in os.environ.get("GATEWRIGHT_TEST_SKIP", "").split(","):
                pytest.skip("GATEWRIGHT_TEST_SKIP names redis")
            pytest.fail(MISSING)
        self._process = subprocess.Popen(
            [program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
            cwd=self._directory,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(3_000):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.01)
        pytest.fail("redis-server was started but does not answer.")

    def kill(self) -> None:
        """End it as a power cut would; what it held is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture(scope="session")
def redis_session() -> Iterator[RedisServer]:
    """One server for all tests that leave it running."""
    with tempfile.TemporaryDirectory() as directory:
        server = RedisServer(Path(directory))
        server.start()
        yield server
        server.kill()


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server of this test's own, to be killed and started."""
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.kill()
