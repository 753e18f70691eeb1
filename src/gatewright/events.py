"""Security events and sinks. Everything that happens is an event; only monitoring consumes them.

The kinds, ``source:subject:action``, are listed in :mod:`gatewright.event_kinds`.
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
"""Randomness for public ids: unique, also after a fork, but not for secrets."""


class Severity(StrEnum):
    """How urgent an event is for the person on call."""

    INFO = "info"
    NOTICE = "notice"
    WARNING = "warning"
    HIGH = "high"
    CRITICAL = "critical"


def new_event_id() -> str:
    """A UUIDv7 in hex (RFC 9562 §5.7), unique and sortable by time."""
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds << 80) | getrandbits(80)
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    return f"{value:032x}"


class SecurityEvent(Record, frozen=True, kw_only=True):
    """Something that happened. ``data`` contains plain JSON values and no secrets."""

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
    """Create an event of ``kind`` (``source:subject:action``). Other keywords become its ``data``.

    ``request_id`` defaults to the id of the current request.
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
    """A consumer of events."""

    def emit(self, event: SecurityEvent) -> None:
        """Accept an event without blocking.

        Raises:
            StoreUnavailableError: the event must be audited, and can be stored nowhere.
        """
        ...


class NullSink:
    """Discards every event: the default of a manager built alone."""

    def emit(self, event: SecurityEvent) -> None:
        return None


class Emit(Protocol):
    """Emits one event. Other keywords are those of :func:`event`."""

    def __call__(self, kind: str, severity: Severity = Severity.INFO, **fields: Any) -> None: ...


def emitter(sink: EventSink | None, clock: Clock) -> Emit:
    """A function that emits events to ``sink`` (None: nowhere), with the time of ``clock``."""
    send = (sink or NullSink()).emit

    def emit(kind: str, severity: Severity = Severity.INFO, **fields: Any) -> None:
        send(event(kind, severity=severity, timestamp=clock.now(), **fields))

    return emit


class ListSink:
    """Collects events in a list, for tests and examples."""

    def __init__(self) -> None:
        self.events: list[SecurityEvent] = []

    def emit(self, event: SecurityEvent) -> None:
        self.events.append(event)

    def kinds(self) -> list[str]:
        """The kinds of the events, in order."""
        return [e.kind for e in self.events]


class FanOut:
    """Passes each event to several sinks, in the order in which they were added."""

    def __init__(self, *sinks: EventSink) -> None:
        self._sinks: list[Callable[[SecurityEvent], None]] = [sink.emit for sink in sinks]

    def add(self, sink: EventSink) -> None:
        """Also send events to ``sink`` from now on."""
        self._sinks.append(sink.emit)

    def emit(self, event: SecurityEvent) -> None:
        for send in self._sinks:
            send(event)
