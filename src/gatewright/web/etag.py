"""``ETag`` responses: 304 for a client that has the current version (RFC 9110 §8.8.3, §13.1.2)."""

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
    """ASGI middleware that tags JSON responses to GET, and answers 304 if the client has the current one.

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
        if_none_match, start = state.header(b"if-none-match"), None

        async def send_tagged(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and _is_taggable(message):
                start = message
                return
            if start is not None:
                held, start = start, None
                if not message.get("more_body", False):
                    message = _tag(held, message, if_none_match)
                await send(held)
            await send(message)

        await self._app(scope, receive, send_tagged)


def _is_taggable(start: Message) -> bool:
    headers = {name.lower(): value for name, value in start.get("headers", ())}
    media_type = headers.get(b"content-type", b"")
    return start["status"] == 200 and b"etag" not in headers and media_type.startswith(b"application/json")


def _tag(start: Message, message: Message, if_none_match: str | None) -> Message:
    """Add the tag to ``start``, or make it a 304. Returns the body message to send."""
    tag = f'"{hashlib.sha256(message.get("body", b"")).hexdigest()[:32]}"'
    start["headers"] = [*start["headers"], (b"etag", tag.encode())]
    if if_none_match is None or not _matches(if_none_match, tag):
        return message
    start["status"] = 304
    start["headers"] = [(n, v) for n, v in start["headers"] if n.lower() not in (b"content-length", b"content-type")]
    return {"type": "http.response.body", "body": b""}


def _matches(if_none_match: str, tag: str) -> bool:
    """Weak comparison, as RFC 9110 §13.1.2 requires."""
    candidates = (candidate.strip().removeprefix("W/") for candidate in if_none_match[:4096].split(","))
    return if_none_match.strip() == "*" or tag in candidates
