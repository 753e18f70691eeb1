"""Header fields: bounds of requests, what is inspected, and security headers of responses.

Where a header that decides who is calling comes twice, a proxy in front and the application behind may each go by
a different one. Such a request is refused instead of guessed at (RFC 9110 §5.3, RFC 9112 §3.2).

What was found harmless is remembered, since a client sends the same headers with every request: for such a one,
inspection is one look-up in a table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from gatewright.caching import BoundedCache
from gatewright.web.authenticate import SESSION_COOKIE
from gatewright.web.body.forms import collect
from gatewright.web.problems import Problem
from gatewright.web.rules import Scope

SENT_ONCE = frozenset({b"authorization", b"x-api-key", b"x-device-token", b"idempotency-key", b"host"})

_COOKIE_NAME = SESSION_COOKIE.encode()
_LINE_OVERHEAD = 4
"""Bytes of a header line besides name and value: the colon, a space, and the line's end."""


class HeaderBounds:
    """Refuses requests whose headers are too many, too large, or contradict each other.

    Args:
        max_count: header lines.
        max_bytes: bytes of the request target and all header lines together.
    """

    def __init__(self, *, max_count: int, max_bytes: int) -> None:
        self._max_count = max_count
        self._max_bytes = max_bytes

    def check(self, scope: Scope, fields: Mapping[bytes, bytes]) -> None:
        """Return when the headers are within bounds; ``fields`` is the first value of each name.

        Raises:
            Problem: 431 for too many or too large, 400 for a repeated one.
        """
        headers = scope["headers"]
        if len(headers) > self._max_count:
            raise Problem(
                431,
                "TOO_MANY_HEADERS",
                f"The request has {len(headers):,} header lines; at most {self._max_count:,} are accepted. Send fewer.",
            )
        target = scope.get("raw_path") or scope["path"].encode("utf-8", "surrogatepass")
        size = len(target) + len(scope.get("query_string", b"")) + _LINE_OVERHEAD * len(headers)
        for name, value in headers:
            size += len(name) + len(value)
        if size > self._max_bytes:
            raise Problem(
                431,
                "HEADERS_TOO_LARGE",
                f"Request target and headers have {size:,} bytes; at most {self._max_bytes:,} are accepted. "
                "Send shorter ones, for example fewer cookies.",
            )
        if len(fields) < len(headers):
            _refuse_repeated(name for name, _ in headers)
        if b"cookie" in fields and _session_cookies(headers) > 1:
            raise Problem(
                400, "REPEATED_COOKIE", f"The cookie {SESSION_COOKIE} was sent more than once; send it exactly once."
            )


def _refuse_repeated(names: Iterable[bytes]) -> None:
    seen: set[bytes] = set()
    for name in names:
        if name in SENT_ONCE and name in seen:
            raise Problem(
                400, "REPEATED_HEADER", f"The header {name.decode()} was sent more than once; send it exactly once."
            )
        seen.add(name)


def _session_cookies(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """How many cookies have the session's name, in all Cookie headers (RFC 9113 §8.2.3 allows several)."""
    return sum(
        part.partition(b"=")[0].strip() == _COOKIE_NAME
        for name, value in headers
        if name == b"cookie" and _COOKIE_NAME in value
        for part in value.split(b";")
    )


Key = bytes | tuple[bytes, ...]

OPAQUE = frozenset(
    {
        # credentials, and tokens that are compared
        b"authorization",
        b"proxy-authorization",
        b"x-api-key",
        b"x-device-token",
        b"x-csrf-token",
        b"x-xsrf-token",
        b"dpop",
        b"idempotency-key",
        # signatures and digests
        b"signature",
        b"signature-input",
        b"stripe-signature",
        b"webhook-signature",
        b"x-hub-signature",
        b"x-hub-signature-256",
        b"content-digest",
        b"repr-digest",
        b"digest",
        b"content-md5",
        # validators and dates
        b"if-match",
        b"if-none-match",
        b"if-range",
        b"if-modified-since",
        b"if-unmodified-since",
        b"date",
        # ids of requests and traces
        b"traceparent",
        b"tracestate",
        b"b3",
        b"x-b3-traceid",
        b"x-b3-spanid",
        b"x-b3-parentspanid",
        b"x-b3-sampled",
        b"x-request-id",
        b"x-correlation-id",
        b"x-amzn-trace-id",
        b"x-cloud-trace-context",
        b"sentry-trace",
        b"cf-ray",
        # the connection
        b"connection",
        b"content-length",
        b"host",
        b"keep-alive",
        b"te",
        b"transfer-encoding",
        b"upgrade",
        b"sec-websocket-key",
        b"sec-websocket-version",
        b"sec-websocket-extensions",
    }
)
"""Headers that are compared, counted or passed along, never interpreted. Only where the value has their form: see
:data:`_TOKENS`. ``${jndi:...}`` in ``Authorization`` or ``traceparent`` is aimed at the log and is inspected."""

CREDENTIALS = frozenset(
    {"authorization", "proxy-authorization", "x-api-key", "x-device-token", "x-csrf-token", "x-xsrf-token", "dpop"}
)
"""Headers whose values no event shows."""

TARGETS_ASKED_ABOUT = frozenset({b"x-original-uri", b"x-original-url", b"x-forwarded-uri"})
"""Where a proxy that asks whether to let a request pass names its target: nginx, its ingress, Traefik. They are
inspected as path and query."""

_FROM_A_PAGE = frozenset({b"origin", b"referer"})
_ADDRESS = re.compile(r"\Ahttps?://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?=[/?#]|\Z)")
"""Scheme, host and port of a page. Browsers name it with every call; that it lies on this machine or in a
private network is no attack, whatever the same address would be as a value."""

_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_WORD = _LETTERS + b"-"
_NAME = _WORD + b"_"
_TOKENS = _LETTERS + b' -._~+/=:;,"@*?'
_OWN_COOKIES = SESSION_COOKIE.encode()
_SECRET_PATHS = tuple(
    f"$.headers{step}"
    for name in (*sorted(CREDENTIALS), "cookie")
    for step in ([f"['{name}']", f".{name}"] if name != "cookie" else [f".cookie['{SESSION_COOKIE}"])
)
_FLAT_OBJECT = re.compile(rb"\{(?:[A-Za-z]++:(?:%27[A-Za-z0-9=+/-]*+%27|[A-Za-z0-9]++)(?:%2C)?+)*+\}")
"""Words, numbers and quoted tokens as Cookiebot writes them, ``{stamp:%27q5==%27%2Cnecessary:true}``: to a model it
resembles a template, and no attack can be written in it."""
_ESCAPE = re.compile(r"\\(?:([0-3][0-7][0-7])|(.))", re.DOTALL)

MEMORY = 4_096
"""Values found harmless that are remembered for each detection level."""

MAX_REMEMBERED = 2_048
"""Bytes of the longest value that is remembered."""


class HeaderReader:
    """Picks what is to be inspected of a request's headers, without what was found harmless before."""

    def __init__(self) -> None:
        self._harmless: dict[int, BoundedCache[Key, None]] = {}

    def read(self, headers: Iterable[tuple[bytes, bytes]], level: int) -> tuple[dict[str, Any], list[Key]]:
        """The values to inspect by header, and what to :meth:`remember` when they are harmless.

        Args:
            headers: of the request, names in lower case.
            level: detection level; what passed at one level is inspected again at a higher one.
        """
        known: Mapping[Key, None] = self._harmless.get(level, {})
        found: dict[str, Any] = {}
        new: list[Key] = []
        headers = headers if isinstance(headers, list) else list(headers)
        for name, raw in headers if len(dict(headers)) == len(headers) else _joined(headers):
            if name == b"cookie":
                self._read_cookies(raw, known, found, new)
            elif name in _FROM_A_PAGE:
                if (name, raw) not in known:
                    new.append((name, raw))
                    if text := _ADDRESS.sub("", raw.decode("latin-1")):
                        found[name.decode("latin-1")] = text
            elif raw in known or not raw.translate(None, _WORD) or name in TARGETS_ASKED_ABOUT:
                continue
            elif name not in OPAQUE or raw.translate(None, _TOKENS) or b".." in raw:
                new.append(raw)
                found[name.decode("latin-1")] = raw.decode("latin-1")
        return found, new

    def _read_cookies(self, raw: bytes, known: Mapping[Key, None], found: dict[str, Any], new: list[Key]) -> None:
        """Each cookie by its name, as frameworks read it; without our own, which is a secret."""
        if (b"cookie", raw) in known:
            return
        pairs: list[tuple[str, str]] = []
        for cookie in raw.split(b";"):
            name, equals, value = (part.strip() for part in cookie.partition(b"="))
            if not equals:
                name, value = b"", name
            key = (b"cookie", name, value)
            ordinary = not name.translate(None, _NAME) and (
                not value.translate(None, _WORD) or _FLAT_OBJECT.fullmatch(value) is not None
            )
            own = name.startswith(_OWN_COOKIES) and _is_token(value)
            if not ordinary and not own and key not in known:
                pairs.append((name.decode("latin-1"), _unquoted(value.decode("latin-1"))))
                new.append(key)
        if pairs:
            found["cookie"] = collect(pairs)
        new.append((b"cookie", raw))

    def remember(self, keys: Iterable[Key], level: int) -> None:
        """Keep values that were inspected and found harmless."""
        known = self._harmless.setdefault(level, BoundedCache(MEMORY))
        for key in keys:
            if len(key if isinstance(key, bytes) else b"".join(key)) <= MAX_REMEMBERED:
                known.put(key, None)

    def forget(self) -> None:
        """Drop the memory: the detector, or its level, is another."""
        self._harmless.clear()


def is_secret(path: str) -> bool:
    """Whether a finding's path leads to a credential, which an event must not show."""
    return path.startswith(_SECRET_PATHS)


def _joined(headers: list[tuple[bytes, bytes]]) -> Iterable[tuple[bytes, bytes]]:
    """Headers with repeated fields joined (RFC 9110 §5.3), so that no attack is split between harmless lines."""
    joined: dict[bytes, bytes] = {}
    for name, raw in headers:
        separator = b"; " if name == b"cookie" else b", "
        joined[name] = joined[name] + separator + raw if name in joined else raw
    return joined.items()


def _is_token(raw: bytes) -> bool:
    """Whether a value is a credential, an id or similar: no quote, bracket or escape, no way up a path."""
    return not raw.translate(None, _TOKENS) and b".." not in raw


def _unquoted(value: str) -> str:
    """A cookie's value as Python's frameworks read it: in quotes, with octal escapes."""
    if len(value) < 2 or value[0] != '"' or value[-1] != '"':
        return value
    return _ESCAPE.sub(lambda escape: chr(int(escape[1], 8)) if escape[1] else escape[2], value[1:-1])


Headers = list[tuple[bytes, bytes]]

_NOSNIFF = (b"x-content-type-options", b"nosniff")
_FOR_JSON = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)
"""For an answer that is data: nothing in it may run, and no page may frame it."""


def missing_from(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The security headers to add to a response with these ``headers``."""
    names: set[bytes] = set()
    is_json = False
    for name, value in headers:
        lowered = name.lower()
        names.add(lowered)
        if lowered == b"content-type":
            kind = value.partition(b";")[0].strip().lower()
            is_json = kind == b"application/json" or kind.endswith(b"+json")
    added = [] if _NOSNIFF[0] in names else [_NOSNIFF]
    if is_json:
        for header in _FOR_JSON:
            if header[0] not in names:
                added.append(header)
    return added
