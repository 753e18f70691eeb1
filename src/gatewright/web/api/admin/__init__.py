"""Routes for the platform's staff.

Each requires a permission of the stored role and a recent second factor. Changes to a manufacturer are recorded in the
audit log with the state before and after.
"""

from __future__ import annotations

from fastapi import APIRouter

from gatewright.foundation import SecurityFoundation
from gatewright.web.api import DocumentedRoute
from gatewright.web.api.admin import manufacturers, monitoring, operations


def router(foundation: SecurityFoundation) -> APIRouter:
    """The routes below ``/v1/admin``."""
    api = APIRouter(prefix="/v1/admin", tags=["admin"], route_class=DocumentedRoute)
    for part in (manufacturers, monitoring, operations):
        part.add_routes(api, foundation)
    return api
