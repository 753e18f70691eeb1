"""The people of a tenant, where only the staff can help."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from gatewright.foundation import SecurityFoundation
from gatewright.rbac import ManufacturerContext
from gatewright.storage.tenants import PLATFORM_TENANT
from gatewright.web.api import models
from gatewright.web.api.admin.staff import known, note, staff

FactorResetter = Annotated[ManufacturerContext, Depends(staff("platform:factors:reset"))]


def add(api: APIRouter, foundation: SecurityFoundation) -> None:
    """The calls below ``/manufacturers/{manufacturer_id}/accounts``."""

    @api.post("/manufacturers/{manufacturer_id}/accounts/{account_id}/mfa/reset", status_code=204)
    async def reset_mfa(
        manufacturer_id: str, account_id: str, body: models.StatusChange, admin: FactorResetter, request: Request
    ) -> Response:
        """Remove the second factors of a person who lost them; sessions end, and the person is told by mail."""
        await known(foundation, manufacturer_id)
        if manufacturer_id == PLATFORM_TENANT:  # a colleague: no way to the factors of somebody who may do more
            await foundation.rbac.members.require_authority(manufacturer_id, account_id, admin.account_id or "")
        await foundation.auth.reset_mfa(
            manufacturer_id, actor=admin.account_id or "admin", reason=body.reason, account_id=account_id
        )
        change = {"before": "enrolled", "after": None, "reason": body.reason}
        note(foundation, request, admin, "admin:mfa:reset", manufacturer_id, **change)
        return Response(status_code=204)
