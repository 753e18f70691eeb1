"""The platform's staff: every call needs a permission of their stored role and a recent second factor, and leaves an
audit event with before and after."""

from __future__ import annotations

from fastapi import APIRouter

from gatewright.foundation import SecurityFoundation
from gatewright.web.api.admin import audit, grants, incidents, keys, manufacturers, model, people, policy, posture

PARTS = (manufacturers, people, grants, audit, incidents, posture, policy, model, keys)


def router(foundation: SecurityFoundation) -> APIRouter:
    """The calls below ``/v1/admin``."""
    api = APIRouter(prefix="/v1/admin", tags=["admin"])
    for part in PARTS:
        part.add(api, foundation)
    return api
