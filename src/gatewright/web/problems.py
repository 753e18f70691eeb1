"""Problem documents (RFC 9457): the one place where an error becomes an answer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec

from gatewright.errors import (
    AuthenticationError,
    MFARequiredError,
    QuotaExceededError,
    SecurityError,
    StorageError,
    ValidationError,
)

CONTENT_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:gatewright:error:"

_PUBLIC_CONTEXT = frozenset({"permission", "tier", "required_tier", "resource", "current", "limit", "resets_at"})
"""The parts of an error's context that a client may see."""


class Problem(Exception):
    """A refusal that has no domain error: a body too large, a type that is not read, a path that is not there.

    Args:
        status: HTTP status, 400 to 599.
        code: stable SCREAMING_SNAKE code.
        detail: one sentence with the rule and the remedy.
    """

    def __init__(self, status: int, code: str, detail: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})


def document(status: int, code: str, detail: str, request_id: str | None, **more: Any) -> dict[str, Any]:
    """The members of a problem document."""
    return {
        "type": TYPE_PREFIX + code.lower().replace("_", "-"),
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request_id,
        **more,
    }


def render(error: BaseException, request_id: str | None) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body for ``error``. Anything that is not ours answers 500 and tells nothing."""
    if isinstance(error, Problem):
        status, headers = error.status, dict(error.headers)
        body = document(status, error.code, error.detail, request_id)
    elif isinstance(error, SecurityError):
        status, headers, body = _domain(error, request_id)
    else:
        status, headers = 500, {}
        body = document(500, "INTERNAL_ERROR", "Something failed on our side; the log has it.", request_id)
    headers["content-type"] = CONTENT_TYPE
    headers["cache-control"] = "no-store"
    return status, headers, msgspec.json.encode(body)


def _domain(error: SecurityError, request_id: str | None) -> tuple[int, dict[str, str], dict[str, Any]]:
    status = error.http_status
    headers: dict[str, str] = {}
    detail = error.message
    if isinstance(error, StorageError):
        detail = f"The service cannot reach its data right now. {error.recommended_action}"
    elif status >= 500:
        detail = "The service could not complete the request; the log has the cause."
    body = document(status, error.code, detail, request_id)
    body.update({k: v for k, v in error.context.items() if k in _PUBLIC_CONTEXT and v is not None})
    if isinstance(error, ValidationError):
        body["errors"] = [{"field": e.field, "error_type": e.error_type, "message": e.message} for e in error.errors]
    retry_after = getattr(error, "retry_after", None)
    if retry_after is not None:
        headers["retry-after"] = str(max(1, math.ceil(retry_after)))
    elif isinstance(error, QuotaExceededError) and error.context.get("retry_after"):
        headers["retry-after"] = str(max(1, math.ceil(error.context["retry_after"])))
    if isinstance(error, AuthenticationError) and status == 401:
        headers["www-authenticate"] = _challenge(error)
    return status, headers, body


def _challenge(error: AuthenticationError) -> str:
    """The ``WWW-Authenticate`` field of RFC 6750 §3; step-up by RFC 9470."""
    if isinstance(error, MFARequiredError):
        return 'Bearer realm="gatewright", error="insufficient_user_authentication"'
    if error.code == "TOKEN_MISSING":
        return 'Bearer realm="gatewright"'
    return 'Bearer realm="gatewright", error="invalid_token"'
