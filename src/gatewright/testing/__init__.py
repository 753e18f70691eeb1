"""Tools for testing an application that uses Gatewright.

Nothing here is imported by production code, and no check is weaker for it: tokens and keys are issued by the
foundation under test and verified like any other. pytest is not needed, except for ``pytest_plugin``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gatewright.clock import ManualClock
    from gatewright.events import ListSink
    from gatewright.notify import MemoryNotifier
    from gatewright.testing.callers import (
        ApiKeyCaller,
        Caller,
        create_api_key,
        create_member,
        create_staff,
        create_tenant,
    )
    from gatewright.testing.events import assert_event, assert_no_event
    from gatewright.testing.foundation import MemoryFoundation, memory_foundation

_HOMES = {
    "ApiKeyCaller": "gatewright.testing.callers",
    "Caller": "gatewright.testing.callers",
    "ListSink": "gatewright",
    "ManualClock": "gatewright",
    "MemoryFoundation": "gatewright.testing.foundation",
    "MemoryNotifier": "gatewright",
    "assert_event": "gatewright.testing.events",
    "assert_no_event": "gatewright.testing.events",
    "create_api_key": "gatewright.testing.callers",
    "create_member": "gatewright.testing.callers",
    "create_staff": "gatewright.testing.callers",
    "create_tenant": "gatewright.testing.callers",
    "memory_foundation": "gatewright.testing.foundation",
}

__all__ = [
    "ApiKeyCaller",
    "Caller",
    "ListSink",
    "ManualClock",
    "MemoryFoundation",
    "MemoryNotifier",
    "assert_event",
    "assert_no_event",
    "create_api_key",
    "create_member",
    "create_staff",
    "create_tenant",
    "memory_foundation",
]


def __getattr__(name: str) -> Any:
    """Load a name on first use: pytest imports the plugin before coverage starts to measure."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)
