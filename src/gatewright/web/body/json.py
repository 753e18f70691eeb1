"""Strict JSON parsing, which refuses duplicate keys."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from gatewright.web.problems import Problem

UTF8_BOM = b"\xef\xbb\xbf"

_SHOWN_KEY = 100
"""Characters of a duplicate key in its error."""


def is_json(kind: str) -> bool:
    """Whether a media type is JSON."""
    return kind == "application/json" or kind.endswith("+json")


def parse_json(body: bytes) -> Any:
    """Parse JSON strictly (I-JSON, RFC 7493): UTF-8, no NaN, bounded nesting, no duplicate keys.

    Parsers disagree about which value of a duplicate key counts, so the application could act on one that was not
    inspected. A leading byte order mark is ignored (RFC 8259 §8.1).

    Raises:
        Problem: 400 with ``INVALID_ENCODING``, ``NESTING_TOO_DEEP``, ``REPEATED_MEMBER`` or ``INVALID_JSON``.
    """
    body = body.removeprefix(UTF8_BOM)
    try:
        value = msgspec.json.decode(body)
        # Each key has one colon, and colons inside strings are the same on both sides: counting is much faster than
        # comparing the pairs. A colon written as an escape (\u003a) would be miscounted.
        if b"\\u003" in body or body.count(b":") != msgspec.json.encode(value).count(b":"):
            _check_keys(body)
    except (UnicodeDecodeError, msgspec.DecodeError) as error:
        try:
            body.decode("utf-8")
        except UnicodeDecodeError as wrong:
            raise Problem(
                400, "INVALID_ENCODING", f"JSON must be UTF-8; byte {wrong.start} is not. Encode the body as UTF-8."
            ) from None
        raise Problem(
            400, "INVALID_JSON", f"The body is not valid JSON: {error}. Check it with a JSON parser."
        ) from None
    except RecursionError:
        raise Problem(400, "NESTING_TOO_DEEP", "The JSON is nested too deeply to parse. Flatten the body.") from None
    return value


def _check_keys(body: bytes) -> None:
    """Raise Problem (400, ``REPEATED_MEMBER``) if an object in ``body`` has one key twice."""

    def check(pairs: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise Problem(
                    400,
                    "REPEATED_MEMBER",
                    f"Duplicate key in JSON object: {json.dumps(name[:_SHOWN_KEY])}. Each key is allowed once.",
                )
            seen.add(name)

    json.loads(body, object_pairs_hook=check, parse_int=len, parse_float=len)


def refuse_other_encodings(body: bytes) -> None:
    """Refuse JSON in UTF-16 or UTF-32, which Python's own parser, and so many frameworks, detect and read.

    Raises:
        Problem: 400.
    """
    encoding = json.detect_encoding(body)
    if encoding.startswith("utf-8"):
        return
    try:
        json.loads(body.decode(encoding))
    except (ValueError, RecursionError):
        return  # no parser reads it as JSON
    raise Problem(400, "INVALID_ENCODING", f"JSON must be UTF-8, not {encoding.upper()}. Encode the body as UTF-8.")
