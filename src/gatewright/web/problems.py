"""Problem documents (RFC 9457): errors rendered as HTTP responses."""

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
"""Context fields of an error that a client may see."""

_CATEGORIES = {401: "authentication", 403: "authorization", 429: "authorization", 507: "storage"}
_ACTIONS = {
    400: "Correct the request and send it again.",
    401: "Sign in and try again.",
    403: "Ask the account owner or the platform for access.",
    404: "Check the path and the identifiers in it.",
    405: "Use one of the methods in the Allow header.",
    408: "Send the whole request without pauses.",
    409: "Wait a moment, then send the same request again.",
    413: "Send less, or split it into several requests.",
    415: "Use a supported media type and encoding.",
    429: "Try again after the time in Retry-After.",
    431: "Send fewer or shorter headers.",
    503: "Try again later, after the time in Retry-After if there is one.",
}


class Problem(SecurityError):
    """An error specific to HTTP, such as a body that is too large, an unsupported media type or an unknown path.

    Args:
        status: HTTP status, 400 to 599.
        code: stable code in SCREAMING_SNAKE_CASE.
        detail: what happened, the rule, and what to do.
        headers: additional response headers.
        recommended_action: what the client should do. Each status has a default.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        recommended_action: str | None = None,
    ) -> None:
        action = recommended_action or _ACTIONS.get(status, _ACTIONS[503] if status >= 500 else _ACTIONS[400])
        super().__init__(detail, code=code, recommended_action=action)
        self.status = self.http_status = status
        self.category = category_of(status)  # type: ignore[misc]  # a class attribute elsewhere, derived from the status here
        self.detail = detail
        self.headers = dict(headers or {})


def category_of(status: int) -> str:
    """The error category that an HTTP status represents."""
    return _CATEGORIES.get(status, "validation" if status < 500 else "configuration")


def internal_error() -> Problem:
    """The 500 for an unexpected failure, which reveals nothing but the request id."""
    return Problem(
        500,
        "INTERNAL_ERROR",
        "Internal error. Quote the request id to support.",
        recommended_action="Try again later. If it happens again, quote the request id to support.",
    )


def document(error: SecurityError, request_id: str | None, *, detail: str | None = None, **more: Any) -> dict[str, Any]:
    """The problem document of an error, with every field that version 1 of the API promises."""
    status = error.http_status
    return {
        "type": TYPE_PREFIX + error.code.lower().replace("_", "-"),
        "title": _title(status),
        "status": status,
        "detail": error.message if detail is None else detail,
        "code": error.code,
        "category": error.category,
        "recommended_action": error.recommended_action,
        "timestamp": error.timestamp,
        "request_id": request_id,
        **more,
    }


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:  # a non-standard status of the application, such as 499
        return "Client Error" if status < 500 else "Server Error"


def render(error: BaseException, request_id: str | None) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body for ``error``. Errors other than SecurityError become a 500 that reveals nothing."""
    shown = error if isinstance(error, SecurityError) else internal_error()
    if request_id is not None:
        shown.request_id = request_id
    if isinstance(shown, Problem):
        headers, body = dict(shown.headers), document(shown, request_id)
    else:
        headers, body = _render_domain_error(shown, request_id)
    headers["content-type"] = CONTENT_TYPE
    headers["cache-control"] = "no-store"
    return shown.http_status, headers, msgspec.json.encode(body)


def _render_domain_error(error: SecurityError, request_id: str | None) -> tuple[dict[str, str], dict[str, Any]]:
    status = error.http_status
    headers: dict[str, str] = {}
    detail = error.message
    if isinstance(error, StorageError):
        detail = f"The data store is unavailable. {error.recommended_action}"
    elif status >= 500:
        detail = "Internal error. Quote the request id to support."
    body = document(error, request_id, detail=detail)
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
    return headers, body


def _challenge(error: AuthenticationError) -> str:
    """The ``WWW-Authenticate`` header of RFC 6750 §3, or of RFC 9470 for step-up."""
    if isinstance(error, MFARequiredError):
        return 'Bearer realm="gatewright", error="insufficient_user_authentication"'
    if error.code == "TOKEN_MISSING":
        return 'Bearer realm="gatewright"'
    return 'Bearer realm="gatewright", error="invalid_token"'
