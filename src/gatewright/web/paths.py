"""Method and path of a request, as the application's router reads them."""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from typing import Any

from gatewright.errors import ConfigurationError
from gatewright.web.problems import Problem

Scope = MutableMapping[str, Any]
"""An ASGI scope."""

WEBSOCKET = "WEBSOCKET"
"""Stands for the method where a rule is one for WebSockets."""

LONGEST_PATH = 4_096
"""Characters of the longest path that is routed. Routers match paths with regular expressions, and ``{name}.{ext}``
takes time that grows with the square of the length."""

LONGEST_REMEMBERED = 512
"""Characters of the longest path about which anything is remembered: memory that strangers fill needs a bound."""

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_PARAMETER = re.compile(r"(\{[a-zA-Z_][a-zA-Z0-9_]*(?::[a-zA-Z_][a-zA-Z0-9_]*)?\}|\*)")


def check_path(scope: Scope) -> None:
    """Refuse a path that is too long or has control characters (C0, DEL, C1), percent-encoded ones included.

    Routers, logs and the applications behind read control characters differently: Starlette's ``/products`` also
    matches ``/products%0a``. Only the decoded path needs a look, since every control in the raw one is in it too.
    """
    path: str = scope["path"]
    if len(path) > LONGEST_PATH:
        raise Problem(
            414, "PATH_TOO_LONG", f"The path is too long: at most {LONGEST_PATH:,} characters. Send data in the body."
        )
    if _CONTROLS.search(path) is not None:
        raise Problem(
            400,
            "INVALID_PATH",
            "The path contains a control character: U+0000 to U+001F and U+007F to U+009F are not allowed, percent-"
            "encoded (%0A) or not. Remove it from the URL.",
        )


def shown_path(path: str, limit: int = 200) -> str:
    """The first characters of a path for a log line: control characters are percent-encoded."""
    return _CONTROLS.sub(lambda found: f"%{ord(found[0]):02X}", path[:limit])


def method_of(scope: Scope) -> str:
    """The method of a request, ``WEBSOCKET`` for a WebSocket. An HTTP method of that name is not one."""
    if scope.get("type") == "websocket":
        return WEBSOCKET
    method: str = scope.get("method", "GET")
    return "" if method == WEBSOCKET else method


def route_path(scope: Scope) -> str:
    """The path below ``root_path``, which is what Starlette's router matches."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    if root and path.startswith(root) and path[len(root) :][:1] in ("", "/"):
        return path[len(root) :]
    return path


def is_for(wanted: str, method: str) -> bool:
    """Whether a rule for the method ``wanted``, or ``*``, is one for ``method``; HEAD is GET (RFC 9110 §9.3.2)."""
    return wanted in ("*", method) or (method == "HEAD" and wanted == "GET")


def operation(method: str, template: str) -> str:
    """The name of an operation, ``POST /products/{id}``; HEAD shares the name of GET. ``*`` is left out."""
    return template if method == "*" else f"{'GET' if method == 'HEAD' else method} {template}"


def path_pattern(path: str) -> re.Pattern[str]:
    """The expression for a path in Starlette's syntax: ``{name}`` is one segment, ``{id:int}``, ``{rest:path}`` and
    the other convertors what Starlette takes them for. ``*`` is anything, line feeds too."""
    parts = _PARAMETER.split(path)
    words = (_expression(part) if place % 2 else re.escape(part) for place, part in enumerate(parts))
    return re.compile("".join(words), re.DOTALL)


def _expression(parameter: str) -> str:
    if parameter == "*":
        return ".*"
    kind = parameter[1:-1].partition(":")[2] or "str"
    expression = convertors().get(kind)
    return re.escape(parameter) if expression is None else f"(?:{expression})"


def check_template(path: str) -> None:
    """Refuse a path pattern that would never match, or that takes long to match.

    Raises:
        ConfigurationError: it does not begin with ``/``, has a brace or ``*`` out of place, a convertor that Starlette
            does not know, or too many parts of open length.
    """
    parts = _PARAMETER.split(path)
    kinds = [part[1:-1].partition(":")[2] for part in parts[1::2]]
    unknown = [kind for kind in kinds if kind and kind not in convertors()]
    if not path.startswith("/") and path != "*":
        fault = 'must begin with "/", or be "*" for every path'
    elif any("{" in part or "}" in part for part in parts[::2]):
        fault = "has braces that name no parameter; write {name} or {name:convertor}"
    elif unknown:
        fault = f"has the unknown convertor {unknown[0]!r}; use one of {', '.join(sorted(convertors()))}"
    elif "*" in path[:-1]:
        fault = "has a * before its end, and * is the rest of a path; use {name} for one segment"
    elif _open_parts(path) > 1:
        fault = "takes too long to match; use at most one {name:path} before the end, or one second {name} in a segment"
    else:
        return
    raise ConfigurationError(f"The path pattern {path!r} {fault}.")


def _open_parts(path: str) -> int:
    """How many parts of a pattern a match may have to try again and again: each multiplies its time by the length."""
    spans: int = sum(part.endswith(":path}") for part in _PARAMETER.split(path)[1::2]) - path.endswith(":path}")
    return spans + sum(max(0, segment.count("{") - 1) for segment in path.split("/"))


def convertors() -> dict[str, str]:
    """The convertors of Starlette, and those that the application registered there, with their expressions."""
    from starlette.convertors import CONVERTOR_TYPES

    return {name: convertor.regex for name, convertor in CONVERTOR_TYPES.items()}
