"""Routes for a manufacturer's members: invitations, roles, status and sessions."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from gatewright.foundation import SecurityFoundation
from gatewright.rbac import ManufacturerContext
from gatewright.web.api import DocumentedRoute, models
from gatewright.web.api.auth import ACCEPTED
from gatewright.web.api.models import json_response, page
from gatewright.web.dependencies import open_to_all, requires
from gatewright.web.problems import Problem

Reader = Annotated[ManufacturerContext, Depends(requires("members:read", credentials="session"))]
Manager = Annotated[ManufacturerContext, Depends(requires("members:manage", credentials="session", recent_mfa=True))]
SessionReader = Annotated[ManufacturerContext, Depends(requires("sessions:manage", credentials="session"))]
SessionManager = Annotated[
    ManufacturerContext, Depends(requires("sessions:manage", credentials="session", recent_mfa=True))
]


def router(foundation: SecurityFoundation) -> APIRouter:
    """The routes below ``/v1/members``."""
    api = APIRouter(prefix="/v1/members", tags=["members"], route_class=DocumentedRoute)
    _invitations(api, foundation)
    _people(api, foundation)
    _sessions(api, foundation)
    return api


def _invitations(api: APIRouter, foundation: SecurityFoundation) -> None:
    members, memberships = foundation.rbac.members, foundation.memberships

    @api.get("/invitations")
    async def invitations(caller: Reader) -> Response:
        """List open invitations. Tokens are not included."""
        return json_response(page(await members.invitations(caller.manufacturer_id), None))

    @api.post("/invitations", status_code=202)
    async def invite(body: models.Invite, caller: Manager) -> Response:
        """Invite a member by email. The role may have no more permissions than your own.

        The response is the same for addresses that have an account with another company.
        """
        await memberships.invite(caller.manufacturer_id, body.email, body.role, by=caller.account_id or "")
        return json_response(ACCEPTED, 202)

    @api.delete("/invitations/{invitation_id}", status_code=204)
    async def withdraw(invitation_id: str, caller: Manager) -> Response:
        """Cancel an invitation."""
        await members.withdraw(caller.manufacturer_id, invitation_id, caller.account_id or "")
        return Response(status_code=204)

    @api.post("/join", status_code=201, dependencies=[Depends(open_to_all())])
    async def join(body: models.Acceptance) -> Response:
        """Accept an invitation. Send the token from the email and a new password.

        Platform staff also receive an authenticator app secret, shown once in `mfa`.
        """
        joined = await memberships.accept(body.token, body.password)
        return json_response(
            {**joined.member.to_dict(), **({"mfa": joined.mfa} if joined.mfa is not None else {})}, 201
        )


def _people(api: APIRouter, foundation: SecurityFoundation) -> None:
    members = foundation.rbac.members

    @api.get("")
    async def people(caller: Reader) -> Response:
        """List the members of your company and their roles."""
        return json_response(page(await members.members(caller.manufacturer_id), None))

    @api.put("/{account_id}")
    async def change(account_id: str, body: models.MemberChange, caller: Manager) -> Response:
        """Change a member's role or status. `status` is `active` or `disabled`.

        Their sessions end, and API keys they could no longer create are revoked.
        """
        changed = await foundation.memberships.change(
            caller.manufacturer_id, account_id, by=caller.account_id or "", role=body.role, status=body.status
        )
        if not changed:
            raise _unknown_member()
        return json_response(page(await members.members(caller.manufacturer_id), None))


def _sessions(api: APIRouter, foundation: SecurityFoundation) -> None:
    auth = foundation.auth

    @api.get("/{account_id}/sessions")
    async def sessions(account_id: str, caller: SessionReader) -> Response:
        """List a member's active sessions."""
        await _require_member(foundation, caller, account_id)
        listed = await auth.list_sessions(caller.manufacturer_id)
        return json_response(page([s for s in listed if s.account_id == account_id], None))

    @api.delete("/{account_id}/sessions")
    async def end_sessions(account_id: str, caller: SessionManager) -> Response:
        """End all sessions of a member. The member may have no more permissions than you."""
        await _require_member(foundation, caller, account_id)
        await foundation.rbac.members.require_authority(caller.manufacturer_id, account_id, caller.account_id or "")
        ended = await auth.invalidate_sessions(
            caller.manufacturer_id, reason=f"ended by {caller.account_id}", account_id=account_id
        )
        return json_response({"ended": ended})


async def _require_member(foundation: SecurityFoundation, caller: ManufacturerContext, account_id: str) -> None:
    account = await foundation.store.get_account(account_id)
    if account is None or account.manufacturer_id != caller.manufacturer_id:
        raise _unknown_member()


def _unknown_member() -> Problem:
    return Problem(404, "MEMBER_NOT_FOUND", "Unknown member id. List members with GET /v1/members.")
