"""How data rests: envelopes, key rings, field declarations, masking, secret providers."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gatewright.encryption.fields import EncryptedField
    from gatewright.encryption.manager import ManufacturerEncryptionManager
    from gatewright.encryption.masking import mask
    from gatewright.encryption.profiles import Profiles
    from gatewright.encryption.records import KeyRotationResult, ReencryptionReport, RootRotationResult, ShredResult
    from gatewright.encryption.reencryption import RecordSource, SourceRecord

_HOMES = {
    "EncryptedField": "fields",
    "KeyRotationResult": "records",
    "ManufacturerEncryptionManager": "manager",
    "Profiles": "profiles",
    "RecordSource": "reencryption",
    "ReencryptionReport": "records",
    "RootRotationResult": "records",
    "ShredResult": "records",
    "SourceRecord": "reencryption",
    "mask": "masking",
}

__all__ = [
    "EncryptedField",
    "KeyRotationResult",
    "ManufacturerEncryptionManager",
    "Profiles",
    "RecordSource",
    "ReencryptionReport",
    "RootRotationResult",
    "ShredResult",
    "SourceRecord",
    "mask",
]


def __getattr__(name: str) -> Any:
    """Load a name when it is first asked for: many need one box, few need the manager."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)
