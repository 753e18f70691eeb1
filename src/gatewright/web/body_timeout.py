"""A time limit for reading request bodies, so that slow senders do not occupy the service.

The limit grows with what has arrived: a large upload over a slow line is served as long as it keeps moving.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from gatewright.web.problems import Problem
from gatewright.web.rules import Scope

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

MIN_RATE = 8_192
"""Bytes a second that a sender must keep up once the time limit is used up."""


def receive_within(seconds: float, scope: Scope, receive: Receive) -> Receive:
    """A ``receive`` that gives a whole body ``seconds``, and one more for every :data:`MIN_RATE` bytes received.

    Raises:
        Problem: 408 from the call that has to wait longer.
    """
    loop = asyncio.get_running_loop()
    started, received = loop.time(), 0

    async def receive_in_time() -> MutableMapping[str, Any]:
        nonlocal received
        timer = asyncio.timeout_at(started + seconds + received / MIN_RATE)
        try:
            async with timer:
                message = await receive()
        except TimeoutError:
            if not timer.expired():
                raise
            raise _too_slow(seconds, scope) from None
        received += len(message.get("body", b""))
        return message

    return receive_in_time


def _too_slow(seconds: float, scope: Scope) -> Problem:
    # What is left of the body would be taken for the next request.
    closing = {"Connection": "close"} if str(scope.get("http_version", "1.1")).startswith("1") else {}
    return Problem(
        408,
        "REQUEST_TIMEOUT",
        f"The request body did not arrive within {seconds:g} s plus one second for every {MIN_RATE:,} bytes. "
        "Send it without pauses.",
        headers=closing,
    )
