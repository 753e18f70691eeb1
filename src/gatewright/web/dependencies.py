"""FastAPI dependencies with which routes declare their requirements, enforced by the middleware.

No ``from __future__ import annotations`` here: FastAPI reads the annotations of a callable object as they are.
They are coroutines though they wait for nothing: FastAPI sends plain functions to a thread, at each request.
"""

from collections.abc import Iterable, Mapping

from fastapi import Request

from gatewright.errors import AuthenticationError, ConfigurationError
from gatewright.inspection_policy import Exclusion
from gatewright.rbac import ManufacturerContext
from gatewright.web.request import KEY, RequestState
from gatewright.web.rules import RouteRule, covers


class Requires:
    """A dependency that carries a :class:`RouteRule` and gives the caller."""

    def __init__(self, rule: RouteRule) -> None:
        self.rule = rule

    async def __call__(self, request: Request) -> ManufacturerContext:
        state: RequestState = request.scope.get(KEY) or state_of(request)
        if state.caller is None:
            raise AuthenticationError("Requires a signed-in caller.", code="TOKEN_MISSING")
        if state.rule is not self.rule and (state.rule is None or not covers(state.rule, self.rule)):
            # The middleware decides before the route runs; a route it could not see must not be open.
            raise ConfigurationError(
                "The middleware did not check this route. Install it on the outermost application."
            )
        return state.caller


class Open:
    """A dependency that carries a rule for a route which anyone may call."""

    def __init__(self, rule: RouteRule) -> None:
        self.rule = rule

    async def __call__(self) -> None:
        return None


def requires(
    permission: str | None = None,
    *,
    credentials: str = "either",
    audience: str | None = None,
    consumes: str | Mapping[str, int] | None = None,
    action: str | None = None,
    role: str | None = None,
    recent_mfa: bool = False,
    inspection: str | None = None,
    threats: Mapping[str, str] | None = None,
    exclusions: Iterable[Exclusion] = (),
    max_body: int | None = None,
) -> Requires:
    """What a route needs: ``Depends(requires("upload_products", consumes="product_uploads"))`` gives the caller.

    Args:
        permission: a permission of the policy, or of Gatewright's own calls (``members:read``); None asks only for a
            signed-in caller.
        credentials: ``session`` for people, ``key`` for API keys, or ``either``.
        audience: who calls this, in words, where no permission says it.
        consumes: a resource (one unit), or amounts by resource, taken once a request and given back when the
            application answers 5xx.
        action: a rate limit of the policy, counted for the manufacturer.
        role: a platform role, for staff only.
        recent_mfa: whether the session's second factor must be recent.
        inspection: ``off``, ``shadow`` or ``block``; None for the installation's default.
        threats: another mode for single threat types, ``{"xss": "shadow"}``.
        exclusions: fields whose findings are recorded but not acted on, until a date.
        max_body: bytes; None for the installation's default.
    """
    taken = {consumes: 1} if isinstance(consumes, str) else dict(consumes or {})
    rule = RouteRule(
        auth="required",
        credentials=credentials,
        audience=audience,
        permission=None if permission is None else str(getattr(permission, "value", permission)),
        consumes=tuple(taken.items()),
        action=action,
        role=role,
        recent_mfa=recent_mfa,
        inspection=inspection,
        threats=dict(threats or {}),
        exclusions=tuple(exclusions),
        max_body=max_body,
    )
    return Requires(rule)


def open_to_all(*, inspection: str | None = None, auth: str = "none", name: str | None = None) -> Open:
    """A rule for a public route: no caller is asked for. Routes named ``probe`` are not counted."""
    return Open(RouteRule(auth=auth, inspection=inspection, name=name))


def state_of(request: Request) -> RequestState:
    """What the middleware learned about this request.

    Raises:
        ConfigurationError: the middleware is not installed.
    """
    state = request.scope.get(KEY)
    if not isinstance(state, RequestState):
        raise ConfigurationError("GatewrightMiddleware is not installed; add it to the application.")
    return state
