"""What calls accept for a manufacturer, a permission and a resource, and what they return."""

from __future__ import annotations

from enum import Enum
from typing import assert_type

from gatewright import ManufacturerContext, SecurityFoundation
from gatewright.rbac import PermissionResult, UsageResult


class Permission(Enum):
    """An application's own names."""

    UPLOAD = "upload_products"


class Product:
    """Not a reference to a manufacturer: it has no ``manufacturer_id``."""


async def check(foundation: SecurityFoundation, caller: ManufacturerContext) -> None:
    rbac = foundation.rbac
    assert_type(await rbac.has_permission("acme", "upload_products"), bool)
    assert_type(await rbac.has_permission(caller, Permission.UPLOAD), bool)
    assert_type(await rbac.has_permission({"manufacturer_id": "acme"}, Permission.UPLOAD), bool)
    assert_type(await rbac.has_permissions(caller, ["upload_products", Permission.UPLOAD]), dict[str, bool])
    assert_type(await rbac.check_permission_detailed(caller, "upload_products"), PermissionResult)
    assert_type(await rbac.check_usage_limit(caller, "product_uploads", 1), UsageResult)
    assert_type(await rbac.get_current_usage(caller, "product_uploads"), int)
    assert_type(await rbac.get_current_usage(caller), dict[str, int])
    assert_type(await rbac.tier_of(caller), str)


async def refuse(foundation: SecurityFoundation, caller: ManufacturerContext) -> None:
    rbac = foundation.rbac
    await rbac.has_permission(Product(), "upload_products")  # type: ignore[arg-type]
    await rbac.has_permission(caller, 7)  # type: ignore[arg-type]
    await rbac.check_usage_limit(caller, None, 1)  # type: ignore[arg-type]
    await rbac.check_usage_limit(caller, "product_uploads", "1")  # type: ignore[arg-type]
    rbac.usage_limits(3)  # type: ignore[arg-type]
