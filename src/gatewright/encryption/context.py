"""Encryption context: what an envelope is bound to, as metadata and AAD."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gatewright.encryption.secretbox import decryption_failed
from gatewright.errors import FieldError, InsufficientPermissionsError, ValidationError


def owner_of(manufacturer: Any) -> str | None:
    """The manufacturer id of an id, a mapping or an object with ``manufacturer_id``; None for None.

    Raises:
        ValidationError: it is empty, too long, or holds no id.
    """
    if manufacturer is None:
        return None
    found = manufacturer
    if isinstance(manufacturer, Mapping):
        found = manufacturer.get("manufacturer_id")
    elif not isinstance(manufacturer, str):
        found = getattr(manufacturer, "manufacturer_id", None)
    if not isinstance(found, str) or not 0 < len(found) <= LONGEST_OWNER:
        error = FieldError(
            field="manufacturer_id",
            error_type="INVALID_MANUFACTURER_ID",
            message=f"manufacturer_id must be 1 to {LONGEST_OWNER} characters.",
        )
        raise ValidationError(error.message, errors=[error])
    return found


def foreign(owner: str | None, wanted: str) -> InsufficientPermissionsError:
    """The error for a genuine envelope that belongs to someone else; it does not say to whom."""
    whose = "another manufacturer" if owner else "no manufacturer"
    return InsufficientPermissionsError(
        f"The data belongs to {whose}; the permission decrypt_manufacturer_data covers only your own data.",
        context={
            "manufacturer_id": wanted,
            "permission": "decrypt_manufacturer_data",
            "tier": None,
            "operation_context": "decrypt",
        },
    )


VERSION = "2.0"
LEGACY_VERSION = "1.0"

LONGEST_CLASSIFICATION = 100
LONGEST_FIELD = 500
LONGEST_OWNER = 200
"""Characters."""

canonical_json = msgspec.json.Encoder(order="sorted").encode
""":func:`canonical` without its errors."""


def canonical(metadata: Any) -> bytes:
    """The metadata as the bytes that are authenticated: JSON, UTF-8, names sorted, no white space (RFC 8785).

    Whatever is added, left out or changed, a type included, gives other bytes.

    Raises:
        DecryptionError: it holds what JSON cannot.
    """
    try:
        return canonical_json(metadata)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        raise decryption_failed() from None


def build(
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
    """The metadata of a new envelope; what is not known is left out rather than empty."""
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
