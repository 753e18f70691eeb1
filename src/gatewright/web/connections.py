"""Connection limits: slow, idle, oversized and too many connections, below the application.

Uvicorn times an idle connection only after its first response, and a single byte, even a line end, stops that clock.
Here every wait for a client has an end: for the first byte, a header, a body, the rest of a body that was refused,
and for a client that does not read its response. One timer per connection sees to it; a request only notes times.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gatewright.records import Record
from gatewright.settings import Settings
from gatewright.web.body.timeout import MIN_RATE
from gatewright.web.headers import missing_from
from gatewright.web.problems import Problem, render

LINGER = 2.0
"""Seconds for a client to read a last answer, or to finish sending a body that was refused."""


class ConnectionLimits(Record, frozen=True, kw_only=True):
    """Limits of one process. Times are in seconds.

    ``header_timeout`` is for the first byte and for a whole header; ``body_timeout`` for a body (one more second for
    every 8 KiB received) and for a client that does not read. ``max_header_bytes`` bounds a header while it arrives.
    """

    header_timeout: float
    body_timeout: float
    max_header_bytes: int
    max_connections: int


def connection_limits(settings: Settings) -> ConnectionLimits:
    """The limits that the settings name."""
    return ConnectionLimits(
        header_timeout=settings.header_timeout_seconds,
        body_timeout=settings.body_timeout_seconds,
        max_header_bytes=settings.max_header_bytes,
        max_connections=settings.max_connections,
    )


class _Phase(Enum):
    """What a connection is doing."""

    IDLE = "between two requests"
    HEADER = "waiting for a header"
    BODY = "waiting for a body"
    RESPONSE = "waiting for the application"


class BoundedHttpProtocol(HttpToolsProtocol):
    """Uvicorn's protocol with an end to every wait.

    Args:
        limits: of this process; the other arguments are uvicorn's own.
    """

    def __init__(self, *arguments: Any, limits: ConnectionLimits, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._limits = limits
        self._phase = _Phase.HEADER
        self._since = self.loop.time()
        self._header_bytes = self._body_bytes = 0
        self._started = False
        self._answered_at = 0.0
        self._stalled_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    # --- the life of a connection -------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._enter(_Phase.HEADER)
        self._arm(self._limits.header_timeout)
        if len(self.connections) > self._limits.max_connections and not self._make_room():
            self._refuse(
                Problem(
                    503,
                    "TOO_MANY_CONNECTIONS",
                    f"All {self._limits.max_connections:,} connections of this process are in use. Try again in 1 s.",
                    headers={"Retry-After": "1"},
                )
            )

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._phase is _Phase.IDLE:
            self._enter(_Phase.HEADER)
        self._started = False
        super().data_received(data)
        # The first piece of a header is left to the middleware, which counts exactly: it may follow a body.
        if self._phase is _Phase.HEADER and not self._started:
            self._header_bytes += len(data)
            if self._header_bytes > self._limits.max_header_bytes:
                self._refuse(
                    Problem(
                        431,
                        "HEADERS_TOO_LARGE",
                        f"Request target and headers have more than {self._limits.max_header_bytes:,} bytes. "
                        "Send fewer or shorter headers.",
                    )
                )

    def handle_websocket_upgrade(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._phase = _Phase.RESPONSE
        super().handle_websocket_upgrade()

    def _unsupported_upgrade_warning(self) -> None:
        """Serve the request as if it asked for no upgrade (RFC 9110 §7.8); a client must not write our log."""

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled_since = self.loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stalled_since = None

    def send_400_response(self, msg: str) -> None:
        self._refuse(
            Problem(400, "MALFORMED_REQUEST", "The request is not valid HTTP/1.1. Use an HTTP client library.")
        )

    # --- the parser's callbacks ---------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._started = True
        self._header_bytes = self._body_bytes = 0
        if self._phase is not _Phase.HEADER:
            self._enter(_Phase.HEADER)

    def on_header(self, name: bytes, value: bytes) -> None:
        # Trailers come after the request was checked and must not become part of it (RFC 9110 §6.5.1).
        if self._phase is not _Phase.BODY:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._enter(_Phase.BODY)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        answered = self.cycle is None or self.cycle.response_complete
        self._enter(_Phase.IDLE if answered else _Phase.RESPONSE)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._answered_at = self.loop.time()
        if self._phase is _Phase.RESPONSE and self.cycle.response_complete:
            self._enter(_Phase.IDLE)

    # --- time ---------------------------------------------------------------------------------------------------

    def _enter(self, phase: _Phase) -> None:
        self._phase, self._since = phase, self.loop.time()

    def _arm(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(seconds, self._check)

    def _check(self) -> None:
        """End the connection when the client is overdue, or look again when it would be."""
        if self.transport.is_closing():  # what was written last is not read
            self.transport.abort()
            return
        now = self.loop.time()
        if self._phase is _Phase.BODY and self.flow.read_paused:
            self._since = now  # the client waits for us
        deadline = self._deadline()
        if deadline is not None and deadline <= now:
            self._end_overdue()
            return
        pause = min(self._limits.header_timeout, self._limits.body_timeout, LINGER) / 2
        self._arm(pause if deadline is None else min(pause, deadline - now))

    def _deadline(self) -> float | None:
        """When this connection is overdue; None while it is not the client that is waited for."""
        if self._stalled_since is not None:
            return self._stalled_since + self._limits.body_timeout
        if self._phase is _Phase.HEADER:
            return self._since + self._limits.header_timeout
        if self._phase is _Phase.BODY:
            if self.cycle is not None and self.cycle.response_complete:
                return max(self._since, self._answered_at) + LINGER
            # The middleware answers 408 first; this is for applications that do not read their body.
            return self._since + self._limits.body_timeout + self._body_bytes / MIN_RATE + LINGER
        return None

    def _end_overdue(self) -> None:
        if self._stalled_since is not None:
            self.transport.abort()
        elif self._phase is _Phase.HEADER and self._is_answering():
            self.cycle.keep_alive = False  # the answer to the request before ends the connection
            self._phase = _Phase.RESPONSE
            self._arm(self._limits.header_timeout)
        elif self._phase is _Phase.HEADER and self._header_bytes + self._started:
            self._refuse(
                Problem(
                    408,
                    "REQUEST_TIMEOUT",
                    f"The request header did not arrive within {self._limits.header_timeout:g} s. Send it at once.",
                )
            )
        else:
            self._close()

    # --- ending -------------------------------------------------------------------------------------------------

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _make_room(self) -> bool:
        """Close the connection that has kept us waiting the longest; False when none is waiting for its client."""
        waiting = [
            other
            for other in self.connections
            if isinstance(other, BoundedHttpProtocol)
            and other is not self
            and other._phase in (_Phase.IDLE, _Phase.HEADER)
            and not other._is_answering()
        ]
        if not waiting:
            return False
        oldest = min(waiting, key=lambda other: other._since)
        self.connections.discard(oldest)
        oldest._close()
        return True

    def _refuse(self, problem: Problem) -> None:
        """Answer a request that never reached the application, and close."""
        if not self._is_answering() and not self.transport.is_closing():
            status, headers, body = render(problem, None)
            lines = [(name.encode(), value.encode()) for name, value in headers.items()]
            lines += [*missing_from(lines), (b"content-length", b"%d" % len(body)), (b"connection", b"close")]
            head = b"".join(b"%s: %s\r\n" % line for line in lines)
            self.transport.write(b"HTTP/1.1 %d \r\n%s\r\n%s" % (status, head, body))
        self._close()

    def _close(self) -> None:
        self._phase = _Phase.RESPONSE
        self.transport.close()
        self._arm(LINGER)
