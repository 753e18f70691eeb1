"""Identity: who is calling, beyond doubt."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gatewright.auth.api_keys import ApiKeyIdentity
    from gatewright.auth.client_signals import GeoIP2FastPlaces
    from gatewright.auth.manager import ManufacturerAuthManager
    from gatewright.auth.options import AccessOptions, AuthOptions
    from gatewright.auth.records import (
        ApiKeyInfo,
        AuthResult,
        ClientInfo,
        ManufacturerAccount,
        ManufacturerSession,
        MFAEnrolment,
        PasskeyInfo,
        SessionRisk,
        TrustedDevice,
    )
    from gatewright.auth.services import Partners
    from gatewright.auth.tokens.external_issuers import ForeignIssuer

_HOMES = {
    "ApiKeyIdentity": "apikeys",
    "Partners": "access",
    "AccessOptions": "access_options",
    "ManufacturerAuthManager": "manager",
    "AuthOptions": "options",
    "GeoIP2FastPlaces": "places",
    "ApiKeyInfo": "records",
    "AuthResult": "records",
    "ClientInfo": "records",
    "ManufacturerAccount": "records",
    "ManufacturerSession": "records",
    "MFAEnrolment": "records",
    "PasskeyInfo": "records",
    "SessionRisk": "records",
    "TrustedDevice": "records",
    "ForeignIssuer": "tokens.foreign",
}

__all__ = [
    "AccessOptions",
    "ApiKeyIdentity",
    "ApiKeyInfo",
    "AuthOptions",
    "AuthResult",
    "ClientInfo",
    "ForeignIssuer",
    "GeoIP2FastPlaces",
    "MFAEnrolment",
    "ManufacturerAccount",
    "ManufacturerAuthManager",
    "ManufacturerSession",
    "Partners",
    "PasskeyInfo",
    "SessionRisk",
    "TrustedDevice",
]


def __getattr__(name: str) -> Any:
    """Load a name when it is first asked for: records are wanted in many places, the manager in few."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)
