"""Request state: what the middleware learned, for the application (``scope["gatewright"]``)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from gatewright.auth import ApiKeyIdentity, ClientInfo
from gatewright.events import getrandbits
from gatewright.rbac import Caller, ManufacturerContext
from gatewright.storage.attempts import OneTimeSecret
from gatewright.web.rules import RouteRule, Scope

KEY = "gatewright"

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{8,64}")


class IdempotentCall(NamedTuple):
    """A call with an ``Idempotency-Key``: the store's key for its response, and the response if it has one."""

    record_key: str
    request_digest: str
    response: OneTimeSecret | None


@dataclass(slots=True)
class RequestState:
    """One request: who calls, from where, and what was taken on its behalf.

    ``caller`` is None for an anonymous request. ``fields`` are the headers, the first of each name.
    ``permissions`` is None where the caller has all that its tier and role give, or the ceiling of an API key, which
    is then ``key``.
    ``rule`` is what the middleware checked before the application ran, ``route`` its name.
    ``repeated``: the response is that of an earlier call, so nothing is taken for it.
    """

    request_id: str
    client: ClientInfo
    fields: Mapping[bytes, bytes] = field(default_factory=dict)
    caller: ManufacturerContext | None = None
    entitled: Caller | None = None
    claims: dict[str, Any] = field(default_factory=dict)
    session_id: str | None = None
    permissions: frozenset[str] | None = None
    key: ApiKeyIdentity | None = None
    by: str = "anonymous"
    granted: set[str] = field(default_factory=set)
    taken: list[tuple[str, int]] = field(default_factory=list)
    taken_at: datetime | None = None
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    rule: RouteRule | None = None
    route: str | None = None
    repeated: bool = False
    charged: bool = False
    not_run: bool = False
    idempotent_call: IdempotentCall | None = None

    def header(self, name: bytes) -> str | None:
        """The first header called ``name`` (lower case), decoded as Latin-1."""
        value = self.fields.get(name)
        return None if value is None else value.decode("latin-1")


def first_fields(scope: Scope) -> dict[bytes, bytes]:
    """The headers of a request by name, the first where one comes more than once."""
    headers = scope["headers"]
    return dict(reversed(headers if isinstance(headers, list) else list(headers)))


def request_id(fields: Mapping[bytes, bytes]) -> str:
    """The caller's ``X-Request-ID`` where it is plain enough to be logged, or a new one."""
    given = fields.get(b"x-request-id")
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given.decode("ascii")
    return f"{getrandbits(96):024x}"
