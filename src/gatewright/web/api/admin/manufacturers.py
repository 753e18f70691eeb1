"""Administration of manufacturers: their tiers, people and grants."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from gatewright import event_kinds
from gatewright.foundation import SecurityFoundation
from gatewright.rbac import ManufacturerContext
from gatewright.storage.tenants import PLATFORM_TENANT, StoredManufacturer
from gatewright.web.api import models
from gatewright.web.api.admin.staff import Cursor, Limit, changeable, known, note, staff
from gatewright.web.api.models import answer, page

FactorResetter = Annotated[ManufacturerContext, Depends(staff("platform:factors:reset"))]


def add_people(api: APIRouter, foundation: SecurityFoundation) -> None:
    """The calls below ``/manufacturers/{manufacturer_id}/accounts``."""

    @api.post("/manufacturers/{manufacturer_id}/accounts/{account_id}/mfa/reset", status_code=204)
    async def reset_mfa(
        manufacturer_id: str, account_id: str, body: models.StatusChange, admin: FactorResetter, request: Request
    ) -> Response:
        """Remove an account's lost second factors. Its sessions end and the owner is notified by email."""
        await known(foundation, manufacturer_id)
        if manufacturer_id == PLATFORM_TENANT:  # a colleague: no way to the factors of someone who may do more
            await foundation.rbac.members.require_authority(manufacturer_id, account_id, admin.account_id or "")
        await foundation.auth.reset_mfa(
            manufacturer_id, actor=admin.account_id or "admin", reason=body.reason, account_id=account_id
        )
        change = {"before": "enrolled", "after": None, "reason": body.reason}
        note(foundation, request, admin, event_kinds.ADMIN_MFA_RESET, manufacturer_id, **change)
        return Response(status_code=204)


Granter = Annotated[ManufacturerContext, Depends(staff("platform:grants:write"))]


def add_grants(api: APIRouter, foundation: SecurityFoundation) -> None:
    """Grants of a tenant, and the calls below ``/suggestions``."""

    @api.post("/manufacturers/{manufacturer_id}/grants", status_code=201)
    async def grant(manufacturer_id: str, body: models.Grant, admin: Granter, request: Request) -> Response:
        """Grant a permission for a limited time."""
        await changeable(foundation, manufacturer_id)
        given = await foundation.rbac.grant_permission(
            manufacturer_id, body.permission, until=body.until, reason=body.reason
        )
        change = {"before": None, "after": body.permission, "reason": body.reason}
        note(foundation, request, admin, event_kinds.ADMIN_GRANT_MADE, manufacturer_id, **change)
        return answer(given, 201)

    @api.post("/suggestions/{suggestion_id}/apply")
    async def apply_suggestion(suggestion_id: str, admin: Granter) -> Response:
        """Apply a suggestion for as long as the policy allows."""
        return answer(await foundation.rbac.apply_suggestion(suggestion_id, author=admin.account_id))

    @api.post("/suggestions/{suggestion_id}/roll-back")
    async def roll_back_suggestion(suggestion_id: str, admin: Granter) -> Response:
        """Roll back an applied suggestion to the exact previous state."""
        return answer(await foundation.rbac.roll_back_suggestion(suggestion_id, author=admin.account_id))


TenantReader = Annotated[ManufacturerContext, Depends(staff("platform:tenants:read"))]
TenantWriter = Annotated[ManufacturerContext, Depends(staff("platform:tenants:write"))]
TierWriter = Annotated[ManufacturerContext, Depends(staff("platform:tiers:write"))]


def add_manufacturers(api: APIRouter, foundation: SecurityFoundation) -> None:
    """The calls below ``/manufacturers``."""
    _reading(api, foundation)
    _changing(api, foundation)


def _reading(api: APIRouter, foundation: SecurityFoundation) -> None:
    @api.get("/manufacturers")
    async def manufacturers(admin: TenantReader, after: Cursor = "", limit: Limit = 50) -> Response:
        """List tenants, ordered by id."""
        found = await foundation.store.list_manufacturers(after=after, limit=limit)
        cursor = found[-1].manufacturer_id if len(found) == limit else None
        return answer(page([_public(m) for m in found], cursor))

    @api.get("/manufacturers/{manufacturer_id}")
    async def manufacturer(manufacturer_id: str, admin: TenantReader) -> Response:
        """Return a tenant with its usage and members."""
        found = await known(foundation, manufacturer_id)
        accounts = await foundation.store.list_accounts(manufacturer_id)
        return answer(
            {
                **_public(found),
                "usage": await foundation.rbac.get_usage_overview(manufacturer_id),
                "accounts": [{"account_id": a.account_id, "role": a.role, "status": a.status} for a in accounts],
            }
        )


def _changing(api: APIRouter, foundation: SecurityFoundation) -> None:
    @api.put("/manufacturers/{manufacturer_id}/tier")
    async def tier(manufacturer_id: str, body: models.TierChange, admin: TierWriter, request: Request) -> Response:
        """Change the tier of a tenant. Takes effect immediately; usage is kept."""
        before = await changeable(foundation, manufacturer_id)
        await foundation.rbac.update_manufacturer_tier(manufacturer_id, body.tier, reason=body.reason)
        after = await known(foundation, manufacturer_id)
        change = {"before": before.tier, "after": after.tier, "reason": body.reason}
        note(foundation, request, admin, event_kinds.ADMIN_TIER_CHANGED, manufacturer_id, **change)
        return answer(_public(after))

    @api.post("/manufacturers/{manufacturer_id}/disable")
    async def disable(
        manufacturer_id: str, body: models.StatusChange, admin: TenantWriter, request: Request
    ) -> Response:
        """Disable a tenant and end its sessions."""
        return await _set_status(foundation, manufacturer_id, "disabled", body.reason, admin, request)

    @api.post("/manufacturers/{manufacturer_id}/enable")
    async def enable(
        manufacturer_id: str, body: models.StatusChange, admin: TenantWriter, request: Request
    ) -> Response:
        """Enable a disabled tenant."""
        return await _set_status(foundation, manufacturer_id, "active", body.reason, admin, request)


async def _set_status(
    foundation: SecurityFoundation,
    manufacturer_id: str,
    status: str,
    reason: str,
    admin: ManufacturerContext,
    request: Request,
) -> Response:
    before = await changeable(foundation, manufacturer_id)
    after = await foundation.store.update_manufacturer(manufacturer_id, status=status)
    if status != "active":
        await foundation.auth.invalidate_sessions(manufacturer_id, reason=f"manufacturer {status}")
    change = {"before": before.status, "after": status, "reason": reason}
    note(foundation, request, admin, event_kinds.ADMIN_STATUS_CHANGED, manufacturer_id, **change)
    return answer(_public(after or before))


def _public(manufacturer: StoredManufacturer) -> dict[str, Any]:
    """A tenant without its encrypted profile."""
    return {k: v for k, v in manufacturer.to_dict().items() if k != "profile"}
