"""The demo's mailbox: what a person would have received."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from gatewright.notify import FileNotifier


def message_for(data: Path, address: str, *, kind: str = "", seconds: float = 60.0) -> dict[str, Any]:
    """The data of the newest message to an address (of this kind); waits until it is there."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for message in reversed(FileNotifier.read(data / "outbox.jsonl")):
            if message["to"] == address and kind in ("", message["kind"]):
                return dict(message["data"])
        time.sleep(0.02)
    raise AssertionError(f"no message for {address} came within {seconds:g} s")
