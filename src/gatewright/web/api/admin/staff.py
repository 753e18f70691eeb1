"""What the calls of the staff share: who may make them, what they leave behind, and the tenant they are about."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Query, Request

from gatewright.events import Severity, event
from gatewright.foundation import SecurityFoundation
from gatewright.rbac import ManufacturerContext
from gatewright.storage.tenants import StoredManufacturer
from gatewright.web.dependencies import requires, state_of
from gatewright.web.problems import Problem

Admin = Annotated[ManufacturerContext, Depends(requires(role="platform_admin", recent_mfa=True))]
Limit = Annotated[int, Query(ge=1, le=200)]
Cursor = Annotated[str, Query(max_length=128)]


async def known(foundation: SecurityFoundation, manufacturer_id: str) -> StoredManufacturer:
    """The tenant with this id.

    Raises:
        Problem: 404 where there is none.
    """
    found = await foundation.store.get_manufacturer(manufacturer_id)
    if found is None:
        raise Problem(
            404, "MANUFACTURER_NOT_FOUND", "No manufacturer has this id; list them with GET /v1/admin/manufacturers."
        )
    return found


def note(
    foundation: SecurityFoundation,
    request: Request,
    admin: ManufacturerContext,
    kind: str,
    manufacturer_id: str,
    **data: Any,
) -> None:
    """Leave the audit event of a change, with ``before`` and ``after``."""
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
