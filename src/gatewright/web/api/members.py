"""The people of a manufacturer: an owner invites them, gives them roles, and lets them go."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from gatewright.foundation import SecurityFoundation
from gatewright.rbac import ManufacturerContext
from gatewright.web.api import models
from gatewright.web.api.access import ACCEPTED
from gatewright.web.api.answers import answer, page
from gatewright.web.dependencies import open_to_all, requires
from gatewright.web.problems import Problem

Caller = Annotated[ManufacturerContext, Depends(requires())]


def router(foundation: SecurityFoundation) -> APIRouter:
    """The calls below ``/v1/members``."""
    api = APIRouter(prefix="/v1/members", tags=["members"])
    members = foundation.rbac.members

    @api.get("")
    async def people(caller: Caller) -> Response:
        """Who belongs to my company, and what they may do."""
        return answer(page(await members.members(caller.manufacturer_id), None))

    @api.get("/invitations")
    async def invitations(caller: Caller) -> Response:
        """Invitations that are open, without their tokens."""
        return answer(page(await members.invitations(caller.manufacturer_id), None))

    @api.post("/invitations", status_code=202)
    async def invite(body: models.Invite, caller: Caller) -> Response:
        """Invite a person by mail; owners only. Answers alike for addresses that have an account."""
        await foundation.invitations.invite(caller.manufacturer_id, body.email, body.role, by=caller.account_id or "")
        return answer(ACCEPTED, 202)

    @api.delete("/invitations/{invitation_id}", status_code=204)
    async def withdraw(invitation_id: str, caller: Caller) -> Response:
        """Withdraw an invitation; owners only."""
        await members.withdraw(caller.manufacturer_id, invitation_id, caller.account_id or "")
        return Response(status_code=204)

    @api.post("/join", status_code=201, dependencies=[Depends(open_to_all())])
    async def join(body: models.Acceptance) -> Response:
        """Accept an invitation with the token of the mail and a password of one's own."""
        return answer(await foundation.invitations.accept(body.token, body.password), 201)

    @api.put("/{account_id}")
    async def change(account_id: str, body: models.MemberChange, caller: Caller) -> Response:
        """Give another role, disable, or let in again; owners only. Sessions of a disabled person end."""
        changed = await members.change(
            caller.manufacturer_id, account_id, caller.account_id or "", role=body.role, status=body.status
        )
        if not changed:
            raise Problem(
                404, "MEMBER_NOT_FOUND", "Nobody of your company has this id; list them with GET /v1/members."
            )
        return answer(page(await members.members(caller.manufacturer_id), None))

    return api
