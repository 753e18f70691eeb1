"""Names of roles, permissions, tiers and resources: the enums, and every form in which callers may say one."""

from __future__ import annotations

from enum import StrEnum
from typing import Any


class ManufacturerRole(StrEnum):
    """The role of a manufacturer, one for each tier."""

    MANUFACTURER_FREE = "manufacturer_free"
    MANUFACTURER_PROFESSIONAL = "manufacturer_professional"
    MANUFACTURER_ENTERPRISE = "manufacturer_enterprise"


class ManufacturerPermission(StrEnum):
    """The permissions of the default policy; a policy may have others, which are named by strings."""

    UPLOAD_PRODUCTS = "upload_products"
    VIEW_BASIC_ANALYTICS = "view_basic_analytics"
    ACCESS_ML_TOOLS = "access_ml_tools"
    EXPORT_DATA = "export_data"
    API_ACCESS = "api_access"
    ADVANCED_ANALYTICS = "advanced_analytics"
    BULK_OPERATIONS = "bulk_operations"
    WHITE_LABEL_ACCESS = "white_label_access"


_OLD_TIERS = {"paid": "professional"}
_OLD_ROLES = {"manufacturer_paid": "manufacturer_professional"}


def plain(name: Any) -> str:
    """The string that a name stands for: itself, or the ``.value`` of any enum. Anything else is the empty string."""
    value = getattr(name, "value", name)
    return value if isinstance(value, str) else ""


def tier_name(name: Any) -> str:
    """A tier by its present name (``paid`` is ``professional``)."""
    value = plain(name)
    return _OLD_TIERS.get(value, value)


def role_name(name: Any) -> str:
    """A role by its present name (``manufacturer_paid`` is ``manufacturer_professional``)."""
    value = plain(name)
    return _OLD_ROLES.get(value, value)
