"""The demo's mailbox: what a person would have received."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from gatewright.notify import FileNotifier


def message_for(data: Path, address: str, *, number: int = 1, seconds: float = 20.0) -> dict[str, Any]:
    """The data of the newest message to an address, once ``number`` of them are there; waits for it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = [m for m in FileNotifier.read(data / "outbox.jsonl") if m["to"] == address]
        if len(found) >= number:
            return dict(found[-1]["data"])
        time.sleep(0.02)
    raise AssertionError(f"no message for {address} came within {seconds:g} s")
