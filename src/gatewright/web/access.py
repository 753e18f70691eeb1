"""Access declarations: who may make each call, checked at start and shown in OpenAPI.

The default of a built-in route is deny: one that does not say who may call it stops the start.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fastapi import FastAPI

from gatewright.access import PLATFORM_ACCESS, TENANT_ACCESS
from gatewright.errors import ConfigurationError
from gatewright.records import Record
from gatewright.web.rules import RouteRule, inner_routes, rule_of

EXTENSION = "x-gatewright-access"
"""The member of an OpenAPI operation that has its declaration."""


class Access(Record, frozen=True, kw_only=True):
    """What one call asks for: ``credentials`` is ``none``, ``session``, ``key`` or ``either``; ``audience`` is who
    makes it, in words."""

    method: str
    path: str
    credentials: str
    permission: str | None = None
    recent_mfa: bool = False
    consumes: tuple[tuple[str, int], ...] = ()
    audience: str

    def sentence(self) -> str:
        """The declaration as one line of the documentation."""
        parts = [{"none": "no credentials", "either": "session or API key", "key": "API key"}.get(self.credentials, "")]
        parts = [parts[0] or "session", *([f"permission `{self.permission}`"] if self.permission else [])]
        if self.recent_mfa:
            parts.append("recent second factor")
        parts += [f"consumes {amount} `{resource}`" for resource, amount in self.consumes]
        return f"Access: {', '.join(parts)}. For {self.audience}."


def declarations(app: FastAPI) -> list[Access]:
    """The declaration of every call of an application, in the order of its routes.

    Raises:
        ConfigurationError: a route has none, or asks for credentials and not who may send them.
    """
    found = []
    for route in _routes(app.routes):
        rule = rule_of(route)
        for method in sorted(set(route.methods or ()) - {"HEAD"}):
            if rule is None or not _says_who(rule):
                raise ConfigurationError(
                    f"{method} {route.path} does not declare who may call it. Add a permission with "
                    "Depends(requires(...)), an audience, or Depends(open_to_all()).",
                    code="ROUTE_NOT_DECLARED",
                )
            found.append(
                Access(
                    method=method,
                    path=route.path,
                    credentials="none" if rule.auth == "none" else rule.credentials,
                    permission=rule.permission or rule.role,
                    recent_mfa=rule.recent_mfa,
                    consumes=rule.consumes,
                    audience=_audience(rule),
                )
            )
    return found


def document(app: FastAPI) -> None:
    """Write the declarations into the application's OpenAPI document, and check that every route has one.

    Raises:
        ConfigurationError: as :func:`declarations`.
    """
    known = {(access.path, access.method.lower()): access for access in declarations(app)}
    plain = app.openapi

    def annotated() -> dict[str, Any]:
        made = app.openapi_schema is None
        schema = plain()
        if made:
            for path, operations in schema.get("paths", {}).items():
                for method, operation in operations.items():
                    _annotate(operation, known[path, method])
        return schema

    app.openapi = annotated  # type: ignore[method-assign]  # as FastAPI's guide to extending OpenAPI does


def _annotate(operation: dict[str, Any], access: Access) -> None:
    operation[EXTENSION] = {
        "credentials": access.credentials,
        "permission": access.permission,
        "recent_mfa": access.recent_mfa,
        "consumes": dict(access.consumes),
        "audience": access.audience,
    }
    operation["description"] = f"{operation.get('description', '').strip()}\n\n{access.sentence()}".strip()


def _says_who(rule: RouteRule) -> bool:
    return bool(rule.auth == "none" or rule.permission or rule.role or rule.audience)


def _audience(rule: RouteRule) -> str:
    if rule.audience is not None:
        return rule.audience
    if rule.role is not None or rule.permission in PLATFORM_ACCESS:
        return "the platform's staff"
    if rule.permission in TENANT_ACCESS:
        return "members of a manufacturer"
    return "manufacturers whose tier includes it" if rule.permission else "everyone"


def _routes(routes: Sequence[Any]) -> Iterator[Any]:
    for route in routes:
        inner = inner_routes(route)
        if inner:
            yield from _routes(inner)
        else:
            yield route
