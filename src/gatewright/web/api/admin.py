"""The platform's staff: every call needs the ``platform_admin`` role and a recent second factor, and leaves an
audit event with before and after."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from gatewright.events import Severity, event
from gatewright.foundation import SecurityFoundation
from gatewright.rbac import ManufacturerContext
from gatewright.storage.tenants import StoredManufacturer
from gatewright.web.api import models
from gatewright.web.api.answers import answer, page
from gatewright.web.dependencies import requires, state_of
from gatewright.web.problems import Problem

Admin = Annotated[ManufacturerContext, Depends(requires(role="platform_admin", recent_mfa=True))]
Limit = Annotated[int, Query(ge=1, le=200)]
Cursor = Annotated[str, Query(max_length=128)]


def router(foundation: SecurityFoundation) -> APIRouter:
    """The calls below ``/v1/admin``."""
    api = APIRouter(prefix="/v1/admin", tags=["admin"])
    _manufacturers(api, foundation)
    _events(api, foundation)
    _operations(api, foundation)
    return api


def _manufacturers(api: APIRouter, foundation: SecurityFoundation) -> None:
    store = foundation.store

    async def known(manufacturer_id: str) -> StoredManufacturer:
        found = await store.get_manufacturer(manufacturer_id)
        if found is None:
            raise Problem(
                404,
                "MANUFACTURER_NOT_FOUND",
                "No manufacturer has this id; list them with GET /v1/admin/manufacturers.",
            )
        return found

    def record(request: Request, admin: ManufacturerContext, kind: str, manufacturer_id: str, **data: Any) -> None:
        foundation.sink.emit(
            event(
                kind,
                severity=Severity.NOTICE,
                manufacturer_id=manufacturer_id,
                actor=admin.account_id,
                ip_address=admin.ip_address,
                request_id=state_of(request).request_id,
                **data,
            )
        )

    @api.get("/manufacturers")
    async def manufacturers(admin: Admin, after: Cursor = "", limit: Limit = 50) -> Response:
        """The tenants, by id."""
        found = await store.list_manufacturers(after=after, limit=limit)
        cursor = found[-1].manufacturer_id if len(found) == limit else None
        return answer(page([_public(m) for m in found], cursor))

    @api.get("/manufacturers/{manufacturer_id}")
    async def manufacturer(manufacturer_id: str, admin: Admin) -> Response:
        """One tenant with its usage and people."""
        found = await known(manufacturer_id)
        accounts = await store.list_accounts(manufacturer_id)
        return answer(
            {
                **_public(found),
                "usage": await foundation.rbac.get_usage_overview(manufacturer_id),
                "accounts": [{"account_id": a.account_id, "role": a.role, "status": a.status} for a in accounts],
            }
        )

    @api.put("/manufacturers/{manufacturer_id}/tier")
    async def tier(manufacturer_id: str, body: models.TierChange, admin: Admin, request: Request) -> Response:
        """Move a tenant to a tier: in effect at once, usage kept."""
        before = await known(manufacturer_id)
        await foundation.rbac.update_manufacturer_tier(manufacturer_id, body.tier, reason=body.reason)
        after = await known(manufacturer_id)
        record(
            request,
            admin,
            "admin:tier:changed",
            manufacturer_id,
            before=before.tier,
            after=after.tier,
            reason=body.reason,
        )
        return answer(_public(after))

    async def set_status(
        manufacturer_id: str, status: str, reason: str, admin: ManufacturerContext, request: Request
    ) -> Response:
        before = await known(manufacturer_id)
        after = await store.update_manufacturer(manufacturer_id, status=status)
        if status != "active":
            await foundation.auth.invalidate_sessions(manufacturer_id, reason=f"manufacturer {status}")
        record(
            request, admin, "admin:status:changed", manufacturer_id, before=before.status, after=status, reason=reason
        )
        return answer(_public(after or before))

    @api.post("/manufacturers/{manufacturer_id}/disable")
    async def disable(manufacturer_id: str, body: models.StatusChange, admin: Admin, request: Request) -> Response:
        """Refuse a tenant and end its sessions."""
        return await set_status(manufacturer_id, "disabled", body.reason, admin, request)

    @api.post("/manufacturers/{manufacturer_id}/enable")
    async def enable(manufacturer_id: str, body: models.StatusChange, admin: Admin, request: Request) -> Response:
        """Let a disabled tenant in again."""
        return await set_status(manufacturer_id, "active", body.reason, admin, request)

    @api.post("/manufacturers/{manufacturer_id}/accounts/{account_id}/mfa/reset", status_code=204)
    async def reset_mfa(
        manufacturer_id: str, account_id: str, body: models.StatusChange, admin: Admin, request: Request
    ) -> Response:
        """Remove the second factors of a person who lost them; sessions end, and the person is told by mail."""
        await known(manufacturer_id)
        await foundation.auth.reset_mfa(
            manufacturer_id, actor=admin.account_id or "admin", reason=body.reason, account_id=account_id
        )
        record(request, admin, "admin:mfa:reset", manufacturer_id, before="enrolled", after=None, reason=body.reason)
        return Response(status_code=204)

    @api.post("/manufacturers/{manufacturer_id}/grants", status_code=201)
    async def grant(manufacturer_id: str, body: models.Grant, admin: Admin, request: Request) -> Response:
        """Give a permission for a while."""
        await known(manufacturer_id)
        given = await foundation.rbac.grant_permission(
            manufacturer_id, body.permission, until=body.until, reason=body.reason
        )
        record(
            request, admin, "admin:grant:made", manufacturer_id, before=None, after=body.permission, reason=body.reason
        )
        return answer(given, 201)


def _public(manufacturer: StoredManufacturer) -> dict[str, Any]:
    """A tenant without its encrypted profile."""
    return {k: v for k, v in manufacturer.to_dict().items() if k != "profile"}


def _events(api: APIRouter, foundation: SecurityFoundation) -> None:
    monitor = foundation.monitor

    @api.get("/events")
    async def events(
        admin: Admin,
        kind: Annotated[str | None, Query(max_length=100)] = None,
        manufacturer_id: Annotated[str | None, Query(max_length=128)] = None,
        limit: Limit = 50,
    ) -> Response:
        """The newest events of the audit log."""
        await monitor.flush()
        found = await monitor.audit.search(kind=kind, manufacturer_id=manufacturer_id, limit=limit)
        return answer(page(list(found), None))

    @api.get("/audit/verify")
    async def verify(admin: Admin) -> Response:
        """Recompute the audit log and compare it with its checkpoints."""
        await monitor.flush()
        return answer(await monitor.audit.verify())

    @api.post("/audit/checkpoint", status_code=201)
    async def checkpoint(admin: Admin) -> Response:
        """Sign the present state of the log; keep the answer elsewhere."""
        await monitor.flush()
        return answer(await monitor.audit.checkpoint(), 201)

    @api.get("/audit/prove/{event_id}")
    async def prove(event_id: str, admin: Admin) -> Response:
        """The proof that an event is in the log."""
        await monitor.flush()
        return answer(await monitor.audit.prove(event_id))

    @api.get("/incidents")
    async def incidents(admin: Admin) -> Response:
        """Incidents, newest first."""
        return answer(page(list(await monitor.list_incidents()), None))

    @api.post("/incidents/{incident_id}/resolve")
    async def resolve(incident_id: str, body: models.IncidentResolution, admin: Admin) -> Response:
        """Close an incident with a note."""
        return answer(await monitor.resolve_incident(incident_id, note=body.note, actor=admin.account_id))


def _operations(api: APIRouter, foundation: SecurityFoundation) -> None:
    @api.get("/performance")
    async def performance(admin: Admin) -> Response:
        """Timings of every operation that has a budget."""
        return answer(foundation.monitor.performance())

    @api.get("/posture")
    async def posture(admin: Admin) -> Response:
        """Findings about this installation, each with its remedy."""
        return answer(page(list(await foundation.monitor.assess()), None))

    @api.get("/policy")
    async def policy(admin: Admin) -> Response:
        """The policy in force."""
        return answer(foundation.policy.to_dict())

    @api.post("/feedback", status_code=201)
    async def feedback(body: models.Feedback, admin: Admin) -> Response:
        """Tell the detector that it was right or wrong."""
        given = await foundation.validator.provide_threat_feedback(
            body.data,
            body.threat_type,
            body.is_threat,
            actor=admin.account_id or "admin",
            source="console",
            reason=body.reason or "",
        )
        return answer(given, 201)

    @api.get("/model/versions")
    async def versions(admin: Admin) -> Response:
        """The versions of the detector's model."""
        return answer(page(list(await foundation.validator.list_model_versions()), None))

    @api.post("/model/retrain", status_code=201)
    async def retrain(admin: Admin) -> Response:
        """Learn from the feedback; a version that would do harm is refused, with the reason."""
        return answer(await foundation.validator.retrain_ml_models(actor=admin.account_id or "admin"), 201)

    @api.post("/model/versions/{version}/use")
    async def use_version(version: int, admin: Admin) -> Response:
        """Go back to a version; 0 is the model that ships."""
        return answer(await foundation.validator.rollback_model(version, actor=admin.account_id or "admin"))

    @api.post("/suggestions/{suggestion_id}/apply")
    async def apply_suggestion(suggestion_id: str, admin: Admin) -> Response:
        """Put a suggestion in force for as long as policy allows."""
        return answer(await foundation.rbac.apply_suggestion(suggestion_id, author=admin.account_id))

    @api.post("/suggestions/{suggestion_id}/roll-back")
    async def roll_back_suggestion(suggestion_id: str, admin: Admin) -> Response:
        """Undo an applied suggestion, to exactly the former state."""
        return answer(await foundation.rbac.roll_back_suggestion(suggestion_id, author=admin.account_id))

    @api.post("/posture/{proposal_id}/apply")
    async def apply_measure(proposal_id: str, admin: Admin) -> Response:
        """Put a proposed measure in force."""
        return answer(await foundation.monitor.apply(proposal_id, actor=admin.account_id))

    @api.post("/posture/{measure_id}/roll-back")
    async def roll_back_measure(measure_id: str, admin: Admin) -> Response:
        """Lift a measure."""
        return answer(await foundation.monitor.roll_back(measure_id, actor=admin.account_id))

    @api.get("/posture/proposals")
    async def proposals(admin: Admin) -> Response:
        """Measures that would answer the findings."""
        return answer(page(list(await foundation.monitor.propose()), None))

    @api.post("/keys/rotate")
    async def rotate(
        admin: Admin, which: Annotated[str, Query(pattern="^(signing|encryption)$")] = "signing"
    ) -> Response:
        """New keys from now on; the old ones still verify and open."""
        if which == "signing":
            return answer(await foundation.auth.rotate_signing_key())
        return answer(await foundation.encryption.rotate_encryption_key())
