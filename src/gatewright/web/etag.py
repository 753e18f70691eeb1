"""``ETag`` responses: 304 for a client whose copy is current (RFC 9110 §8.8.3, §13.1.2)."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from gatewright.web.request import KEY, RequestState
from gatewright.web.rules import Scope

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class ETags:
    """Pure ASGI: gives JSON answers to GET their tag, and answers 304 where the caller has that one.

    Args:
        app: the application.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        state: RequestState | None = scope.get(KEY)
        if state is None or scope.get("method") not in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        known, start = state.header(b"if-none-match"), None

        async def tagged(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and _is_taggable(message):
                start = message
                return
            if start is not None:
                begun, start = start, None
                if not message.get("more_body", False):
                    message = _tag(begun, message, known)
                await send(begun)
            await send(message)

        await self._app(scope, receive, tagged)


def _is_taggable(start: Message) -> bool:
    fields = {name.lower(): value for name, value in start.get("headers", ())}
    kind = fields.get(b"content-type", b"")
    return start["status"] == 200 and b"etag" not in fields and kind.startswith(b"application/json")


def _tag(start: Message, message: Message, known: str | None) -> Message:
    """Put the tag into the answer; the body that is left to be sent."""
    tag = f'"{hashlib.sha256(message.get("body", b"")).hexdigest()[:32]}"'
    start["headers"] = [*start["headers"], (b"etag", tag.encode())]
    if known is None or not _matches(known, tag):
        return message
    start["status"] = 304
    start["headers"] = [(n, v) for n, v in start["headers"] if n.lower() not in (b"content-length", b"content-type")]
    return {"type": "http.response.body", "body": b""}


def _matches(known: str, tag: str) -> bool:
    """Weak comparison, as RFC 9110 asks for ``If-None-Match``."""
    return known.strip() == "*" or tag in (one.strip().removeprefix("W/") for one in known[:4096].split(","))
