"""The policy in force."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from gatewright.foundation import SecurityFoundation
from gatewright.rbac import ManufacturerContext
from gatewright.web.api.admin.staff import staff
from gatewright.web.api.answers import answer

PolicyReader = Annotated[ManufacturerContext, Depends(staff("platform:policy:read"))]


def add(api: APIRouter, foundation: SecurityFoundation) -> None:
    """``/policy``."""

    @api.get("/policy")
    async def policy(admin: PolicyReader) -> Response:
        """The policy in force."""
        return answer(foundation.policy.to_dict())
