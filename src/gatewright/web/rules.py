"""Route rules: what the middleware requires of a request."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, get_args

from msgspec.structs import replace

from gatewright.errors import ConfigurationError
from gatewright.inspection_policy import Exclusion, Mode, ThreatName, exclusion_faults
from gatewright.records import Record
from gatewright.web.paths import (
    MAX_CACHED_PATH,
    WEBSOCKET,
    Scope as Scope,
    check_template,
    method_of,
    operation,
    path_pattern,
    route_path,
    rule_covers,
)

SECRET_FIELDS = frozenset({"password", "new_password", "current_password"})
"""Fields whose values are compared, never interpreted: a good password may well look like an attack. No code or token
does, and an application may mean quite another thing by ``code``."""


CREDENTIALS = ("either", "session", "key")
"""Kinds of credentials that a route may ask for."""


class RouteRule(Record, frozen=True, kw_only=True):
    """What one route asks for.

    ``auth`` is ``required``, ``optional`` (a token, if sent, must be valid) or ``none`` (not checked).
    ``credentials`` is ``session`` (a person's token or cookie), ``key`` (an API key) or ``either``. ``audience`` says
    in words who calls a route that asks for no permission.
    ``consumes`` are resources and amounts taken once a request. ``inspection`` is ``off``, ``shadow`` or
    ``block``, None for the default of the installation; ``threats`` gives single threat types another mode.
    ``exclude`` names top-level fields of the body that are not inspected (of those that hold secrets, the text
    only). ``exclusions`` are fields whose findings are recorded but not acted on, until a date.
    ``role`` is a platform role; ``recent_mfa`` asks for a second factor that is not old. ``max_body`` is in
    bytes. ``action`` names a rate limit of the policy.
    """

    auth: str = "optional"
    credentials: str = "either"
    permission: str | None = None
    audience: str | None = None
    consumes: tuple[tuple[str, int], ...] = ()
    inspection: str | None = None
    threats: Mapping[str, str] = {}
    exclude: frozenset[str] = SECRET_FIELDS
    exclusions: tuple[Exclusion, ...] = ()
    role: str | None = None
    recent_mfa: bool = False
    max_body: int | None = None
    action: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        modes, kinds = get_args(Mode), get_args(ThreatName)
        for kind, mode in self.threats.items():
            if kind not in kinds or mode not in modes:
                raise ConfigurationError(
                    f"A route treats {kind!r} as {mode!r}; the threat types are {', '.join(kinds)}, "
                    f"and the modes {', '.join(modes)}."
                )
        if self.credentials not in CREDENTIALS:
            known = ", ".join(CREDENTIALS)
            raise ConfigurationError(f"Unknown credentials {self.credentials!r}; choose one of {known}.")
        if self.inspection is not None and self.inspection not in modes:
            raise ConfigurationError(f"Unknown inspection mode {self.inspection!r}; choose {', '.join(modes)}.")
        for exclusion in self.exclusions:
            for key, rule, remedy in exclusion_faults(exclusion):
                raise ConfigurationError(f"An exclusion of a route, {'.'.join(key)}: {rule}; {remedy}.")


DEFAULT = RouteRule()


class RuleSource(Protocol):
    """Finds the rule of a request."""

    def resolve(self, scope: Scope) -> RouteRule: ...


UNDECLARED = RouteRule(auth="none", inspection="off")
"""The rule of a request that no rule covers: it is counted, and then refused."""


class PathRules:
    """Rules by method and path pattern, for any ASGI application; the first that fits decides.

    Patterns are those of Starlette, and match as its router does: below ``root_path``, decoded, by case, and with or
    without the trailing slash as written. A request that no rule covers is refused: 403 ``ROUTE_NOT_DECLARED``.

    Args:
        rules: (method, pattern, rule); in a pattern ``{name}`` represents one segment, ``{id:int}`` and
            ``{rest:path}`` for what Starlette takes them for, and a last ``*`` for the rest:
            ``("POST", "/products/{id}/images/*", RouteRule(permission="upload_products"))``. The method ``*`` is any,
            ``WEBSOCKET`` a WebSocket, and GET covers HEAD. A rule without a name gets ``POST /products/{id}/images/*``.
        default: the rule of every other request, in place of the refusal.

    Raises:
        ConfigurationError: a pattern can never match, or would take long to.
    """

    def __init__(self, rules: Iterable[tuple[str, str, RouteRule]] = (), default: RouteRule = UNDECLARED) -> None:
        self._rules = []
        for method, path, rule in rules:
            check_template(path)
            named = rule if rule.name is not None else replace(rule, name=operation(method.upper(), path))
            self._rules.append((method.upper(), path_pattern(path), named))
        self._default = default

    def resolve(self, scope: Scope) -> RouteRule:
        method, path = method_of(scope), route_path(scope)
        for wanted, pattern, rule in self._rules:
            if rule_covers(wanted, method) and pattern.fullmatch(path):
                return rule
        return self._default


class RouterRules:
    """Rules read off the dependencies of a Starlette or FastAPI application's own routes.

    Matching is the router's own, so the middleware and the application cannot disagree about which route a path
    means. A rule without a name gets the method and template of its route, ``POST /products/{id}``. Results are
    remembered for up to ``size`` requests by all that routing looked at; where that was more than type, method, path
    and root path, as the header of a Host route, the router is asked each time.
    """

    def __init__(self, app: Any, default: RouteRule = DEFAULT, *, size: int = 4096) -> None:
        self._app = app
        self._default = default
        self._size = size
        self._known: OrderedDict[tuple[str, str, str, str], RouteRule] = OrderedDict()
        self._of_routes: dict[tuple[int, str], tuple[Any, RouteRule]] = {}

    def resolve(self, scope: Scope) -> RouteRule:
        key = (scope["type"], scope.get("method", ""), scope["path"], scope.get("root_path", ""))
        rule = self._known.get(key)
        if rule is None:
            seen = _WatchedScope(scope, set())
            rule = self._find(self._app.routes, seen)
            if seen.beyond or len(key[2]) > MAX_CACHED_PATH:
                return rule
            self._known[key] = rule
            if len(self._known) > self._size:
                self._known.popitem(last=False)
        return rule

    def _find(self, routes: Sequence[Any], scope: _WatchedScope, prefix: str = "") -> RouteRule:
        from starlette.routing import Match

        for candidate in routes:
            match, child = candidate.matches(scope)
            if match == Match.FULL:
                route = getattr(candidate, "starlette_route", None) or candidate
                inner = inner_routes(route)
                if inner:
                    return self._find(inner, scope.below(child), prefix + _mounted_at(route))
                return self._named(route, scope, prefix)
        return self._default

    def _named(self, route: Any, scope: Scope, prefix: str) -> RouteRule:
        """The rule of a route; the same one each time."""
        template = prefix + (getattr(route, "path_format", None) or "")
        if scope["type"] == "websocket":
            template = operation(WEBSOCKET, template)
        elif getattr(route, "methods", None):
            template = operation(scope["method"], template)
        kept = self._of_routes.get((id(route), template))
        if kept is None:
            rule = rule_of(route) or self._default
            named = replace(rule, name=template) if rule.name is None and template else rule
            kept = self._of_routes[id(route), template] = (route, named)
        return kept[1]


_ROUTED_BY = frozenset({"type", "method", "path", "root_path"})
_ROUTED_BY |= {"path_params", "app_root_path", "endpoint", "route", "router", "fastapi"}  # made from these on the way


class _WatchedScope(dict[str, Any]):
    """A copy of a scope that notices in ``beyond`` what routing reads of it, besides what rules are remembered by.

    It holds only what may be read freely, so that such a read costs no more than one of a dictionary.
    """

    def __init__(self, scope: Mapping[str, Any], beyond: set[str]) -> None:
        super().__init__((name, scope[name]) for name in _ROUTED_BY if name in scope)
        self.beyond = beyond
        self._scope = scope

    def below(self, child: Mapping[str, Any]) -> _WatchedScope:
        """The scope of the routes of a mount."""
        return _WatchedScope({**self._scope, **dict(super().items()), **child}, self.beyond)

    def __missing__(self, name: str) -> Any:
        self.beyond.add(name)
        return self._scope[name]

    def __contains__(self, name: object) -> bool:
        if name not in _ROUTED_BY:
            self.beyond.add(str(name))
        return super().__contains__(name) or name in self._scope

    def get(self, name: str, default: Any = None) -> Any:
        if name in _ROUTED_BY:
            return super().get(name, default)
        return self[name] if name in self else default  # noqa: SIM401 - get() is this method

    def _all(self) -> None:
        """Become the whole scope, for code that iterates over or copies it."""
        self.beyond.add("*")
        for name in self._scope:
            self.setdefault(name, self._scope[name])

    def __iter__(self) -> Iterator[str]:
        self._all()
        return super().__iter__()

    def keys(self) -> Any:
        self._all()
        return super().keys()

    def items(self) -> Any:
        self._all()
        return super().items()

    def values(self) -> Any:
        self._all()
        return super().values()


def inner_routes(route: Any) -> Sequence[Any]:
    """The routes of a mount, or of a router that newer FastAPI versions include as one route."""
    if hasattr(route, "effective_candidates"):
        return [*route.effective_candidates(), *route.effective_low_priority_routes()]
    return getattr(route, "routes", None) or ()


def _mounted_at(route: Any) -> str:
    """The template of a mount's own path; nothing for a host or an included router."""
    template: str = getattr(route, "path_format", None) or ""
    return template.removesuffix("/{path}")


def rule_of(route: Any) -> RouteRule | None:
    """The rule in a route's dependencies, merged where there are several."""
    found: RouteRule | None = None
    waiting = [route.dependant] if hasattr(route, "dependant") else []
    while waiting:
        dependant = waiting.pop()
        rule = getattr(dependant.call, "rule", None)
        if isinstance(rule, RouteRule):
            found = rule if found is None else _merge(found, rule)
        waiting.extend(dependant.dependencies)
    return found


def covers(checked: RouteRule, asked: RouteRule) -> bool:
    """Whether what the middleware checked is at least what a route asks for."""
    return (
        _STRICTNESS[checked.auth] >= _STRICTNESS[asked.auth]
        and asked.credentials in ("either", checked.credentials)
        and asked.permission in (None, checked.permission)
        and asked.role in (None, checked.role)
        and asked.action in (None, checked.action)
        and checked.recent_mfa >= asked.recent_mfa
        and set(asked.consumes) <= set(checked.consumes)
    )


_STRICTNESS = {"none": 0, "optional": 1, "required": 2}


def _merge(a: RouteRule, b: RouteRule) -> RouteRule:
    """Both rules at once; two different permissions on one route are a mistake that is named."""
    if a.permission and b.permission and a.permission != b.permission:
        raise ValueError(f"A route requires two permissions, {a.permission} and {b.permission}; declare one.")
    if {a.credentials, b.credentials} == {"session", "key"}:
        raise ValueError("A route requires both a session and an API key; declare one of them.")
    return RouteRule(
        credentials=b.credentials if a.credentials == "either" else a.credentials,
        audience=a.audience or b.audience,
        auth=max(a.auth, b.auth, key=_STRICTNESS.__getitem__),
        permission=a.permission or b.permission,
        consumes=a.consumes + b.consumes,
        inspection=a.inspection or b.inspection,
        threats={**b.threats, **a.threats},
        exclude=a.exclude | b.exclude,
        exclusions=a.exclusions + b.exclusions,
        role=a.role or b.role,
        recent_mfa=a.recent_mfa or b.recent_mfa,
        max_body=a.max_body or b.max_body,
        action=a.action or b.action,
        name=a.name or b.name,
    )
