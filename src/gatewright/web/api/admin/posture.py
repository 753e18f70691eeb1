"""Posture: how well this installation stands, and the measures that would mend it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from gatewright.foundation import SecurityFoundation
from gatewright.rbac import ManufacturerContext
from gatewright.web.api.admin.staff import staff
from gatewright.web.api.answers import answer, page

PostureApplier = Annotated[ManufacturerContext, Depends(staff("platform:posture:apply"))]
PostureReader = Annotated[ManufacturerContext, Depends(staff("platform:posture:read"))]


def add(api: APIRouter, foundation: SecurityFoundation) -> None:
    """``/performance`` and the calls below ``/posture``."""
    monitor = foundation.monitor

    @api.get("/performance")
    async def performance(admin: PostureReader) -> Response:
        """Timings of every operation that has a budget."""
        return answer(monitor.performance())

    @api.get("/posture")
    async def posture(admin: PostureReader) -> Response:
        """Findings about this installation, each with its remedy, and the measures in force, each with its id."""
        findings = page(list(await monitor.assess()), None)
        return answer({**findings, "in_force": await monitor.measures_in_force()})

    @api.get("/posture/proposals")
    async def proposals(admin: PostureReader) -> Response:
        """Measures that would answer the findings."""
        return answer(page(list(await monitor.propose()), None))

    @api.post("/posture/{proposal_id}/apply")
    async def apply_measure(proposal_id: str, admin: PostureApplier) -> Response:
        """Put a proposed measure in force."""
        return answer(await monitor.apply(proposal_id, actor=admin.account_id))

    @api.post("/posture/{measure_id}/roll-back")
    async def roll_back_measure(measure_id: str, admin: PostureApplier) -> Response:
        """Lift a measure, by its own id or that of its proposal."""
        return answer(await monitor.roll_back(measure_id, actor=admin.account_id))
