"""Usage, inspection and forward authorization: the calls that services make."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Request, Response

from gatewright.errors import ValidationError
from gatewright.foundation import SecurityFoundation
from gatewright.rbac import ManufacturerContext
from gatewright.web.api.answers import answer
from gatewright.web.dependencies import open_to_all, requires, state_of

Caller = Annotated[ManufacturerContext, Depends(requires())]


def router(foundation: SecurityFoundation) -> APIRouter:
    """``/v1/usage``, ``/v1/inspect`` and ``/v1/forward-auth``."""
    api = APIRouter(prefix="/v1", tags=["usage"])
    rbac = foundation.rbac

    @api.get("/usage")
    async def usage(caller: Caller) -> Response:
        """My quotas, what is left of them, and when they begin anew."""
        return answer({"tier": await rbac.tier_of(caller), "resources": await rbac.get_usage_overview(caller)})

    @api.get("/usage/analytics")
    async def analytics(caller: Caller) -> Response:
        """Trend, forecast and suggestions from what was used."""
        return answer(
            {
                "analytics": await rbac.get_usage_analytics(caller.manufacturer_id),
                "tier_suggestion": await rbac.suggest_tier(caller.manufacturer_id),
                "permission_suggestions": await rbac.suggest_permissions(caller.manufacturer_id),
            }
        )

    @api.post("/inspect")
    async def inspect(
        caller: Annotated[ManufacturerContext, Depends(requires(inspection="off"))],
        request: Request,
        value: Annotated[Any, Body()] = None,
    ) -> Response:
        """The Inspection of any JSON value, for services that are not Python."""
        if value is None and not await request.body():  # null is a value, nothing is none
            raise ValidationError("Send the value to be inspected, as JSON.", code="MISSING_BODY")
        return answer(await foundation.validator.inspect(value, manufacturer_id=caller.manufacturer_id))

    signed_in = [Depends(open_to_all(auth="required"))]

    @api.get("/forward-auth", dependencies=signed_in, operation_id="forward_auth")
    @api.post("/forward-auth", dependencies=signed_in, operation_id="forward_auth_post")
    async def forward_auth(request: Request) -> Response:
        """For nginx ``auth_request``, Traefik and Envoy: 200 with who it is, or 401, 403, 429.

        The target in ``X-Original-URI`` or ``X-Forwarded-Uri`` is inspected; an attack in it is a 403.
        """
        caller = state_of(request).caller
        if caller is None:  # auth="required" has refused it before
            return Response(status_code=401)
        permissions = await rbac.permissions_of(caller)
        ceiling = state_of(request).permissions
        return Response(
            status_code=200,
            headers={
                "X-Gatewright-Manufacturer": caller.manufacturer_id,
                "X-Gatewright-Tier": await rbac.tier_of(caller),
                "X-Gatewright-Permissions": ",".join(p for p in permissions if ceiling is None or p in ceiling),
            },
        )

    return api
