"""Incidents: what events add up to, until somebody has seen to it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from gatewright.foundation import SecurityFoundation
from gatewright.rbac import ManufacturerContext
from gatewright.web.api import models
from gatewright.web.api.admin.staff import staff
from gatewright.web.api.answers import answer, page

IncidentReader = Annotated[ManufacturerContext, Depends(staff("platform:incidents:read"))]
IncidentResolver = Annotated[ManufacturerContext, Depends(staff("platform:incidents:write"))]


def add(api: APIRouter, foundation: SecurityFoundation) -> None:
    """The calls below ``/incidents``."""
    monitor = foundation.monitor

    @api.get("/incidents")
    async def incidents(admin: IncidentReader) -> Response:
        """Incidents, newest first."""
        return answer(page(list(await monitor.list_incidents()), None))

    @api.post("/incidents/{incident_id}/resolve")
    async def resolve(incident_id: str, body: models.IncidentResolution, admin: IncidentResolver) -> Response:
        """Close an incident with a note."""
        return answer(await monitor.resolve_incident(incident_id, note=body.note, actor=admin.account_id))
