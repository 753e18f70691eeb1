"""The whole story over HTTP, with the server killed in the middle of it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.server import DemoServer

ROOT = Path(__file__).resolve().parents[2]


def products(data: Path) -> int:
    """How many products the demo has kept so far."""
    path = data / "demo.db"
    if not path.exists():
        return 0
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return int(connection.execute("SELECT count(*) FROM products").fetchone()[0])
    except sqlite3.OperationalError:
        return 0
    finally:
        connection.close()


@pytest.mark.slow
def test_the_story_ends_well_though_the_server_is_killed_in_the_middle(tmp_path: Path) -> None:
    server = DemoServer(tmp_path / "data").start()
    command = [
        sys.executable,
        str(ROOT / "examples" / "walkthrough.py"),
        "--url",
        server.url,
        "--data",
        str(server.data),
    ]
    story = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        deadline = time.monotonic() + 120
        while products(server.data) < 150 and story.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        server.kill()
        server.start()
        out, _ = story.communicate(timeout=240)
    finally:
        story.kill()
        server.stop()
    assert story.returncode == 0, out
    assert "everything worked as expected" in out
