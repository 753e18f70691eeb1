"""Bounds on a request's headers: their number, their size, and those that may be sent only once.

Where a header that decides who is calling comes twice, a proxy in front and the application behind may each go by
a different one. Such a request is refused instead of guessed at (RFC 9110 §5.3, RFC 9112 §3.2).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gatewright.web.authenticate import SESSION_COOKIE
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
