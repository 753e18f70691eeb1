"""SecurityEvent and EventSink: everything that happens is an event, and monitoring alone consumes them.

Kinds are named ``source:subject:action`` (``auth:login:failed``). A domain emits and goes on.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Protocol

from gatewright.clock import Clock
from gatewright.logs import current_request_id
from gatewright.records import Record

getrandbits = random.getrandbits
"""Randomness for ids that are told to everybody: unique (a forked process begins anew), never for secrets."""


class Severity(StrEnum):
    """How much an event matters to a person on call."""

    INFO = "info"
    NOTICE = "notice"
    WARNING = "warning"
    HIGH = "high"
    CRITICAL = "critical"


def new_event_id() -> str:
    """A UUIDv7 in hex (RFC 9562 §5.7): sorts by time, never repeats."""
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds << 80) | getrandbits(80)
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    return f"{value:032x}"


class SecurityEvent(Record, frozen=True, kw_only=True):
    """One thing that happened. ``data`` holds plain JSON values and never a secret."""

    kind: str
    event_id: str
    timestamp: datetime
    severity: str = Severity.INFO.value
    manufacturer_id: str | None = None
    account_id: str | None = None
    session_id: str | None = None
    ip_address: str | None = None
    request_id: str | None = None
    actor: str | None = None
    data: Mapping[str, Any] = {}


def event(
    kind: str,
    *,
    severity: Severity | str = Severity.INFO,
    timestamp: datetime | None = None,
    manufacturer_id: str | None = None,
    account_id: str | None = None,
    session_id: str | None = None,
    ip_address: str | None = None,
    request_id: str | None = None,
    actor: str | None = None,
    **data: Any,
) -> SecurityEvent:
    """Make an event of ``kind`` (``source:subject:action``); further keywords become its ``data``.

    Without ``request_id``, an event that is made while a request is served has the id of that request.
    """
    return SecurityEvent(
        kind=kind,
        event_id=new_event_id(),
        timestamp=timestamp or datetime.now(UTC),
        severity=str(severity),
        manufacturer_id=manufacturer_id,
        account_id=account_id,
        session_id=session_id,
        ip_address=ip_address,
        request_id=request_id or current_request_id(),
        actor=actor,
        data=data,
    )


class EventSink(Protocol):
    """Where domains send events."""

    def emit(self, event: SecurityEvent) -> None:
        """Take the event and return at once.

        Raises:
            StoreUnavailableError: the event must be audited and can be kept nowhere any more.
        """
        ...


class NullSink:
    """Forgets every event: the default of a manager that is built alone."""

    def emit(self, event: SecurityEvent) -> None:
        return None


class Emit(Protocol):
    """Sends one event; further keywords are the fields of :func:`event`."""

    def __call__(self, kind: str, severity: Severity = Severity.INFO, **fields: Any) -> None: ...


def emitter(sink: EventSink | None, clock: Clock) -> Emit:
    """How a part of Gatewright emits: events at the time of ``clock``, to ``sink`` or, without one, to nobody."""
    send = (sink or NullSink()).emit

    def emit(kind: str, severity: Severity = Severity.INFO, **fields: Any) -> None:
        send(event(kind, severity=severity, timestamp=clock.now(), **fields))

    return emit


class ListSink:
    """Keeps events in a list, for tests and examples."""

    def __init__(self) -> None:
        self.events: list[SecurityEvent] = []

    def emit(self, event: SecurityEvent) -> None:
        self.events.append(event)

    def kinds(self) -> list[str]:
        """The kinds in the order in which they came."""
        return [e.kind for e in self.events]


class FanOut:
    """Hands each event to every sink and listener that was added, in order."""

    def __init__(self, *sinks: EventSink) -> None:
        self._sinks: list[Callable[[SecurityEvent], None]] = [sink.emit for sink in sinks]

    def add(self, sink: EventSink) -> None:
        """Send further events to ``sink`` as well."""
        self._sinks.append(sink.emit)

    def emit(self, event: SecurityEvent) -> None:
        for send in self._sinks:
            send(event)
