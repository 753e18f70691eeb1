"""GatewrightMiddleware: the way of a request through the foundation. Pure ASGI, for any framework.

Cheap and certain before expensive and rare, and nothing is charged for what is refused: authenticate, throttle,
authorize, inspect, take quota, run the application, record.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from gatewright import event_kinds
from gatewright.errors import (
    AuthorizationError,
    ConfigurationError,
    InsufficientPermissionsError,
    MFARequiredError,
    SecurityError,
    StoreUnavailableError,
)
from gatewright.events import Severity, event
from gatewright.logs import REQUEST_ID, get_logger
from gatewright.rbac import ManufacturerContext
from gatewright.storage.tenants import PLATFORM_TENANT
from gatewright.web.authenticate import Authenticator
from gatewright.web.body import decode_body, headers_for, read_body, replay
from gatewright.web.body.timeout import receive_within
from gatewright.web.enforcement import Enforcement
from gatewright.web.headers import HeaderBounds, missing_from
from gatewright.web.idempotency import Idempotency
from gatewright.web.inspection import Inspector
from gatewright.web.network_limit import NetworkLimit
from gatewright.web.paths import check_path, shown_path
from gatewright.web.problems import Problem, render
from gatewright.web.rate_limits import RateLimiter
from gatewright.web.request import KEY, RequestState, first_fields, request_id
from gatewright.web.rules import UNDECLARED, RouteRule, RuleSource, Scope
from gatewright.web.trusted_proxies import ClientReader

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
        rules: which route asks for what, such as :class:`~gatewright.web.PathRules`. For FastAPI use
            :func:`gatewright.web.install`, which reads the rules off the routes' own dependencies.
        idempotency: whether a POST with an ``Idempotency-Key`` that is sent again gets its first answer.

    Raises:
        ConfigurationError: there are no rules.
    """

    def __init__(
        self,
        app: App,
        foundation: SecurityFoundation,
        rules: RuleSource | None = None,
        *,
        idempotency: bool = False,
    ) -> None:
        self._repeats = Idempotency(app, foundation=foundation) if idempotency else None
        self._app: App = self._repeats or app
        self._foundation = foundation
        if rules is None:
            raise ConfigurationError(
                "GatewrightMiddleware has no rules, and undeclared routes must not be open. Pass"
                " rules=PathRules([...]), or rules=PathRules(default=RouteRule()) to inspect every route and open it."
            )
        self._rules = rules
        self._rbac = foundation.rbac
        self._pipeline = foundation.monitor.pipeline
        settings = foundation.settings
        self._max_body = settings.max_body_bytes
        self._clients = ClientReader(settings.trusted_proxies, header=settings.client_ip_header)
        self._authenticator = Authenticator(foundation.auth)
        self._limiter = RateLimiter(foundation)
        self._network = NetworkLimit(foundation, self._authenticator, self._limiter.anonymous_rate)
        self._headers = HeaderBounds(max_count=settings.max_header_count, max_bytes=settings.max_header_bytes)
        self._body_timeout = settings.body_timeout_seconds
        treatments = Enforcement(
            foundation.given_inspection_mode,
            foundation.rbac,
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
        token = REQUEST_ID.set(state.request_id)
        try:
            try:
                self._headers.check(scope, fields)
                check_path(scope)
                rule = self._rules.resolve(scope)
                state.route = rule.name
                admitted = await self._admit(scope, receive, state, rule)
            except SecurityError as error:
                await self._refuse(scope, send, state, await self._network.charged(state, error), started)
                return
            if admitted is not None:
                await self._run(scope, admitted, send, state, started)
        finally:
            REQUEST_ID.reset(token)

    async def _admit(self, scope: Scope, receive: Receive, state: RequestState, rule: RouteRule) -> Receive | None:
        """Every step before the application; the ``receive`` to hand it, or None when the client has gone."""
        if not self._pipeline.accepting and rule.name != "probe":
            raise StoreUnavailableError(
                "Events cannot be recorded at the moment. Try again shortly.", code="AUDIT_UNAVAILABLE", retry_after=5
            )
        await self._network.identify(state, rule)
        if state.caller is not None:
            state.entitled = await self._rbac.resolve(state.caller)
        await self._limiter.check(state, rule)
        if rule is UNDECLARED:
            raise Problem(
                403,
                "ROUTE_NOT_DECLARED",
                "This method and path are not declared, so they are refused. Check the URL; the operator declares"
                " routes in PathRules.",
            )
        await self._authorize(state, rule)
        body: Any = None
        if scope["type"] == "http":
            limit = rule.max_body or self._max_body
            timed = receive_within(self._body_timeout, scope, receive)
            raw = await read_body(timed, state.fields.get(b"content-length"), limit)
            if raw is None:
                return None
            if raw:
                plain, body = await decode_body(raw, scope["headers"], limit)
                if plain is not raw:
                    raw, scope["headers"] = plain, headers_for(scope["headers"], plain)
                    state.fields = first_fields(scope)
            receive = replay(raw, receive)
        await self._inspector.inspect(scope, body, rule, state)
        if self._repeats is not None:
            again = await self._repeats.look_up(scope, receive, state)
            if again is None:
                return None
            receive = again
        if not state.repeated:  # a retry gets its first answer and owes nothing more
            await self._take(state, rule)
        state.rule = rule
        return receive

    async def _authorize(self, state: RequestState, rule: RouteRule) -> None:
        """Credential kind, role and permission first: nobody is asked to step up for what they may not do anyway."""
        caller = state.caller
        if caller is None:
            return
        kind = "key" if state.by == "api_key" else "session"
        if rule.credentials not in ("either", kind):
            raise _wrong_credentials(rule.credentials)
        if rule.role is not None:
            await self._require_platform_role(caller, rule.role)
        if rule.permission is not None:
            await self._require_permission(state, caller, rule)
        if rule.recent_mfa:
            await self._require_recent_mfa(state)

    async def _require_platform_role(self, caller: ManufacturerContext, role: str) -> None:
        """The role of staff as the store has it now; what a token says of roles is as old as the token."""
        if caller.manufacturer_id == PLATFORM_TENANT and await self._rbac.role_of(caller) == role:
            return
        raise InsufficientPermissionsError(
            f"Requires the platform role {role}.",
            context={"manufacturer_id": caller.manufacturer_id, "permission": role, "operation_context": "admin"},
        )

    async def _require_permission(self, state: RequestState, caller: ManufacturerContext, rule: RouteRule) -> None:
        permission = str(rule.permission)
        if state.permissions is not None and permission not in state.permissions:
            raise InsufficientPermissionsError(
                f"This API key does not have the permission {permission}.",
                context={
                    "manufacturer_id": caller.manufacturer_id,
                    "permission": permission,
                    "tier": caller.tier,
                    "operation_context": rule.name or "",
                },
            )
        await self._rbac.enforce_permission(state.entitled or caller, permission, rule.name or "")
        state.granted.add(permission)

    async def _require_recent_mfa(self, state: RequestState) -> None:
        if state.session_id is None:
            raise MFARequiredError(
                "Requires a session with a recent second factor: sign in, then POST /v1/mfa/step-up."
            )
        await self._foundation.auth.require_recent_mfa(
            state.session_id, max_age=self._foundation.settings.recent_mfa_seconds
        )

    async def _take(self, state: RequestState, rule: RouteRule) -> None:
        """Take what the route consumes, all of it or nothing."""
        caller = state.caller
        if caller is None or not rule.consumes:
            return
        state.taken_at = self._foundation.clock.now()
        await self._rbac.enforce_usage_limits(state.entitled or caller, dict(rule.consumes), rule.name or "")
        state.taken = list(rule.consumes)

    async def _give_back(self, state: RequestState) -> None:
        taken, state.taken = state.taken, []
        if state.caller is not None:
            for resource, amount in taken:
                await self._rbac.refund_usage(state.caller.manufacturer_id, resource, amount, taken_at=state.taken_at)

    async def _run(self, scope: Scope, receive: Receive, send: Send, state: RequestState, started: float) -> None:
        status = 0

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status = message["status"]
                if status >= 500 or state.repeated or state.not_run:
                    await self._give_back(state)
                headers = list(message.get("headers", ()))
                message["headers"] = [
                    *headers,
                    (b"x-request-id", state.request_id.encode()),
                    *state.headers,
                    *missing_from(headers),
                ]
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except SecurityError as error:
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
        raw += [*state.headers, *missing_from(raw)]
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": getattr(error, "code", "REFUSED")})
        else:
            await send({"type": "http.response.start", "status": status, "headers": raw})
            await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
        self._record(scope, state, status, started, code=getattr(error, "code", "INTERNAL_ERROR"))

    def _record(
        self, scope: Scope, state: RequestState, status: int, started: float, *, code: str | None = None
    ) -> None:
        """One event a request, of those that someone made or that were refused."""
        caller = state.caller
        if caller is None and status < 400:
            return
        self._foundation.sink.emit(
            event(
                event_kinds.WEB_REQUEST_REFUSED if code else event_kinds.WEB_REQUEST_SERVED,
                severity=Severity.NOTICE if code else Severity.INFO,
                manufacturer_id=None if caller is None else caller.manufacturer_id,
                account_id=None if caller is None else caller.account_id,
                session_id=state.session_id,
                ip_address=state.client.ip_address,
                request_id=state.request_id,
                method=scope.get("method", "WEBSOCKET"),
                path=shown_path(scope["path"]),
                route=state.route,
                status=status,
                code=code,
                by=state.by,
                granted=sorted(state.granted),
                took=dict(state.taken),
                ms=round((time.perf_counter() - started) * 1000, 2),
            )
        )


def _wrong_credentials(wanted: str) -> AuthorizationError:
    if wanted == "session":
        sentence = "API keys cannot make this call: sign in as a person and send the session's token."
    else:
        sentence = "This call takes an API key, not a session."
    return AuthorizationError(sentence, code="CREDENTIAL_NOT_ALLOWED")
