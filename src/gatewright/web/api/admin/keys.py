"""The installation's keys, replaced by hand."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from gatewright.foundation import SecurityFoundation
from gatewright.rbac import ManufacturerContext
from gatewright.web.api.admin.staff import staff
from gatewright.web.api.answers import answer

KeyRotator = Annotated[ManufacturerContext, Depends(staff("platform:keys:rotate"))]


def add(api: APIRouter, foundation: SecurityFoundation) -> None:
    """The calls below ``/keys``."""

    @api.post("/keys/rotate")
    async def rotate(
        admin: KeyRotator, which: Annotated[str, Query(pattern="^(signing|encryption)$")] = "signing"
    ) -> Response:
        """New keys from now on; the old ones still verify and open."""
        if which == "signing":
            return answer(await foundation.auth.rotate_signing_key())
        return answer(await foundation.encryption.rotate_encryption_key())
