"""Staff routes for the audit log, incidents and posture."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from gatewright.foundation import SecurityFoundation
from gatewright.rbac import ManufacturerContext
from gatewright.web.api import models
from gatewright.web.api.admin.staff import Limit, staff
from gatewright.web.api.models import json_response, page

AuditReader = Annotated[ManufacturerContext, Depends(staff("platform:audit:read"))]
AuditSigner = Annotated[ManufacturerContext, Depends(staff("platform:audit:sign"))]
IncidentReader = Annotated[ManufacturerContext, Depends(staff("platform:incidents:read"))]
IncidentResolver = Annotated[ManufacturerContext, Depends(staff("platform:incidents:write"))]
PostureApplier = Annotated[ManufacturerContext, Depends(staff("platform:posture:apply"))]
PostureReader = Annotated[ManufacturerContext, Depends(staff("platform:posture:read"))]


def add_routes(api: APIRouter, foundation: SecurityFoundation) -> None:
    """``/events``, ``/audit``, ``/incidents``, ``/performance`` and ``/posture``."""
    _audit(api, foundation)
    _incidents(api, foundation)
    _posture(api, foundation)


def _audit(api: APIRouter, foundation: SecurityFoundation) -> None:
    monitor = foundation.monitor

    @api.get("/events")
    async def events(
        admin: AuditReader,
        kind: Annotated[str | None, Query(max_length=100)] = None,
        manufacturer_id: Annotated[str | None, Query(max_length=128)] = None,
        limit: Limit = 50,
    ) -> Response:
        """List audit events, newest first."""
        await monitor.flush()
        found = await monitor.audit.search(kind=kind, manufacturer_id=manufacturer_id, limit=limit)
        return json_response(page(list(found), None))

    @api.get("/audit/verify")
    async def verify(admin: AuditReader) -> Response:
        """Verify the audit log. Recomputes it and compares it with its checkpoints."""
        await monitor.flush()
        return json_response(await monitor.audit.verify())

    @api.post("/audit/checkpoint", status_code=201)
    async def checkpoint(admin: AuditSigner) -> Response:
        """Sign a checkpoint of the audit log. Store the response outside this system."""
        await monitor.flush()
        return json_response(await monitor.audit.checkpoint(), 201)

    @api.get("/audit/prove/{event_id}")
    async def prove(event_id: str, admin: AuditReader) -> Response:
        """Return the inclusion proof of an event."""
        await monitor.flush()
        return json_response(await monitor.audit.prove(event_id))


def _incidents(api: APIRouter, foundation: SecurityFoundation) -> None:
    monitor = foundation.monitor

    @api.get("/incidents")
    async def incidents(admin: IncidentReader) -> Response:
        """List incidents, newest first."""
        return json_response(page(list(await monitor.list_incidents()), None))

    @api.post("/incidents/{incident_id}/resolve")
    async def resolve(incident_id: str, body: models.IncidentResolution, admin: IncidentResolver) -> Response:
        """Resolve an incident with a note."""
        return json_response(await monitor.resolve_incident(incident_id, note=body.note, actor=admin.account_id))


def _posture(api: APIRouter, foundation: SecurityFoundation) -> None:
    monitor = foundation.monitor

    @api.get("/performance")
    async def performance(admin: PostureReader) -> Response:
        """Return performance measurements of every operation that has a budget."""
        return json_response(monitor.performance())

    @api.get("/posture")
    async def posture(admin: PostureReader) -> Response:
        """List posture findings with their remedies. Includes the measures in force and their ids."""
        findings = page(list(await monitor.assess()), None)
        return json_response({**findings, "in_force": await monitor.measures_in_force()})

    @api.get("/posture/proposals")
    async def proposals(admin: PostureReader) -> Response:
        """List the measures that would fix the posture findings."""
        return json_response(page(list(await monitor.propose()), None))

    @api.post("/posture/{proposal_id}/apply")
    async def apply_measure(proposal_id: str, admin: PostureApplier) -> Response:
        """Apply a proposed measure."""
        return json_response(await monitor.apply(proposal_id, actor=admin.account_id))

    @api.post("/posture/{measure_id}/roll-back")
    async def roll_back_measure(measure_id: str, admin: PostureApplier) -> Response:
        """Roll back a measure. Send its id or the id of its proposal."""
        return json_response(await monitor.roll_back(measure_id, actor=admin.account_id))
