"""How data rests: envelopes, key rings, field declarations, masking, secret providers."""

from gatewright.encryption.fields import EncryptedField
from gatewright.encryption.manager import ManufacturerEncryptionManager
from gatewright.encryption.masking import mask
from gatewright.encryption.profiles import Profiles
from gatewright.encryption.records import KeyRotationResult, ReencryptionReport, RootRotationResult, ShredResult
from gatewright.encryption.reencryption import RecordSource, SourceRecord

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
