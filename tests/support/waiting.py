"""Waiting for what another task, thread or process brings about."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable

PATIENCE = 30.0
"""Seconds until a wait is given up: far more than any promise takes, so that a busy machine fails no test."""


async def eventually(condition: Callable[[], bool | Awaitable[bool]], seconds: float = PATIENCE) -> None:
    """Return as soon as the condition holds; fail when it never does."""
    end = time.monotonic() + seconds
    while True:
        held = condition()
        if await held if inspect.isawaitable(held) else held:
            return
        assert time.monotonic() < end, f"it did not happen within {seconds:g} s"
        await asyncio.sleep(0.01)
