"""Envelope metadata: what stands beside a payload in clear, and is authenticated to the last character."""

from __future__ import annotations

from typing import Any

import msgspec

from gatewright.encryption.failure import decryption_failed

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
