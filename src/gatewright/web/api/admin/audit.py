"""What happened, and the proof of it: events, checkpoints, verification."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from gatewright.foundation import SecurityFoundation
from gatewright.rbac import ManufacturerContext
from gatewright.web.api.admin.staff import Limit, staff
from gatewright.web.api.answers import answer, page

AuditReader = Annotated[ManufacturerContext, Depends(staff("platform:audit:read"))]
AuditSigner = Annotated[ManufacturerContext, Depends(staff("platform:audit:sign"))]


def add(api: APIRouter, foundation: SecurityFoundation) -> None:
    """``/events`` and the calls below ``/audit``."""
    monitor = foundation.monitor

    @api.get("/events")
    async def events(
        admin: AuditReader,
        kind: Annotated[str | None, Query(max_length=100)] = None,
        manufacturer_id: Annotated[str | None, Query(max_length=128)] = None,
        limit: Limit = 50,
    ) -> Response:
        """The newest events of the audit log."""
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
        """Sign the present state of the log; keep the answer elsewhere."""
        await monitor.flush()
        return answer(await monitor.audit.checkpoint(), 201)

    @api.get("/audit/prove/{event_id}")
    async def prove(event_id: str, admin: AuditReader) -> Response:
        """The proof that an event is in the log."""
        await monitor.flush()
        return answer(await monitor.audit.prove(event_id))
