"""Routes for health, metrics and public keys."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Response

from gatewright.errors import SecurityError
from gatewright.foundation import SecurityFoundation
from gatewright.web.api import DocumentedRoute
from gatewright.web.api.models import json_response
from gatewright.web.dependencies import open_to_all

PROBE = [Depends(open_to_all(inspection="off", name="probe"))]


def router(foundation: SecurityFoundation) -> APIRouter:
    """``/healthz``, ``/readyz``, ``/metrics`` and ``/.well-known/jwks.json``."""
    api = APIRouter(tags=["health"], dependencies=PROBE, route_class=DocumentedRoute)

    @api.get("/healthz")
    async def healthz() -> Response:
        """Check liveness. Does not query store or cache, so an outage of either does not restart the process."""
        return json_response({"status": "ok"})

    @api.get("/readyz")
    async def readyz() -> Response:
        """Check readiness. 200 when ready or degraded, 503 when the store is unavailable."""
        checks = await readiness(foundation)
        ready = checks["store"] == "ok"
        status = "ready" if all(v == "ok" for v in checks.values()) else "degraded" if ready else "unavailable"
        return json_response({"status": status, "checks": checks}, 200 if ready else 503)

    @api.get("/metrics")
    async def metrics() -> Response:
        """Return Prometheus metrics. Expose this to your monitoring network only."""
        return Response(foundation.monitor.metrics_text(), media_type="text/plain; version=0.0.4")

    @api.get("/.well-known/jwks.json")
    async def jwks() -> Response:
        """Return the public signing keys (RFC 7517). Empty with HS256, which has no public key."""
        return json_response(foundation.auth.jwks(), headers={"cache-control": "public, max-age=300"})

    return api


async def readiness(foundation: SecurityFoundation) -> dict[str, str]:
    """The state of each component: ``ok``, or what is wrong."""
    checks = {"store": "ok", "detector": "degraded: rules alone decide" if foundation.validator.degraded else "ok"}
    try:
        await foundation.store.check()
    except SecurityError as error:
        checks["store"] = error.code
    return checks
