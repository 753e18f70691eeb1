"""The policy in force."""

from __future__ import annotations

from fastapi import APIRouter, Response

from gatewright.foundation import SecurityFoundation
from gatewright.web.api.admin.staff import Admin
from gatewright.web.api.answers import answer


def add(api: APIRouter, foundation: SecurityFoundation) -> None:
    """``/policy``."""

    @api.get("/policy")
    async def policy(admin: Admin) -> Response:
        """The policy in force."""
        return answer(foundation.policy.to_dict())
