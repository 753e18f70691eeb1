"""A time limit for request bodies, so that slow senders do not occupy the service.

The limit grows with what has arrived: a large upload over a slow line is served as long as it keeps moving.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, MutableMapping
from typing import Any

from gatewright.web.problems import Problem
from gatewright.web.rules import Scope

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

MIN_RATE = 8_192
"""Bytes per second that a sender must sustain once the time limit has passed."""


def receive_within(seconds: float, scope: Scope, receive: Receive) -> Receive:
    """Limit the time of a body to ``seconds``, plus one second for every :data:`MIN_RATE` bytes received.

    The ``receive`` returned raises Problem (408) when it would have to wait longer.
    """
    loop = asyncio.get_running_loop()
    started, received = loop.time(), 0

    async def receive_in_time() -> MutableMapping[str, Any]:
        nonlocal received
        steps = receive().__await__()
        try:
            first = next(steps)
        except StopIteration as end:  # already here, as most bodies are: no timer needed
            message: MutableMapping[str, Any] = end.value
        else:
            timer = asyncio.timeout_at(started + seconds + received / MIN_RATE)
            try:
                async with timer:
                    message = await _Resumed(steps, first)
            except TimeoutError:
                if not timer.expired():
                    raise
                raise _too_slow(seconds, scope) from None
        received += len(message.get("body", b""))
        return message

    return receive_in_time


class _Resumed:
    """The rest of an awaitable that was already run to its first suspension."""

    __slots__ = ("_first", "_steps")

    def __init__(self, steps: Generator[Any, Any, MutableMapping[str, Any]], first: Any) -> None:
        self._steps = steps
        self._first = first

    def __await__(self) -> Generator[Any, Any, MutableMapping[str, Any]]:
        step, steps = self._first, self._steps
        while True:
            failure: BaseException | None = None
            try:
                yield step
            except BaseException as error:  # cancelled, or the awaited future failed: pass it on
                failure = error
            try:
                step = next(steps) if failure is None else steps.throw(failure)
            except StopIteration as end:
                result: MutableMapping[str, Any] = end.value
                return result


def _too_slow(seconds: float, scope: Scope) -> Problem:
    # On HTTP/1 the rest of the body would be read as the next request.
    closing = {"Connection": "close"} if str(scope.get("http_version", "1.1")).startswith("1") else {}
    return Problem(
        408,
        "REQUEST_TIMEOUT",
        f"Body timeout: it must arrive within {seconds:g} s plus 1 s for every {MIN_RATE:,} bytes. "
        "Send it without pauses.",
        headers=closing,
    )
