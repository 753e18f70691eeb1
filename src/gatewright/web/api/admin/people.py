"""The people of a tenant, where only the staff can help."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from gatewright.foundation import SecurityFoundation
from gatewright.web.api import models
from gatewright.web.api.admin.staff import Admin, known, note


def add(api: APIRouter, foundation: SecurityFoundation) -> None:
    """The calls below ``/manufacturers/{manufacturer_id}/accounts``."""

    @api.post("/manufacturers/{manufacturer_id}/accounts/{account_id}/mfa/reset", status_code=204)
    async def reset_mfa(
        manufacturer_id: str, account_id: str, body: models.StatusChange, admin: Admin, request: Request
    ) -> Response:
        """Remove the second factors of a person who lost them; sessions end, and the person is told by mail."""
        await known(foundation, manufacturer_id)
        await foundation.auth.reset_mfa(
            manufacturer_id, actor=admin.account_id or "admin", reason=body.reason, account_id=account_id
        )
        change = {"before": "enrolled", "after": None, "reason": body.reason}
        note(foundation, request, admin, "admin:mfa:reset", manufacturer_id, **change)
        return Response(status_code=204)
