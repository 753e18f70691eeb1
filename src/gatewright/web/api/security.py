"""Routes for a company's own security events."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response

from gatewright.foundation import SecurityFoundation
from gatewright.monitoring import AuditedEvent
from gatewright.rbac import ManufacturerContext
from gatewright.web.api import DocumentedRoute
from gatewright.web.api.models import json_response, page
from gatewright.web.dependencies import requires

Reader = Annotated[ManufacturerContext, Depends(requires("security:read"))]

CAUSED_BY_STAFF = "admin:"
"""Prefix of events caused by platform staff. A company sees that they happened, but not by whom or from where."""


def router(foundation: SecurityFoundation) -> APIRouter:
    """The routes below ``/v1/security``."""
    api = APIRouter(prefix="/v1/security", tags=["security"], route_class=DocumentedRoute)
    audit = foundation.monitor.audit

    @api.get("/events")
    async def events(
        caller: Reader,
        kind: Annotated[str | None, Query(max_length=100)] = None,
        before: Annotated[int | None, Query(ge=0)] = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> Response:
        """List your company's security events, newest first.

        `kind` may end in `*`. For the next page, send `next` as `before`.
        """
        found = await audit.search(kind=kind, manufacturer_id=caller.manufacturer_id, before=before, limit=limit)
        cursor = str(found[-1].index) if len(found) == limit else None
        return json_response(page([_to_dict(event) for event in found], cursor))

    return api


def _to_dict(found: AuditedEvent) -> dict[str, Any]:
    """An event as its company sees it, without details about platform staff or the detector."""
    by_staff = found.kind.startswith(CAUSED_BY_STAFF)
    return {
        "event_id": found.event_id,
        "kind": found.kind,
        "severity": found.severity,
        "timestamp": found.timestamp,
        "account_id": None if by_staff else found.account_id,
        "session_id": None if by_staff else found.session_id,
        "ip_address": None if by_staff else found.ip_address,
        "request_id": found.request_id,
    }
