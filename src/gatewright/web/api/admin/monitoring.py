"""Administration of the audit log, incidents and posture."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from gatewright.foundation import SecurityFoundation
from gatewright.rbac import ManufacturerContext
from gatewright.web.api import models
from gatewright.web.api.admin.staff import Limit, staff
from gatewright.web.api.models import answer, page

AuditReader = Annotated[ManufacturerContext, Depends(staff("platform:audit:read"))]
AuditSigner = Annotated[ManufacturerContext, Depends(staff("platform:audit:sign"))]


def add_audit(api: APIRouter, foundation: SecurityFoundation) -> None:
    """``/events`` and the calls below ``/audit``."""
    monitor = foundation.monitor

    @api.get("/events")
    async def events(
        admin: AuditReader,
        kind: Annotated[str | None, Query(max_length=100)] = None,
        manufacturer_id: Annotated[str | None, Query(max_length=128)] = None,
        limit: Limit = 50,
    ) -> Response:
        """List the newest events of the audit log."""
        await monitor.flush()
        found = await monitor.audit.search(kind=kind, manufacturer_id=manufacturer_id, limit=limit)
        return answer(page(list(found), None))

    @api.get("/audit/verify")
    async def verify(admin: AuditReader) -> Response:
        """Recompute the audit log and compare it with its checkpoints."""
        await monitor.flush()
        return answer(await monitor.audit.verify())

    @api.post("/audit/checkpoint", status_code=201)
    async def checkpoint(admin: AuditSigner) -> Response:
        """Sign a checkpoint of the audit log. Store the response outside this system."""
        await monitor.flush()
        return answer(await monitor.audit.checkpoint(), 201)

    @api.get("/audit/prove/{event_id}")
    async def prove(event_id: str, admin: AuditReader) -> Response:
        """Return the inclusion proof of an event."""
        await monitor.flush()
        return answer(await monitor.audit.prove(event_id))


IncidentReader = Annotated[ManufacturerContext, Depends(staff("platform:incidents:read"))]
IncidentResolver = Annotated[ManufacturerContext, Depends(staff("platform:incidents:write"))]


def add_incidents(api: APIRouter, foundation: SecurityFoundation) -> None:
    """The calls below ``/incidents``."""
    monitor = foundation.monitor

    @api.get("/incidents")
    async def incidents(admin: IncidentReader) -> Response:
        """List incidents, newest first."""
        return answer(page(list(await monitor.list_incidents()), None))

    @api.post("/incidents/{incident_id}/resolve")
    async def resolve(incident_id: str, body: models.IncidentResolution, admin: IncidentResolver) -> Response:
        """Resolve an incident with a note."""
        return answer(await monitor.resolve_incident(incident_id, note=body.note, actor=admin.account_id))


PostureApplier = Annotated[ManufacturerContext, Depends(staff("platform:posture:apply"))]
PostureReader = Annotated[ManufacturerContext, Depends(staff("platform:posture:read"))]


def add_posture(api: APIRouter, foundation: SecurityFoundation) -> None:
    """``/performance`` and the calls below ``/posture``."""
    monitor = foundation.monitor

    @api.get("/performance")
    async def performance(admin: PostureReader) -> Response:
        """Return the timings of every operation that has a budget."""
        return answer(monitor.performance())

    @api.get("/posture")
    async def posture(admin: PostureReader) -> Response:
        """List posture findings with their remedies, and the measures in force with their ids."""
        findings = page(list(await monitor.assess()), None)
        return answer({**findings, "in_force": await monitor.measures_in_force()})

    @api.get("/posture/proposals")
    async def proposals(admin: PostureReader) -> Response:
        """List the measures that would fix the posture findings."""
        return answer(page(list(await monitor.propose()), None))

    @api.post("/posture/{proposal_id}/apply")
    async def apply_measure(proposal_id: str, admin: PostureApplier) -> Response:
        """Apply a proposed measure."""
        return answer(await monitor.apply(proposal_id, actor=admin.account_id))

    @api.post("/posture/{measure_id}/roll-back")
    async def roll_back_measure(measure_id: str, admin: PostureApplier) -> Response:
        """Roll back a measure, by its own id or the id of its proposal."""
        return answer(await monitor.roll_back(measure_id, actor=admin.account_id))
