"""Routes for the caller's own account: identity, sessions and business data."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from gatewright.auth import ManufacturerAuthManager
from gatewright.errors import AuthenticationError
from gatewright.foundation import SecurityFoundation
from gatewright.rbac import ManufacturerContext, ManufacturerRBACManager
from gatewright.web.api import DocumentedRoute, models
from gatewright.web.api.models import json_response, page
from gatewright.web.dependencies import requires, state_of

SignedIn = Annotated[ManufacturerContext, Depends(requires(audience="every signed-in person and every API key"))]
Person = Annotated[ManufacturerContext, Depends(requires("sessions:own", credentials="session"))]
Reader = Annotated[ManufacturerContext, Depends(requires("profile:read", credentials="session"))]
Writer = Annotated[ManufacturerContext, Depends(requires("profile:write", credentials="session", recent_mfa=True))]


def router(foundation: SecurityFoundation) -> APIRouter:
    """The routes below ``/v1/me``, ``/v1/sessions`` and ``/v1/profile``."""
    api = APIRouter(prefix="/v1", tags=["account"], route_class=DocumentedRoute)
    _me(api, foundation.rbac)
    _sessions(api, foundation.auth)
    _profile(api, foundation)
    return api


def _me(api: APIRouter, rbac: ManufacturerRBACManager) -> None:
    @api.get("/me")
    async def me(caller: SignedIn, request: Request) -> Response:
        """Return the caller. Includes its tier, permissions and usage; for an API key, the id and name of the key."""
        state = state_of(request)
        permissions, access = await rbac.permissions_of(caller), await rbac.access_of(caller)
        if state.permissions is not None:
            permissions = [p for p in permissions if p in state.permissions]
            access = [p for p in access if p in state.permissions]
        key = state.key
        return json_response(
            {
                "manufacturer_id": caller.manufacturer_id,
                "account_id": caller.account_id if key is None else None,
                "company_name": caller.company_name,
                "email": caller.email if key is None else None,
                "tier": await rbac.tier_of(caller),
                "role": await rbac.role_of(caller) if key is None else None,
                "roles": list(caller.roles),
                "permissions": permissions,
                "access": access,
                "usage": await rbac.get_usage_overview(caller),
                "session_id": state.session_id,
                "signed_in_by": state.by,
                **({} if key is None else {"api_key": {"key_id": key.key_id, "name": key.name}}),
            }
        )


def _sessions(api: APIRouter, auth: ManufacturerAuthManager) -> None:
    @api.get("/sessions")
    async def sessions(caller: Person, request: Request) -> Response:
        """List your active sessions."""
        current = state_of(request).session_id
        listed = await auth.list_sessions(caller.manufacturer_id)
        own = [s for s in listed if s.account_id == caller.account_id]
        return json_response(page([{**s.to_dict(), "current": s.session_id == current} for s in own], None))

    @api.delete("/sessions/{session_id}", status_code=204)
    async def end_session(session_id: str, caller: Person) -> Response:
        """End one of your sessions. An unknown id, or one of another account, is ignored."""
        session = await auth.get_session_info(session_id)
        owner = (caller.manufacturer_id, caller.account_id)
        if session is not None and (session.manufacturer_id, session.account_id) == owner:
            await auth.invalidate_session(session_id)
        return Response(status_code=204)

    @api.delete("/sessions")
    async def end_others(caller: Person, request: Request) -> Response:
        """End all your other sessions."""
        state = state_of(request)
        ended = 0
        for session in await auth.list_sessions(caller.manufacturer_id):
            if session.account_id == caller.account_id and session.session_id != state.session_id:
                await auth.invalidate_session(session.session_id)
                ended += 1
        return json_response({"ended": ended})


def _profile(api: APIRouter, foundation: SecurityFoundation) -> None:
    @api.get("/profile")
    async def profile(caller: Reader, request: Request) -> Response:
        """Return your business data. Masked unless the second factor is recent."""
        unmasked = await _has_recent_mfa(foundation, state_of(request).session_id)
        return json_response(
            {"masked": not unmasked, "profile": await foundation.profiles.read(caller.manufacturer_id, clear=unmasked)}
        )

    @api.put("/profile")
    async def change_profile(body: models.Profile, caller: Writer) -> Response:
        """Replace your business data. It is validated, then encrypted at rest. Requires a recent second factor."""
        report = await foundation.change_profile(caller.manufacturer_id, body.model_dump(exclude_none=True))
        return json_response({"warnings": [w.to_dict() for w in report]})


async def _has_recent_mfa(foundation: SecurityFoundation, session_id: str | None) -> bool:
    if session_id is None:
        return False
    try:
        await foundation.auth.require_recent_mfa(session_id, max_age=foundation.settings.recent_mfa_seconds)
    except AuthenticationError:
        return False
    return True
