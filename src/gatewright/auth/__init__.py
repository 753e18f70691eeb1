"""Identity: who is calling, beyond doubt."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gatewright.auth.manager import ManufacturerAuthManager
    from gatewright.auth.options import AuthOptions
    from gatewright.auth.records import (
        AuthResult,
        ClientInfo,
        ManufacturerAccount,
        ManufacturerSession,
        MFAEnrolment,
        SessionRisk,
    )
    from gatewright.auth.tokens.foreign import ForeignIssuer

_HOMES = {
    "ManufacturerAuthManager": "manager",
    "AuthOptions": "options",
    "AuthResult": "records",
    "ClientInfo": "records",
    "ManufacturerAccount": "records",
    "ManufacturerSession": "records",
    "MFAEnrolment": "records",
    "SessionRisk": "records",
    "ForeignIssuer": "tokens.foreign",
}

__all__ = [
    "AuthOptions",
    "AuthResult",
    "ClientInfo",
    "ForeignIssuer",
    "MFAEnrolment",
    "ManufacturerAccount",
    "ManufacturerAuthManager",
    "ManufacturerSession",
    "SessionRisk",
]


def __getattr__(name: str) -> Any:
    """Load a name when it is first asked for: records are wanted in many places, the manager in few."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)
