"""Shared parts of the staff calls: access declarations, audit events, and tenant look-up."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query, Request

from gatewright.events import Severity, event
from gatewright.foundation import SecurityFoundation
from gatewright.rbac import ManufacturerContext
from gatewright.storage.tenants import PLATFORM_TENANT, StoredManufacturer
from gatewright.web.dependencies import Requires, requires, state_of
from gatewright.web.problems import Problem


def staff(permission: str) -> Requires:
    """Only staff whose stored role has ``permission``, signed in with a recent second factor."""
    return requires(permission, credentials="session", recent_mfa=True)


Limit = Annotated[int, Query(ge=1, le=200)]
Cursor = Annotated[str, Query(max_length=128)]


async def known(foundation: SecurityFoundation, manufacturer_id: str) -> StoredManufacturer:
    """The tenant with this id.

    Raises:
        Problem: 404 if there is none.
    """
    found = await foundation.store.get_manufacturer(manufacturer_id)
    if found is None:
        raise Problem(
            404,
            "MANUFACTURER_NOT_FOUND",
            "Unknown manufacturer id. List manufacturers with GET /v1/admin/manufacturers.",
        )
    return found


async def changeable(foundation: SecurityFoundation, manufacturer_id: str) -> StoredManufacturer:
    """As :func:`known`, for calls that change a tenant, which the platform's own tenant does not allow.

    Raises:
        Problem: 404 if there is none; 403 for the platform itself, which cannot be disabled or given a tier.
    """
    if manufacturer_id == PLATFORM_TENANT:
        raise Problem(
            403, "RESERVED_TENANT", "The platform's own tenant cannot be changed; manage its members instead."
        )
    return await known(foundation, manufacturer_id)


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
