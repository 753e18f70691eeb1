"""The foundation, its managers, and the sinks and clocks that an application passes."""

from __future__ import annotations

from typing import assert_type

from gatewright import (
    EventSink,
    ListSink,
    ManualClock,
    ManufacturerAuthManager,
    ManufacturerEncryptionManager,
    NullSink,
    SecurityEvent,
    SecurityFoundation,
    SecurityMonitor,
    Settings,
)
from gatewright.auth import AuthResult
from gatewright.rbac import ManufacturerRBACManager
from gatewright.threats import ManufacturerSecurityValidator


class Forwarder:
    """A sink of the application: anything with ``emit``."""

    def emit(self, event: SecurityEvent) -> None:
        print(event.kind)


class Printer:
    """Not a sink."""

    def write(self, text: str) -> None:
        print(text)


async def use() -> None:
    async with SecurityFoundation(Settings(database=":memory:"), clock=ManualClock()) as foundation:
        assert_type(foundation.auth, ManufacturerAuthManager)
        assert_type(foundation.rbac, ManufacturerRBACManager)
        assert_type(foundation.validator, ManufacturerSecurityValidator)
        assert_type(foundation.encryption, ManufacturerEncryptionManager)
        assert_type(foundation.monitor, SecurityMonitor)
        assert_type(await foundation.auth.authenticate_manufacturer("a@b.example", "password"), AuthResult)


def sinks() -> list[EventSink]:
    return [
        ListSink(),
        NullSink(),
        Forwarder(),
        Printer(),  # type: ignore[list-item]
    ]
