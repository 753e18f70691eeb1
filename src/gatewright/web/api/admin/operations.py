"""Administration of policy, keys and the detector's model."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from gatewright.foundation import SecurityFoundation
from gatewright.rbac import ManufacturerContext
from gatewright.web.api import models
from gatewright.web.api.admin.staff import staff
from gatewright.web.api.models import answer, page

PolicyReader = Annotated[ManufacturerContext, Depends(staff("platform:policy:read"))]


def add_policy(api: APIRouter, foundation: SecurityFoundation) -> None:
    """``/policy``."""

    @api.get("/policy")
    async def policy(admin: PolicyReader) -> Response:
        """Return the policy in force."""
        return answer(foundation.policy.to_dict())


KeyRotator = Annotated[ManufacturerContext, Depends(staff("platform:keys:rotate"))]


def add_keys(api: APIRouter, foundation: SecurityFoundation) -> None:
    """The calls below ``/keys``."""

    @api.post("/keys/rotate")
    async def rotate(
        admin: KeyRotator, which: Annotated[str, Query(pattern="^(signing|encryption)$")] = "signing"
    ) -> Response:
        """Rotate the signing or the encryption key. Existing tokens and data remain valid."""
        if which == "signing":
            return answer(await foundation.auth.rotate_signing_key())
        return answer(await foundation.encryption.rotate_encryption_key())


ModelReader = Annotated[ManufacturerContext, Depends(staff("platform:model:read"))]
ModelTrainer = Annotated[ManufacturerContext, Depends(staff("platform:model:write"))]


def add_model(api: APIRouter, foundation: SecurityFoundation) -> None:
    """``/feedback`` and the calls below ``/model``."""
    validator = foundation.validator

    @api.post("/feedback", status_code=201)
    async def feedback(body: models.Feedback, admin: ModelTrainer) -> Response:
        """Report whether a detection was correct."""
        given = await validator.provide_threat_feedback(
            body.data,
            body.threat_type,
            body.is_threat,
            actor=admin.account_id or "admin",
            source="console",
            reason=body.reason or "",
        )
        return answer(given, 201)

    @api.get("/model/statistics")
    async def statistics(admin: ModelReader) -> Response:
        """Return detections by rule and type, the feedback on them, and traffic drift, for this process."""
        return answer(await validator.get_pattern_statistics())

    @api.get("/model/versions")
    async def versions(admin: ModelReader) -> Response:
        """List the model versions of the detector."""
        return answer(page(list(await validator.list_model_versions()), None))

    @api.post("/model/retrain", status_code=201)
    async def retrain(admin: ModelTrainer) -> Response:
        """Train a new model version on the feedback. A version that would perform worse is rejected with the reason."""
        return answer(await validator.retrain_ml_models(actor=admin.account_id or "admin"), 201)

    @api.post("/model/versions/{version}/use")
    async def use_version(version: int, admin: ModelTrainer) -> Response:
        """Activate a model version. Version 0 is the bundled model."""
        return answer(await validator.rollback_model(version, actor=admin.account_id or "admin"))
