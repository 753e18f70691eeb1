"""HTTP calls of usage, inspection and forward authorization."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Request, Response

from gatewright.errors import AuthorizationError, ValidationError
from gatewright.foundation import SecurityFoundation
from gatewright.rbac import ManufacturerContext
from gatewright.web.api.models import answer
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
"""Envoy asks with the method of the request, and with its path appended; only the first is documented."""


def router(foundation: SecurityFoundation) -> APIRouter:
    """``/v1/usage``, ``/v1/inspect`` and ``/v1/forward-auth``."""
    api = APIRouter(prefix="/v1", tags=["usage"])
    rbac = foundation.rbac

    @api.get("/usage")
    async def usage(caller: Reader) -> Response:
        """Return your quotas, what remains of them, and when they reset."""
        return answer({"tier": await rbac.tier_of(caller), "resources": await rbac.get_usage_overview(caller)})

    @api.get("/usage/analytics")
    async def analytics(caller: Reader) -> Response:
        """Return the trend, forecast and suggestions for your usage."""
        return answer(
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
        """Inspect any JSON value for threats, for services not written in Python."""
        if value is None and not await request.body():  # null is a value; a missing body is not
            raise ValidationError("Send the value to inspect as JSON.", code="MISSING_BODY")
        return answer(await foundation.validator.inspect(value, manufacturer_id=caller.manufacturer_id))

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
        """Authorize a request for nginx `auth_request`, Traefik or Envoy: 200 with the caller, or 401, 403, 429.

        Accepts any method, on this path and any path below. The target in `X-Original-URI` or `X-Forwarded-Uri`, or
        the path below, is inspected: an attack in it is answered with 403, as is a caller without any permission.
        """
        ceiling = state_of(request).permissions
        permissions = [p for p in await rbac.permissions_of(caller) if ceiling is None or p in ceiling]
        if not permissions:
            raise AuthorizationError(
                "The caller has no permissions: the account is disabled, or its role has none.",
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
