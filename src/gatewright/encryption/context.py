"""Encryption context: the metadata of an envelope, authenticated as AAD."""

from __future__ import annotations

from typing import Any

import msgspec

from gatewright.encryption.secretbox import decryption_failed
from gatewright.errors import InsufficientPermissionsError
from gatewright.references import TenantRef, manufacturer_id_of


def owner_of(manufacturer: TenantRef | None) -> str | None:
    """The manufacturer id in a reference, or None for None.

    Raises:
        ValidationError: the id is missing, or not 1 to 200 characters (``INVALID_MANUFACTURER_ID``).
    """
    return None if manufacturer is None else manufacturer_id_of(manufacturer, max_length=MAX_OWNER_LENGTH)


def wrong_owner(owner: str | None, caller_id: str) -> InsufficientPermissionsError:
    """The error for an authentic envelope of another owner. It does not reveal the owner."""
    actual = "another manufacturer" if owner else "no manufacturer"
    return InsufficientPermissionsError(
        f"The data belongs to {actual}. The permission decrypt_manufacturer_data covers only your own data.",
        context={
            "manufacturer_id": caller_id,
            "permission": "decrypt_manufacturer_data",
            "tier": None,
            "operation_context": "decrypt",
        },
    )


VERSION = "2.0"
LEGACY_VERSION = "1.0"

MAX_CLASSIFICATION_LENGTH = 100
MAX_FIELD_LENGTH = 500
MAX_OWNER_LENGTH = 200
"""Characters."""

canonical_json = msgspec.json.Encoder(order="sorted").encode
""":func:`canonical` without error handling."""


def canonical(metadata: Any) -> bytes:
    """The authenticated bytes of the metadata: JSON in UTF-8 with sorted keys and no whitespace (RFC 8785).

    Raises:
        DecryptionError: the metadata cannot be encoded as JSON.
    """
    try:
        return canonical_json(metadata)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        raise decryption_failed() from None


def build_metadata(
    *,
    algorithm: str,
    key_id: str,
    key_version: int,
    encrypted_at: str,
    sensitive_fields: list[str],
    sensitive_classes: list[str],
    manufacturer_id: str | None,
    classification: str | None,
    field: str | None,
) -> dict[str, Any]:
    """The metadata of a new envelope. Missing values are omitted."""
    metadata: dict[str, Any] = {
        "algorithm": algorithm,
        "encrypted_at": encrypted_at,
        "key_id": key_id,
        "key_version": key_version,
        "sensitive_fields": sensitive_fields,
        "version": VERSION,
    }
    if sensitive_classes:
        metadata["sensitive_classes"] = sensitive_classes
    if manufacturer_id is not None:
        metadata["manufacturer_id"] = manufacturer_id
    if classification is not None:
        metadata["classification"] = classification
    if field is not None:
        metadata["field"] = field
    return metadata
