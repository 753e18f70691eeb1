"""Whose data it is: a manufacturer id, or any object that has one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gatewright.encryption.metadata import LONGEST_OWNER
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
            message=f"manufacturer_id must be a text of 1 to {LONGEST_OWNER} characters.",
        )
        raise ValidationError(error.message, errors=[error])
    return found


def foreign(owner: str | None, wanted: str) -> InsufficientPermissionsError:
    """The error for a genuine envelope that belongs to someone else; it does not say to whom."""
    whose = "another manufacturer" if owner else "no manufacturer"
    return InsufficientPermissionsError(
        f"The data belongs to {whose}; the permission decrypt_manufacturer_data covers only one's own.",
        context={
            "manufacturer_id": wanted,
            "permission": "decrypt_manufacturer_data",
            "tier": None,
            "operation_context": "decrypt",
        },
    )
