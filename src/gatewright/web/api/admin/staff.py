"""Shared parts of the staff routes: access declarations, manufacturer look-up and audit events."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query, Request

from gatewright.events import Severity, emitter
from gatewright.foundation import SecurityFoundation
from gatewright.rbac import ManufacturerContext
from gatewright.storage.tenants import PLATFORM_TENANT, StoredManufacturer
from gatewright.web.dependencies import Requires, requires, state_of
from gatewright.web.problems import Problem


def staff(permission: str) -> Requires:
    """Require a platform staff role with ``permission``, and a recent second factor."""
    return requires(permission, credentials="session", recent_mfa=True)


Limit = Annotated[int, Query(ge=1, le=200)]
Cursor = Annotated[str, Query(max_length=128)]


async def require_manufacturer(foundation: SecurityFoundation, manufacturer_id: str) -> StoredManufacturer:
    """The manufacturer with this id.

    Raises:
        Problem: 404 for an unknown id.
    """
    found = await foundation.store.get_manufacturer(manufacturer_id)
    if found is None:
        raise Problem(
            404,
            "MANUFACTURER_NOT_FOUND",
            "Unknown manufacturer id. List manufacturers with GET /v1/admin/manufacturers.",
        )
    return found


async def require_changeable(foundation: SecurityFoundation, manufacturer_id: str) -> StoredManufacturer:
    """The manufacturer with this id, for routes that change it.

    Raises:
        Problem: 404 for an unknown id; 403 for the platform's own tenant, which cannot be disabled or given a tier.
    """
    if manufacturer_id == PLATFORM_TENANT:
        raise Problem(
            403, "RESERVED_TENANT", "The platform's own tenant cannot be changed. Manage its members instead."
        )
    return await require_manufacturer(foundation, manufacturer_id)


def record_change(
    foundation: SecurityFoundation,
    request: Request,
    admin: ManufacturerContext,
    kind: str,
    manufacturer_id: str,
    **data: Any,
) -> None:
    """Record a change in the audit log. ``data`` has the state before and after, and the reason."""
    emit = emitter(foundation.sink, foundation.clock)
    emit(
        kind,
        Severity.NOTICE,
        manufacturer_id=manufacturer_id,
        actor=admin.account_id,
        ip_address=admin.ip_address,
        request_id=state_of(request).request_id,
        **data,
    )
