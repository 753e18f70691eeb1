"""Connection limits: slow, idle, oversized and too many connections, below the application.

Uvicorn times out an idle connection only after its first response, and a single byte, even a line end, stops that
timer. Here every wait for a client is bounded: for the first byte, a header, a body, the rest of a refused body, and a
client that does not read its response. Each connection has one timer; a request only records times.
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
"""Seconds for a client to read a final response, or to finish sending a refused body."""


class ConnectionLimits(Record, frozen=True, kw_only=True):
    """Connection limits of one process. Times are in seconds.

    ``header_timeout`` applies to the first byte and to a complete header; ``body_timeout`` to a body (plus one second
    for every 8 KiB received) and to a client that does not read. ``max_header_bytes`` bounds a header as it arrives.
    """

    header_timeout: float
    body_timeout: float
    max_header_bytes: int
    max_connections: int


def connection_limits(settings: Settings) -> ConnectionLimits:
    """The connection limits in ``settings``."""
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
    """Uvicorn's HTTP protocol with a deadline for every wait.

    Args:
        limits: the limits of this process. All other arguments are uvicorn's.
    """

    def __init__(self, *arguments: Any, limits: ConnectionLimits, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._limits = limits
        self._phase = _Phase.HEADER
        self._since = self.loop.time()
        self._header_bytes = self._body_bytes = 0
        self._started = False
        self._responded_at = 0.0
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
                    f"Too many connections: all {self._limits.max_connections:,} are in use. Try again in 1 s.",
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
        # The first chunk is left to the middleware, which counts exactly: it may begin with the end of a body.
        if self._phase is _Phase.HEADER and not self._started:
            self._header_bytes += len(data)
            if self._header_bytes > self._limits.max_header_bytes:
                self._refuse(
                    Problem(
                        431,
                        "HEADERS_TOO_LARGE",
                        f"Headers too large: at most {self._limits.max_header_bytes:,} bytes with the request target. "
                        "Send fewer or shorter headers.",
                    )
                )

    def handle_websocket_upgrade(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._phase = _Phase.RESPONSE
        super().handle_websocket_upgrade()

    def _unsupported_upgrade_warning(self) -> None:
        """Log nothing: the upgrade is ignored (RFC 9110 §7.8), and clients must not be able to fill the log."""

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled_since = self.loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stalled_since = None

    def send_400_response(self, msg: str) -> None:
        self._refuse(Problem(400, "MALFORMED_REQUEST", "Malformed HTTP/1.1 request. Use an HTTP client library."))

    # --- the parser's callbacks ---------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._started = True
        self._header_bytes = self._body_bytes = 0
        if self._phase is not _Phase.HEADER:
            self._enter(_Phase.HEADER)

    def on_header(self, name: bytes, value: bytes) -> None:
        # Trailers arrive after the request was checked, so they are dropped (RFC 9110 §6.5.1).
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
        responded = self.cycle is None or self.cycle.response_complete
        self._enter(_Phase.IDLE if responded else _Phase.RESPONSE)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._responded_at = self.loop.time()
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
        """End the connection if the client is overdue, or check again at its deadline."""
        if self.transport.is_closing():  # the client does not read the final response
            self.transport.abort()
            return
        now = self.loop.time()
        if self._phase is _Phase.BODY and self.flow.read_paused:
            self._since = now  # the client waits for the application
        deadline = self._deadline()
        if deadline is not None and deadline <= now:
            self._end_overdue()
            return
        pause = min(self._limits.header_timeout, self._limits.body_timeout, LINGER) / 2
        self._arm(pause if deadline is None else min(pause, deadline - now))

    def _deadline(self) -> float | None:
        """When the client is overdue. None while the connection does not wait for it."""
        if self._stalled_since is not None:
            return self._stalled_since + self._limits.body_timeout
        if self._phase is _Phase.HEADER:
            return self._since + self._limits.header_timeout
        if self._phase is _Phase.BODY:
            if self.cycle is not None and self.cycle.response_complete:
                return max(self._since, self._responded_at) + LINGER
            # The middleware answers 408 earlier; this covers applications that do not read the body.
            return self._since + self._limits.body_timeout + self._body_bytes / MIN_RATE + LINGER
        return None

    def _end_overdue(self) -> None:
        if self._stalled_since is not None:
            self.transport.abort()
        elif self._phase is _Phase.HEADER and self._is_responding():
            self.cycle.keep_alive = False  # the previous response closes the connection
            self._phase = _Phase.RESPONSE
            self._arm(self._limits.header_timeout)
        elif self._phase is _Phase.HEADER and self._header_bytes + self._started:
            self._refuse(
                Problem(
                    408,
                    "REQUEST_TIMEOUT",
                    f"Header timeout: it must arrive within {self._limits.header_timeout:g} s. Send it without pauses.",
                )
            )
        else:
            self._close()

    # --- ending -------------------------------------------------------------------------------------------------

    def _is_responding(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _make_room(self) -> bool:
        """Close the connection that has waited longest for its client. False if none is waiting."""
        waiting = [
            other
            for other in self.connections
            if isinstance(other, BoundedHttpProtocol)
            and other is not self
            and other._phase in (_Phase.IDLE, _Phase.HEADER)
            and not other._is_responding()
        ]
        if not waiting:
            return False
        oldest = min(waiting, key=lambda other: other._since)
        self.connections.discard(oldest)
        oldest._close()
        return True

    def _refuse(self, problem: Problem) -> None:
        """Send an error for a request that did not reach the application, then close."""
        if not self._is_responding() and not self.transport.is_closing():
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
