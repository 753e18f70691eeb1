"""What the middleware learned about a request, for the application behind it: ``scope["gatewright"]``."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from gatewright.auth import ClientInfo
from gatewright.rbac import ManufacturerContext
from gatewright.web.rules import RouteRule, Scope

KEY = "gatewright"

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{8,64}")


@dataclass(slots=True)
class RequestState:
    """One request: who calls, from where, and what was taken on its behalf.

    ``caller`` is None for an anonymous request. ``permissions`` is None where the caller has all that its
    tier and role give, or the ceiling of an API key. ``rule`` is what the middleware checked before the
    application ran.
    """

    request_id: str
    client: ClientInfo
    caller: ManufacturerContext | None = None
    claims: dict[str, Any] = field(default_factory=dict)
    session_id: str | None = None
    permissions: frozenset[str] | None = None
    by: str = "anonymous"
    granted: set[str] = field(default_factory=set)
    taken: list[tuple[str, int]] = field(default_factory=list)
    taken_at: datetime | None = None
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    rule: RouteRule | None = None


def header(scope: Scope, name: bytes) -> str | None:
    """The first header called ``name`` (lower case), decoded as Latin-1."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin-1"))
    return None


def request_id(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The caller's ``X-Request-ID`` where it is plain enough to be logged, or a new one."""
    for key, value in headers:
        if key == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return value.decode("ascii")
    return secrets.token_hex(12)
