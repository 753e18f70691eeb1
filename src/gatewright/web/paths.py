"""Methods, paths and path patterns, read as the application's router reads them."""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from typing import Any

from gatewright.errors import ConfigurationError
from gatewright.web.problems import Problem

Scope = MutableMapping[str, Any]
"""An ASGI scope."""

WEBSOCKET = "WEBSOCKET"
"""The method of a rule for WebSockets."""

MAX_PATH = 4_096
"""Maximum length of a path. Routers match paths with regular expressions, and ``{name}.{ext}`` takes time quadratic in
the length."""

MAX_CACHED_PATH = 512
"""Maximum length of a path kept in a cache, which anonymous clients can fill."""

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_PARAMETER = re.compile(r"(\{[a-zA-Z_][a-zA-Z0-9_]*(?::[a-zA-Z_][a-zA-Z0-9_]*)?\}|\*)")


def check_path(scope: Scope) -> None:
    """Refuse a path that is too long or contains control characters (C0, DEL, C1), percent-encoded or not.

    Routers, logs and applications treat control characters differently: Starlette's ``/products`` also matches
    ``/products%0a``. Checking the decoded path is enough, since it contains every control character of the raw one.

    Raises:
        Problem: 414 for a path that is too long, 400 for a control character.
    """
    path: str = scope["path"]
    if len(path) > MAX_PATH:
        raise Problem(
            414, "PATH_TOO_LONG", f"Path too long: at most {MAX_PATH:,} characters are allowed. Send data in the body."
        )
    if _CONTROLS.search(path) is not None:
        raise Problem(
            400,
            "INVALID_PATH",
            "Control character in path: U+0000 to U+001F and U+007F to U+009F are not allowed, percent-encoded (%0A) "
            "or not. Remove it from the URL.",
        )


def shown_path(path: str, limit: int = 200) -> str:
    """The first ``limit`` characters of a path for a log line, with control characters percent-encoded."""
    return _CONTROLS.sub(lambda found: f"%{ord(found[0]):02X}", path[:limit])


def method_of(scope: Scope) -> str:
    """The method of a request: ``WEBSOCKET`` for a WebSocket, and empty for an HTTP method of that name."""
    if scope.get("type") == "websocket":
        return WEBSOCKET
    method: str = scope.get("method", "GET")
    return "" if method == WEBSOCKET else method


def route_path(scope: Scope) -> str:
    """The path below ``root_path``, which Starlette's router matches."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    if root and path.startswith(root) and path[len(root) :][:1] in ("", "/"):
        return path[len(root) :]
    return path


def rule_covers(rule_method: str, method: str) -> bool:
    """Whether a rule for ``rule_method``, or ``*``, applies to ``method``. HEAD counts as GET (RFC 9110 §9.3.2)."""
    return rule_method in ("*", method) or (method == "HEAD" and rule_method == "GET")


def operation(method: str, template: str) -> str:
    """The name of an operation, such as ``POST /products/{id}``. HEAD is named GET, and ``*`` is omitted."""
    return template if method == "*" else f"{'GET' if method == 'HEAD' else method} {template}"


def path_pattern(path: str) -> re.Pattern[str]:
    """Compile a path in Starlette's syntax: ``{name}`` matches one segment, and ``{id:int}`` or ``{rest:path}`` as
    their convertor does. ``*`` matches anything, line feeds included."""
    parts = _PARAMETER.split(path)
    expressions = (_expression(part) if index % 2 else re.escape(part) for index, part in enumerate(parts))
    return re.compile("".join(expressions), re.DOTALL)


def _expression(parameter: str) -> str:
    if parameter == "*":
        return ".*"
    kind = parameter[1:-1].partition(":")[2] or "str"
    expression = convertors().get(kind)
    return re.escape(parameter) if expression is None else f"(?:{expression})"


def check_template(path: str) -> None:
    """Refuse a path pattern that never matches, or is slow to match.

    Raises:
        ConfigurationError: the pattern does not begin with ``/``, has a misplaced brace or ``*``, an unknown
            convertor, or too many parameters of unbounded length.
    """
    parts = _PARAMETER.split(path)
    kinds = [part[1:-1].partition(":")[2] for part in parts[1::2]]
    unknown = [kind for kind in kinds if kind and kind not in convertors()]
    if not path.startswith("/") and path != "*":
        fault = 'must begin with "/", or be "*" for every path'
    elif any("{" in part or "}" in part for part in parts[::2]):
        fault = "has a brace outside a parameter; write {name} or {name:convertor}"
    elif unknown:
        fault = f"has the unknown convertor {unknown[0]!r}; use one of {', '.join(sorted(convertors()))}"
    elif "*" in path[:-1]:
        fault = "has a * before its end, where it matches the rest of a path; use {name} for one segment"
    elif _unbounded_parts(path) > 1:
        fault = "is too slow to match; use at most one {name:path} before the end, or one second {name} in a segment"
    else:
        return
    raise ConfigurationError(f"The path pattern {path!r} {fault}.")


def _unbounded_parts(path: str) -> int:
    """How many parts of a pattern may backtrack. Each multiplies the matching time by the length of the path."""
    spans: int = sum(part.endswith(":path}") for part in _PARAMETER.split(path)[1::2]) - path.endswith(":path}")
    return spans + sum(max(0, segment.count("{") - 1) for segment in path.split("/"))


def convertors() -> dict[str, str]:
    """The expressions of Starlette's convertors, including those that the application registered."""
    from starlette.convertors import CONVERTOR_TYPES

    return {name: convertor.regex for name, convertor in CONVERTOR_TYPES.items()}
