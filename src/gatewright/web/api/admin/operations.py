"""Staff routes for the policy, the detector's model and keys."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from gatewright.foundation import SecurityFoundation
from gatewright.rbac import ManufacturerContext
from gatewright.web.api import models
from gatewright.web.api.admin.staff import staff
from gatewright.web.api.models import json_response, page

PolicyReader = Annotated[ManufacturerContext, Depends(staff("platform:policy:read"))]
KeyRotator = Annotated[ManufacturerContext, Depends(staff("platform:keys:rotate"))]
ModelReader = Annotated[ManufacturerContext, Depends(staff("platform:model:read"))]
ModelTrainer = Annotated[ManufacturerContext, Depends(staff("platform:model:write"))]


def add_routes(api: APIRouter, foundation: SecurityFoundation) -> None:
    """``/policy``, ``/feedback``, ``/model`` and ``/keys``."""
    _policy(api, foundation)
    _model(api, foundation)
    _keys(api, foundation)


def _policy(api: APIRouter, foundation: SecurityFoundation) -> None:
    @api.get("/policy")
    async def policy(admin: PolicyReader) -> Response:
        """Return the policy in force."""
        return json_response(foundation.policy.to_dict())


def _model(api: APIRouter, foundation: SecurityFoundation) -> None:
    validator = foundation.validator

    @api.post("/feedback", status_code=201)
    async def feedback(body: models.Feedback, admin: ModelTrainer) -> Response:
        """Report whether a detection was correct."""
        recorded = await validator.provide_threat_feedback(
            body.data,
            body.threat_type,
            body.is_threat,
            actor=admin.account_id or "admin",
            source="console",
            reason=body.reason or "",
        )
        return json_response(recorded, 201)

    @api.get("/model/statistics")
    async def statistics(admin: ModelReader) -> Response:
        """Return detector statistics of this process: detections by rule and type, feedback and traffic drift."""
        return json_response(await validator.get_pattern_statistics())

    @api.get("/model/versions")
    async def versions(admin: ModelReader) -> Response:
        """List the model versions of the detector."""
        return json_response(page(list(await validator.list_model_versions()), None))

    @api.post("/model/retrain", status_code=201)
    async def retrain(admin: ModelTrainer) -> Response:
        """Train a new model version on the feedback. A version that performs worse is rejected with the reason."""
        return json_response(await validator.retrain_ml_models(actor=admin.account_id or "admin"), 201)

    @api.post("/model/versions/{version}/use")
    async def use_version(version: int, admin: ModelTrainer) -> Response:
        """Activate a model version. Version 0 is the bundled model."""
        return json_response(await validator.rollback_model(version, actor=admin.account_id or "admin"))


def _keys(api: APIRouter, foundation: SecurityFoundation) -> None:
    @api.post("/keys/rotate")
    async def rotate(
        admin: KeyRotator, which: Annotated[str, Query(pattern="^(signing|encryption)$")] = "signing"
    ) -> Response:
        """Rotate the signing or the encryption key. Existing tokens and data remain valid."""
        if which == "signing":
            return json_response(await foundation.auth.rotate_signing_key())
        return json_response(await foundation.encryption.rotate_encryption_key())
