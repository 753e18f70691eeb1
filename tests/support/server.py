"""A real server process on a free port, for tests that kill it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.support.ports import free_port


class DemoServer:
    """``gatewright serve --demo`` with a data directory of its own."""

    def __init__(self, data: Path, *, port: int | None = None, environment: dict[str, str] | None = None) -> None:
        self.data = data
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = environment or {}
        self._process: subprocess.Popen[bytes] | None = None
        self.log = data.parent / f"{data.name}.log"

    def start(self, *, timeout: float = 120.0) -> DemoServer:
        """Start and wait until it answers."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("GATEWRIGHT_")}
        environment = {
            **inherited,
            "GATEWRIGHT_DATA_DIR": str(self.data),
            "GATEWRIGHT_ARGON2_MEMORY_KIB": "1024",
            "GATEWRIGHT_ARGON2_TIME_COST": "1",
            **self._environment,
        }
        command = [sys.executable, "-m", "gatewright.cli.main", "serve", "--demo", "--port", str(self.port)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"{self.url}/healthz", timeout=1) as answer:
                    if answer.status == 200:
                        return self
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        raise AssertionError(f"the server did not start:\n{self.log.read_text()[-3000:]}")

    @property
    def pid(self) -> int:
        """The process that runs."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """``kill -9``: nothing gets to tidy up."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to end, as an operator would."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.send_signal(how)
            process.wait(60)
