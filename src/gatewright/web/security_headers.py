"""Security headers of responses, added where the application has set none of its own."""

from __future__ import annotations

from collections.abc import Iterable

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
