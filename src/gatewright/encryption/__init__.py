"""Encryption: how data rests. Envelopes, key rings, field declarations, masking."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewright._lazy import lazy_names

if TYPE_CHECKING:
    from gatewright.encryption.classification import MAX_FIELDS, class_of_name, class_of_text, classify, luhn
    from gatewright.encryption.codec import MAX_DEPTH, deserialize, is_plain, serialize, to_base64
    from gatewright.encryption.compliance import fips_enforced, fips_sentence
    from gatewright.encryption.envelope import (
        CHUNK_BYTES,
        PREFIX_CHARACTERS,
        Algorithm,
        Subkey,
        known_subkey,
        new_subkey,
    )
    from gatewright.encryption.field_scan import scan_fields
    from gatewright.encryption.fields import EncryptedField, FieldRule, FieldRules
    from gatewright.encryption.key_files import KEY_NAMES, make_keys, make_private_directory, with_keys, write_private
    from gatewright.encryption.key_store_separation import check_key_store, move_keys
    from gatewright.encryption.manager import ManufacturerEncryptionManager
    from gatewright.encryption.masking import mask, mask_value
    from gatewright.encryption.profiles import Profiles
    from gatewright.encryption.records import (
        ComplianceFinding,
        ComplianceReport,
        Envelope,
        KeyRotationResult,
        ReencryptionReport,
        RootRotationResult,
        ShredResult,
    )
    from gatewright.encryption.reencryption import ListSource, RecordSource, Reencryption, SourceRecord
    from gatewright.encryption.root import RootKey
    from gatewright.encryption.secretbox import SecretBox, derive_key

_NAMES = {
    "gatewright.encryption.classification": (
        "MAX_FIELDS",
        "class_of_name",
        "class_of_text",
        "classify",
        "luhn",
    ),
    "gatewright.encryption.codec": (
        "MAX_DEPTH",
        "deserialize",
        "is_plain",
        "serialize",
        "to_base64",
    ),
    "gatewright.encryption.compliance": (
        "fips_enforced",
        "fips_sentence",
    ),
    "gatewright.encryption.envelope": (
        "Algorithm",
        "CHUNK_BYTES",
        "PREFIX_CHARACTERS",
        "Subkey",
        "known_subkey",
        "new_subkey",
    ),
    "gatewright.encryption.field_scan": ("scan_fields",),
    "gatewright.encryption.fields": (
        "EncryptedField",
        "FieldRule",
        "FieldRules",
    ),
    "gatewright.encryption.key_files": (
        "KEY_NAMES",
        "make_keys",
        "make_private_directory",
        "with_keys",
        "write_private",
    ),
    "gatewright.encryption.key_store_separation": (
        "check_key_store",
        "move_keys",
    ),
    "gatewright.encryption.manager": ("ManufacturerEncryptionManager",),
    "gatewright.encryption.masking": (
        "mask",
        "mask_value",
    ),
    "gatewright.encryption.profiles": ("Profiles",),
    "gatewright.encryption.records": (
        "ComplianceFinding",
        "ComplianceReport",
        "Envelope",
        "KeyRotationResult",
        "ReencryptionReport",
        "RootRotationResult",
        "ShredResult",
    ),
    "gatewright.encryption.reencryption": (
        "ListSource",
        "RecordSource",
        "Reencryption",
        "SourceRecord",
    ),
    "gatewright.encryption.root": ("RootKey",),
    "gatewright.encryption.secretbox": (
        "SecretBox",
        "derive_key",
    ),
}

__all__ = [
    "CHUNK_BYTES",
    "KEY_NAMES",
    "MAX_DEPTH",
    "MAX_FIELDS",
    "PREFIX_CHARACTERS",
    "Algorithm",
    "ComplianceFinding",
    "ComplianceReport",
    "EncryptedField",
    "Envelope",
    "FieldRule",
    "FieldRules",
    "KeyRotationResult",
    "ListSource",
    "ManufacturerEncryptionManager",
    "Profiles",
    "RecordSource",
    "Reencryption",
    "ReencryptionReport",
    "RootKey",
    "RootRotationResult",
    "SecretBox",
    "ShredResult",
    "SourceRecord",
    "Subkey",
    "check_key_store",
    "class_of_name",
    "class_of_text",
    "classify",
    "derive_key",
    "deserialize",
    "fips_enforced",
    "fips_sentence",
    "is_plain",
    "known_subkey",
    "luhn",
    "make_keys",
    "make_private_directory",
    "mask",
    "mask_value",
    "move_keys",
    "new_subkey",
    "scan_fields",
    "serialize",
    "to_base64",
    "with_keys",
    "write_private",
]

__getattr__ = lazy_names(__name__, _NAMES)
