"""HTTP calls of the platform's staff.

Each requires a permission of the stored role and a recent second factor, and records an audit event with the state
before and after.
"""

from __future__ import annotations

from fastapi import APIRouter

from gatewright.foundation import SecurityFoundation
from gatewright.web.api.admin.manufacturers import add_grants, add_manufacturers, add_people
from gatewright.web.api.admin.monitoring import add_audit, add_incidents, add_posture
from gatewright.web.api.admin.operations import add_keys, add_model, add_policy

PARTS = (
    add_manufacturers,
    add_people,
    add_grants,
    add_audit,
    add_incidents,
    add_posture,
    add_policy,
    add_model,
    add_keys,
)


def router(foundation: SecurityFoundation) -> APIRouter:
    """The calls below ``/v1/admin``."""
    api = APIRouter(prefix="/v1/admin", tags=["admin"])
    for add in PARTS:
        add(api, foundation)
    return api
