"""Route rules: what the middleware asks of a request before the application sees it."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from typing import Any, Protocol, get_args

from gatewright.errors import ConfigurationError
from gatewright.inspection_policy import Exclusion, Mode, ThreatName, exclusion_faults
from gatewright.records import Record

Scope = MutableMapping[str, Any]
"""An ASGI scope."""

SECRET_FIELDS = frozenset({"password", "new_password", "current_password"})
"""Fields whose values are compared, never interpreted: a good password may well look like an attack. No code or token
does, and an application may mean quite another thing by ``code``."""


CREDENTIALS = ("either", "session", "key")
"""Kinds of credentials that a route may ask for."""


class RouteRule(Record, frozen=True, kw_only=True):
    """What one route asks for.

    ``auth`` is ``required``, ``optional`` (a token that is there must be good) or ``none`` (not looked at).
    ``credentials`` is ``session`` (a person's token or cookie), ``key`` (an API key) or ``either``. ``audience`` says
    in words who calls a route that asks for no permission.
    ``consumes`` are resources and amounts taken once a request. ``inspection`` is ``off``, ``shadow`` or
    ``block``, None for the default of the installation; ``threats`` gives single threat types another mode.
    ``exclude`` names top-level fields of the body that are not inspected (of those that hold secrets, the text
    only). ``exclusions`` are fields whose findings are recorded and not acted on, until a day.
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
                    f"A route treats {kind!r} as {mode!r}; there are the threat types {', '.join(kinds)}, "
                    f"and the modes {', '.join(modes)}."
                )
        if self.credentials not in CREDENTIALS:
            known = ", ".join(CREDENTIALS)
            raise ConfigurationError(f"A route takes credentials {self.credentials!r}; choose one of {known}.")
        if self.inspection is not None and self.inspection not in modes:
            raise ConfigurationError(f"A route is inspected in mode {self.inspection!r}; choose {', '.join(modes)}.")
        for exclusion in self.exclusions:
            for key, rule, remedy in exclusion_faults(exclusion):
                raise ConfigurationError(f"An exclusion of a route, {'.'.join(key)}: {rule}; {remedy}.")


DEFAULT = RouteRule()


class RuleSource(Protocol):
    """Finds the rule of a request."""

    def resolve(self, scope: Scope) -> RouteRule: ...


class PathRules:
    """Rules by method and path pattern, for any ASGI application; the first that fits decides.

    Args:
        rules: (method or ``*``, pattern, rule); in a pattern ``{name}`` stands for one segment and a last
            ``*`` for the rest: ``("POST", "/products/{id}/images/*", RouteRule(permission="upload_products"))``.
        default: the rule of every other request.
    """

    def __init__(self, rules: Iterable[tuple[str, str, RouteRule]] = (), default: RouteRule = DEFAULT) -> None:
        self._rules = [(method.upper(), path_pattern(path), rule) for method, path, rule in rules]
        self._default = default

    def resolve(self, scope: Scope) -> RouteRule:
        method, path = scope.get("method", "GET"), scope["path"]
        for wanted, pattern, rule in self._rules:
            if is_for(wanted, method) and pattern.fullmatch(path):
                return rule
        return self._default


def is_for(wanted: str, method: str) -> bool:
    """Whether a rule for the method ``wanted``, or ``*``, is one for ``method``; HEAD is GET (RFC 9110 §9.3.2)."""
    return wanted in ("*", method) or (method == "HEAD" and wanted == "GET")


def path_pattern(path: str) -> re.Pattern[str]:
    """The expression for a path in which ``{name}`` stands for one segment and ``*`` for anything, line feeds too."""
    parts = re.split(r"(\{\w+\}|\*)", path)
    words = (".*" if p == "*" else "[^/]+" if p.startswith("{") else re.escape(p) for p in parts)
    return re.compile("".join(words), re.DOTALL)


class RouterRules:
    """Rules read off the dependencies of a Starlette or FastAPI application's own routes.

    Matching is the router's own, so the middleware and the application cannot disagree about which route a
    path means. Results are remembered for up to ``size`` paths.
    """

    def __init__(self, app: Any, default: RouteRule = DEFAULT, *, size: int = 4096) -> None:
        self._app = app
        self._default = default
        self._size = size
        self._known: OrderedDict[tuple[str, str], RouteRule] = OrderedDict()

    def resolve(self, scope: Scope) -> RouteRule:
        key = (scope.get("method", ""), scope["path"])
        rule = self._known.get(key)
        if rule is None:
            rule = self._find(self._app.routes, scope) or self._default
            self._known[key] = rule
            if len(self._known) > self._size:
                self._known.popitem(last=False)
        return rule

    def _find(self, routes: Sequence[Any], scope: Scope) -> RouteRule | None:
        from starlette.routing import Match

        for route in routes:
            match, child = route.matches(scope)
            if match == Match.FULL:
                inner = inner_routes(route)
                if inner:
                    return self._find(inner, {**scope, **child})
                return rule_of(route)
        return None


def inner_routes(route: Any) -> Sequence[Any]:
    """The routes of a mount, or of a router that newer FastAPI versions include as one route."""
    if hasattr(route, "effective_candidates"):
        return [*route.effective_candidates(), *route.effective_low_priority_routes()]
    return getattr(route, "routes", None) or ()


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
        raise ValueError(f"One route asks for two permissions, {a.permission} and {b.permission}; declare one.")
    if {a.credentials, b.credentials} == {"session", "key"}:
        raise ValueError("One route asks for a session and for an API key; declare one of them.")
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
