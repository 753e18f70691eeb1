"""References: what callers may pass for a manufacturer, a permission, a role, a tier or a resource.

Callers bring their own context classes and enums. Everything here reduces them to plain strings, in one place, so that
the same value means the same thing to every package.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Protocol, TypeAlias

from gatewright.errors import FieldError, ValidationError

LONGEST_ID = 128


class HasManufacturerId(Protocol):
    """An object that names a manufacturer, such as a request's context."""

    @property
    def manufacturer_id(self) -> str: ...


TenantRef: TypeAlias = str | HasManufacturerId | Mapping[str, Any]
"""A manufacturer: its id, or an object or mapping with ``manufacturer_id`` (and perhaps ``tier`` and ``roles``)."""

PermissionRef: TypeAlias = str | Enum
"""A permission: its name, or an enum member with that value."""

ResourceRef: TypeAlias = str | Enum
"""A resource with a quota: its name, or an enum member with that value."""

TierRef: TypeAlias = str | Enum
"""A tier: its name, or an enum member with that value."""


def plain(name: Any) -> str:
    """The string in a name: an enum member's value, or the string itself; empty for anything else."""
    value = getattr(name, "value", name)
    return value if isinstance(value, str) else ""


def manufacturer_id_of(manufacturer: TenantRef, *, max_length: int = LONGEST_ID) -> str:
    """The id in a reference to a manufacturer.

    Raises:
        ValidationError: it is missing, or it is not 1 to ``max_length`` characters of Unicode text
            (code ``INVALID_MANUFACTURER_ID``).
    """
    found: object = manufacturer
    if isinstance(manufacturer, Mapping):
        found = manufacturer.get("manufacturer_id")
    elif not isinstance(manufacturer, str):
        found = getattr(manufacturer, "manufacturer_id", None)
    if type(found) is str and 0 < len(found) <= max_length and found.isascii():  # as nearly every id is
        return found
    found = plain(found)
    if not 0 < len(found) <= max_length or not is_unicode(found):
        error = FieldError(
            field="manufacturer_id",
            error_type="INVALID_MANUFACTURER_ID",
            message=f"manufacturer_id must be 1 to {max_length} characters. Pass an id, or an object that has one.",
        )
        raise ValidationError(error.message, code=error.error_type, errors=[error])
    return found


def is_unicode(text: str) -> bool:
    """Whether the text can be encoded: a lone surrogate cannot be stored, hashed or compared."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
