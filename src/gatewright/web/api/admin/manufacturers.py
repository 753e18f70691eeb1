"""Staff routes for manufacturers: tiers, status, second factors and grants."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from gatewright import event_kinds
from gatewright.foundation import SecurityFoundation
from gatewright.rbac import ManufacturerContext
from gatewright.storage.tenants import PLATFORM_TENANT, StoredManufacturer
from gatewright.web.api import models
from gatewright.web.api.admin.staff import Cursor, Limit, record_change, require_changeable, require_manufacturer, staff
from gatewright.web.api.models import json_response, page

TenantReader = Annotated[ManufacturerContext, Depends(staff("platform:tenants:read"))]
TenantWriter = Annotated[ManufacturerContext, Depends(staff("platform:tenants:write"))]
TierWriter = Annotated[ManufacturerContext, Depends(staff("platform:tiers:write"))]
FactorResetter = Annotated[ManufacturerContext, Depends(staff("platform:factors:reset"))]
Granter = Annotated[ManufacturerContext, Depends(staff("platform:grants:write"))]


def add_routes(api: APIRouter, foundation: SecurityFoundation) -> None:
    """``/manufacturers`` and ``/suggestions``."""
    _reading(api, foundation)
    _changing(api, foundation)
    _second_factors(api, foundation)
    _grants(api, foundation)


def _reading(api: APIRouter, foundation: SecurityFoundation) -> None:
    @api.get("/manufacturers")
    async def manufacturers(admin: TenantReader, after: Cursor = "", limit: Limit = 50) -> Response:
        """List manufacturers, ordered by id."""
        found = await foundation.store.list_manufacturers(after=after, limit=limit)
        cursor = found[-1].manufacturer_id if len(found) == limit else None
        return json_response(page([_public(m) for m in found], cursor))

    @api.get("/manufacturers/{manufacturer_id}")
    async def manufacturer(manufacturer_id: str, admin: TenantReader) -> Response:
        """Return a manufacturer with its usage and members."""
        found = await require_manufacturer(foundation, manufacturer_id)
        accounts = await foundation.store.list_accounts(manufacturer_id)
        return json_response(
            {
                **_public(found),
                "usage": await foundation.rbac.get_usage_overview(manufacturer_id),
                "accounts": [{"account_id": a.account_id, "role": a.role, "status": a.status} for a in accounts],
            }
        )


def _changing(api: APIRouter, foundation: SecurityFoundation) -> None:
    @api.put("/manufacturers/{manufacturer_id}/tier")
    async def tier(manufacturer_id: str, body: models.TierChange, admin: TierWriter, request: Request) -> Response:
        """Change the tier of a manufacturer. Takes effect immediately; usage is kept."""
        before = await require_changeable(foundation, manufacturer_id)
        await foundation.rbac.update_manufacturer_tier(manufacturer_id, body.tier, reason=body.reason)
        after = await require_manufacturer(foundation, manufacturer_id)
        change = {"before": before.tier, "after": after.tier, "reason": body.reason}
        record_change(foundation, request, admin, event_kinds.ADMIN_TIER_CHANGED, manufacturer_id, **change)
        return json_response(_public(after))

    @api.post("/manufacturers/{manufacturer_id}/disable")
    async def disable(
        manufacturer_id: str, body: models.StatusChange, admin: TenantWriter, request: Request
    ) -> Response:
        """Disable a manufacturer and end its sessions."""
        return await _set_status(foundation, manufacturer_id, "disabled", body.reason, admin, request)

    @api.post("/manufacturers/{manufacturer_id}/enable")
    async def enable(
        manufacturer_id: str, body: models.StatusChange, admin: TenantWriter, request: Request
    ) -> Response:
        """Enable a disabled manufacturer."""
        return await _set_status(foundation, manufacturer_id, "active", body.reason, admin, request)


def _second_factors(api: APIRouter, foundation: SecurityFoundation) -> None:
    @api.post("/manufacturers/{manufacturer_id}/accounts/{account_id}/mfa/reset", status_code=204)
    async def reset_mfa(
        manufacturer_id: str, account_id: str, body: models.StatusChange, admin: FactorResetter, request: Request
    ) -> Response:
        """Reset the second factors of an account. Its sessions end and the owner is notified by email."""
        await require_manufacturer(foundation, manufacturer_id)
        if manufacturer_id == PLATFORM_TENANT:  # staff cannot reset a colleague with more permissions
            await foundation.rbac.members.require_authority(manufacturer_id, account_id, admin.account_id or "")
        await foundation.auth.reset_mfa(
            manufacturer_id, actor=admin.account_id or "admin", reason=body.reason, account_id=account_id
        )
        change = {"before": "enrolled", "after": None, "reason": body.reason}
        record_change(foundation, request, admin, event_kinds.ADMIN_MFA_RESET, manufacturer_id, **change)
        return Response(status_code=204)


def _grants(api: APIRouter, foundation: SecurityFoundation) -> None:
    """Grants of a tenant, and the calls below ``/suggestions``."""

    @api.post("/manufacturers/{manufacturer_id}/grants", status_code=201)
    async def grant(manufacturer_id: str, body: models.Grant, admin: Granter, request: Request) -> Response:
        """Grant a permission for a limited time."""
        await require_changeable(foundation, manufacturer_id)
        granted = await foundation.rbac.grant_permission(
            manufacturer_id, body.permission, until=body.until, reason=body.reason
        )
        change = {"before": None, "after": body.permission, "reason": body.reason}
        record_change(foundation, request, admin, event_kinds.ADMIN_GRANT_MADE, manufacturer_id, **change)
        return json_response(granted, 201)

    @api.post("/suggestions/{suggestion_id}/apply")
    async def apply_suggestion(suggestion_id: str, admin: Granter) -> Response:
        """Apply a suggestion. It stays in force for as long as the policy allows."""
        return json_response(await foundation.rbac.apply_suggestion(suggestion_id, author=admin.account_id))

    @api.post("/suggestions/{suggestion_id}/roll-back")
    async def roll_back_suggestion(suggestion_id: str, admin: Granter) -> Response:
        """Roll back an applied suggestion. Restores the exact previous state."""
        return json_response(await foundation.rbac.roll_back_suggestion(suggestion_id, author=admin.account_id))


async def _set_status(
    foundation: SecurityFoundation,
    manufacturer_id: str,
    status: str,
    reason: str,
    admin: ManufacturerContext,
    request: Request,
) -> Response:
    before = await require_changeable(foundation, manufacturer_id)
    after = await foundation.store.update_manufacturer(manufacturer_id, status=status)
    if status != "active":
        await foundation.auth.invalidate_sessions(manufacturer_id, reason=f"manufacturer {status}")
    change = {"before": before.status, "after": status, "reason": reason}
    record_change(foundation, request, admin, event_kinds.ADMIN_STATUS_CHANGED, manufacturer_id, **change)
    return json_response(_public(after or before))


def _public(manufacturer: StoredManufacturer) -> dict[str, Any]:
    """A manufacturer without its encrypted profile."""
    return {k: v for k, v in manufacturer.to_dict().items() if k != "profile"}
