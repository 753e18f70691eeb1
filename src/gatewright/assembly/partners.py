"""What the packages ask of each other, filled in: each is the small Protocol that the asking one declares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gatewright.errors import FieldError
from gatewright.rbac import ManufacturerContext, ManufacturerRBACManager
from gatewright.threats import ManufacturerSecurityValidator


class Ceiling:
    """What the person who makes an API key may do: the tier's permissions and our own calls, as the role has them."""

    def __init__(self, rbac: ManufacturerRBACManager) -> None:
        self._rbac = rbac

    async def permissions_of(self, manufacturer_id: str, account_id: str | None) -> frozenset[str] | None:
        context = ManufacturerContext(manufacturer_id, account_id=account_id)
        permissions = await self._rbac.permissions_of(context)
        return frozenset(permissions) | frozenset(await self._rbac.access_of(context))


class BusinessCheck:
    """Findings about business data, in the form that registration asks for."""

    def __init__(self, errors: list[FieldError], warnings: list[FieldError], normalised: dict[str, Any]) -> None:
        self.errors = errors
        self.warnings = warnings
        self.normalised = normalised


class BusinessRules:
    """Business data by the validator: rules of business, and an inspection of every field."""

    def __init__(self, validator: ManufacturerSecurityValidator) -> None:
        self._validator = validator

    async def __call__(self, data: Mapping[str, Any]) -> BusinessCheck:
        result = await self._validator.validate_manufacturer_data(data)
        return BusinessCheck(result.errors, result.warnings, dict(data))
