"""Permissions beyond the tier: given for a while, or as a suggestion proposes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from gatewright.foundation import SecurityFoundation
from gatewright.rbac import ManufacturerContext
from gatewright.web.api import models
from gatewright.web.api.admin.staff import changeable, note, staff
from gatewright.web.api.answers import answer

Granter = Annotated[ManufacturerContext, Depends(staff("platform:grants:write"))]


def add(api: APIRouter, foundation: SecurityFoundation) -> None:
    """Grants of a tenant, and the calls below ``/suggestions``."""

    @api.post("/manufacturers/{manufacturer_id}/grants", status_code=201)
    async def grant(manufacturer_id: str, body: models.Grant, admin: Granter, request: Request) -> Response:
        """Give a permission for a while."""
        await changeable(foundation, manufacturer_id)
        given = await foundation.rbac.grant_permission(
            manufacturer_id, body.permission, until=body.until, reason=body.reason
        )
        change = {"before": None, "after": body.permission, "reason": body.reason}
        note(foundation, request, admin, "admin:grant:made", manufacturer_id, **change)
        return answer(given, 201)

    @api.post("/suggestions/{suggestion_id}/apply")
    async def apply_suggestion(suggestion_id: str, admin: Granter) -> Response:
        """Put a suggestion in force for as long as policy allows."""
        return answer(await foundation.rbac.apply_suggestion(suggestion_id, author=admin.account_id))

    @api.post("/suggestions/{suggestion_id}/roll-back")
    async def roll_back_suggestion(suggestion_id: str, admin: Granter) -> Response:
        """Undo an applied suggestion, to exactly the former state."""
        return answer(await foundation.rbac.roll_back_suggestion(suggestion_id, author=admin.account_id))
