"""Routes for usage, inspection and forward authorization."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Request, Response

from gatewright.errors import AuthorizationError, ValidationError
from gatewright.foundation import SecurityFoundation
from gatewright.rbac import ManufacturerContext
from gatewright.web.api import DocumentedRoute
from gatewright.web.api.models import json_response
from gatewright.web.dependencies import requires, state_of

Reader = Annotated[ManufacturerContext, Depends(requires("usage:read"))]
EVERY_CALLER = "every signed-in person and every API key"
Caller = Annotated[ManufacturerContext, Depends(requires(audience=EVERY_CALLER))]
_METHODS = ["HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
FORWARD_AUTH = (
    ("/forward-auth", ["GET"]),
    ("/forward-auth", _METHODS),
    ("/forward-auth/{target:path}", ["GET", *_METHODS]),
)
"""Envoy uses the method of the original request and appends its path. Only the first route is documented."""


def router(foundation: SecurityFoundation) -> APIRouter:
    """``/v1/usage``, ``/v1/inspect`` and ``/v1/forward-auth``."""
    api = APIRouter(prefix="/v1", tags=["usage"], route_class=DocumentedRoute)
    rbac = foundation.rbac

    @api.get("/usage")
    async def usage(caller: Reader) -> Response:
        """Return your quotas. Includes what remains of each and when it resets."""
        return json_response({"tier": await rbac.tier_of(caller), "resources": await rbac.get_usage_overview(caller)})

    @api.get("/usage/analytics")
    async def analytics(caller: Reader) -> Response:
        """Return usage analytics: trend, forecast and suggestions."""
        return json_response(
            {
                "analytics": await rbac.get_usage_analytics(caller.manufacturer_id),
                "tier_suggestion": await rbac.suggest_tier(caller.manufacturer_id),
                "permission_suggestions": await rbac.suggest_permissions(caller.manufacturer_id),
            }
        )

    @api.post("/inspect")
    async def inspect(
        caller: Annotated[ManufacturerContext, Depends(requires(inspection="off", audience=EVERY_CALLER))],
        request: Request,
        value: Annotated[Any, Body()] = None,
    ) -> Response:
        """Inspect a JSON value for threats. Meant for services that are not written in Python."""
        if value is None and not await request.body():  # null is a value; a missing body is not
            raise ValidationError("Send the value to inspect as JSON.", code="MISSING_BODY")
        return json_response(await foundation.validator.inspect(value, manufacturer_id=caller.manufacturer_id))

    for path, methods in FORWARD_AUTH:
        api.add_api_route(
            path,
            _forward_auth(foundation),
            methods=methods,
            operation_id="forward_auth" if methods == ["GET"] else None,
            include_in_schema=methods == ["GET"],
            name="forward_auth",
        )
    return api


def _forward_auth(foundation: SecurityFoundation) -> Callable[..., Awaitable[Response]]:
    rbac = foundation.rbac

    async def forward_auth(request: Request, caller: Caller) -> Response:
        """Authorize a request for nginx `auth_request`, Traefik or Envoy. 200 with the caller, or 401, 403 or 429.

        Accepts any method, on this path and any path below. The target in `X-Original-URI` or `X-Forwarded-Uri`, or
        the path below, is inspected: an attack in it is answered with 403, as is a caller without any permission.
        """
        ceiling = state_of(request).permissions
        permissions = [p for p in await rbac.permissions_of(caller) if ceiling is None or p in ceiling]
        if not permissions:
            raise AuthorizationError(
                "The caller has no permissions: the account is disabled, or its role has none. "
                "Ask the account owner for access.",
                code="NO_PERMISSIONS",
            )
        return Response(
            status_code=200,
            headers={
                "X-Gatewright-Manufacturer": caller.manufacturer_id,
                "X-Gatewright-Tier": await rbac.tier_of(caller),
                "X-Gatewright-Permissions": ",".join(permissions),
            },
        )

    return forward_auth
