"""GatewrightMiddleware: the way of one request through the foundation. Pure ASGI, for any framework.

Cheap and certain before dear and rare, and nothing is charged for what is refused: authenticate, throttle,
authorize, inspect, take quota, run the application, record.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from gatewright.errors import AuthenticationError, InsufficientPermissionsError, SecurityError, StoreUnavailableError
from gatewright.events import Severity, event
from gatewright.logs import bind_request, get_logger
from gatewright.rbac import ManufacturerContext
from gatewright.storage.tenants import PLATFORM_TENANT
from gatewright.web.authenticate import Authenticator
from gatewright.web.body import declared_once, headers_for, plain_body, read_body, replay, understand
from gatewright.web.client import ClientReader
from gatewright.web.inspection import Inspector
from gatewright.web.limits import Limiter
from gatewright.web.problems import Problem, render
from gatewright.web.request import KEY, RequestState, first_fields, request_id
from gatewright.web.rules import PathRules, RouteRule, RuleSource, Scope
from gatewright.web.treatment import Treatments

if TYPE_CHECKING:
    from gatewright.foundation import SecurityFoundation

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

log = get_logger("gatewright.web")


class GatewrightMiddleware:
    """Puts the foundation in front of an application.

    Args:
        app: the ASGI application.
        foundation: an opened :class:`~gatewright.foundation.SecurityFoundation`.
        rules: which route asks for what; without it every route is open and inspected. For FastAPI use
            :func:`gatewright.web.install`, which reads the rules off the routes' own dependencies.
    """

    def __init__(self, app: App, foundation: SecurityFoundation, rules: RuleSource | None = None) -> None:
        self._app = app
        self._foundation = foundation
        self._rules = rules or PathRules()
        settings = foundation.settings
        self._max_body = settings.max_body_bytes
        self._clients = ClientReader(settings.trusted_proxies)
        self._authenticator = Authenticator(foundation.auth)
        self._limiter = Limiter(foundation)
        treatments = Treatments(
            lambda: foundation.inspection_mode,
            lambda: foundation.rbac.policy.inspection,
            foundation.clock,
            foundation.sink,
            foundation.declared_exclusions,
        )
        self._inspector = Inspector(foundation.validator, foundation.sink, foundation.controls, treatments)
        for topic in ("controls", "policy"):
            foundation.store.changes.subscribe(topic, self._inspector.forget)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        fields = first_fields(scope)
        state = RequestState(request_id=request_id(fields), client=self._clients.read(scope, fields), fields=fields)
        scope[KEY] = state
        with bind_request(state.request_id):
            try:
                rule = self._rules.resolve(scope)
                admitted = await self._admit(scope, receive, state, rule)
            except (SecurityError, Problem) as error:
                await self._refuse(scope, send, state, error, started)
                return
            if admitted is not None:
                await self._run(scope, admitted, send, state, started)

    async def _admit(self, scope: Scope, receive: Receive, state: RequestState, rule: RouteRule) -> Receive | None:
        """Every step before the application; the ``receive`` to hand it, or None when the client has gone."""
        if not self._foundation.monitor.accepting and rule.name != "probe":
            raise StoreUnavailableError("Events cannot be kept at the moment.", code="AUDIT_UNAVAILABLE", retry_after=5)
        if rule.auth != "none":
            await self._authenticator.authenticate(state, required=rule.auth == "required")
        await self._limiter.check(state, rule)
        await self._authorize(state, rule)
        body: Any = None
        if scope["type"] == "http":
            raw = await read_body(receive, state.header(b"content-length"), rule.max_body or self._max_body)
            if raw is None:
                return None
            if raw:
                raw, body = await self._understand(scope, raw, state, rule)
            receive = replay(raw, receive)
        await self._inspector.inspect(scope, body, rule, state)
        await self._take(state, rule)
        state.rule = rule
        return receive

    async def _understand(self, scope: Scope, raw: bytes, state: RequestState, rule: RouteRule) -> tuple[bytes, Any]:
        """The body to hand on, which may be another than was sent, and the value to inspect."""
        declared_once(scope["headers"])
        content_type, encoding = state.header(b"content-type"), state.header(b"content-encoding")
        plain = await plain_body(raw, content_type, encoding, rule.max_body or self._max_body)
        if plain is not raw:
            scope["headers"] = headers_for(scope["headers"], plain)
            state.fields = first_fields(scope)
        return plain, understand(plain, content_type)

    async def _authorize(self, state: RequestState, rule: RouteRule) -> None:
        caller = state.caller
        if caller is None:
            return
        if rule.role is not None:
            require_platform_role(caller, rule.role)
        if rule.recent_mfa:
            if state.session_id is None:
                raise AuthenticationError("This call needs a session with a recent second factor.", code="MFA_REQUIRED")
            await self._foundation.auth.require_recent_mfa(
                state.session_id, max_age=self._foundation.settings.recent_mfa_seconds
            )
        if rule.permission is None:
            return
        if state.permissions is not None and rule.permission not in state.permissions:
            raise InsufficientPermissionsError(
                f"This API key does not have the permission {rule.permission}.",
                context={
                    "manufacturer_id": caller.manufacturer_id,
                    "permission": rule.permission,
                    "tier": caller.tier,
                    "operation_context": rule.name or "",
                },
            )
        await self._foundation.rbac.enforce_permission(caller, rule.permission, operation_context=rule.name or "")
        state.granted.add(rule.permission)

    async def _take(self, state: RequestState, rule: RouteRule) -> None:
        """Take what the route consumes, all of it or nothing."""
        caller = state.caller
        if caller is None or not rule.consumes:
            return
        state.taken_at = self._foundation.clock.now()
        await self._foundation.rbac.enforce_usage_limits(caller, dict(rule.consumes), operation_context=rule.name or "")
        state.taken = list(rule.consumes)

    async def _give_back(self, state: RequestState) -> None:
        taken, state.taken = state.taken, []
        if state.caller is not None:
            for resource, amount in taken:
                await self._foundation.rbac.refund_usage(
                    state.caller.manufacturer_id, resource, amount, taken_at=state.taken_at
                )

    async def _run(self, scope: Scope, receive: Receive, send: Send, state: RequestState, started: float) -> None:
        status = 0

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status = message["status"]
                if status >= 500 or state.repeated:
                    await self._give_back(state)
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", state.request_id.encode()),
                    *state.headers,
                ]
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except (SecurityError, Problem) as error:
            if status:
                raise
            await self._refuse(scope, send, state, error, started)
            return
        except Exception as error:
            await self._give_back(state)
            if status:
                raise
            log.exception("request_failed", request_id=state.request_id)
            await self._refuse(scope, send, state, error, started)
            return
        self._record(scope, state, status, started)

    async def _refuse(
        self, scope: Scope, send: Send, state: RequestState, error: BaseException, started: float
    ) -> None:
        """Answer the one problem document of this request; what it had taken is given back."""
        await self._give_back(state)
        status, headers, body = render(error, state.request_id)
        raw = [(k.encode(), v.encode("latin-1", "replace")) for k, v in headers.items()]
        raw += [(b"content-length", str(len(body)).encode()), (b"x-request-id", state.request_id.encode())]
        raw += state.headers
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": getattr(error, "code", "REFUSED")})
        else:
            await send({"type": "http.response.start", "status": status, "headers": raw})
            await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
        self._record(scope, state, status, started, code=getattr(error, "code", "INTERNAL_ERROR"))

    def _record(
        self, scope: Scope, state: RequestState, status: int, started: float, *, code: str | None = None
    ) -> None:
        """One event a request, of those that somebody made or that were refused."""
        caller = state.caller
        if caller is None and status < 400:
            return
        self._foundation.sink.emit(
            event(
                "web:request:refused" if code else "web:request:served",
                severity=Severity.NOTICE if code else Severity.INFO,
                manufacturer_id=None if caller is None else caller.manufacturer_id,
                account_id=None if caller is None else caller.account_id,
                session_id=state.session_id,
                ip_address=state.client.ip_address,
                request_id=state.request_id,
                method=scope.get("method", "WEBSOCKET"),
                path=scope["path"][:200],
                status=status,
                code=code,
                by=state.by,
                granted=sorted(state.granted),
                took=dict(state.taken),
                ms=round((time.perf_counter() - started) * 1000, 2),
            )
        )


def require_platform_role(caller: ManufacturerContext, role: str) -> None:
    """Refuse everyone but the platform's staff with this role. Raises InsufficientPermissionsError."""
    if caller.manufacturer_id == PLATFORM_TENANT and role in caller.roles:
        return
    raise InsufficientPermissionsError(
        "This call is for the platform's staff.",
        context={"manufacturer_id": caller.manufacturer_id, "permission": role, "operation_context": "admin"},
    )
