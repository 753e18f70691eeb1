"""Strict JSON parsing, which refuses duplicate keys."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from gatewright.web.problems import Problem

UTF8_BOM = b"\xef\xbb\xbf"


def is_json(kind: str) -> bool:
    """Whether a media type says that a body is JSON."""
    return kind == "application/json" or kind.endswith("+json")


def parse_json(body: bytes) -> Any:
    """JSON, strictly (I-JSON, RFC 7493): UTF-8, no NaN, bounded nesting, no duplicate keys.

    Of a repeated key one parser takes the first and another the last: whichever is inspected, the application may
    act on the other. A byte order mark before the text is ignored (RFC 8259 §8.1).

    Raises:
        Problem: 400 with ``INVALID_ENCODING``, ``NESTING_TOO_DEEP``, ``REPEATED_MEMBER`` or ``INVALID_JSON``.
    """
    body = body.removeprefix(UTF8_BOM)
    try:
        value = msgspec.json.decode(body)
        repeated = _has_repeated_member(body, value)
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
        raise Problem(400, "NESTING_TOO_DEEP", "The JSON is nested too deeply to be read; flatten the body.") from None
    if repeated:
        raise Problem(
            400, "REPEATED_MEMBER", "Duplicate key in a JSON object: each key is allowed once. Remove the repetition."
        )
    return value


def _has_repeated_member(body: bytes, value: Any) -> bool:
    """Whether the text has more members than the value that was made of it.

    Each member has one colon, and the colons within strings are the same on both sides, so that counting tells, at the
    speed of C; but for a colon that is written as an escape, where the pairs themselves are checked.
    """
    if b"\\u003" not in body and body.count(b":") == msgspec.json.encode(value).count(b":"):
        return False

    def unique(pairs: list[tuple[str, Any]]) -> None:
        if len({name for name, _ in pairs}) < len(pairs):
            raise _RepeatedMemberError

    try:
        json.loads(body, object_pairs_hook=unique, parse_int=len, parse_float=len)
    except _RepeatedMemberError:
        return True
    return False


class _RepeatedMemberError(Exception):
    """Ends the search."""


def refuse_other_encodings(body: bytes) -> None:
    """Refuse JSON in UTF-16 or UTF-32: Python's own parser, and with it many a framework, reads it unasked.

    Raises:
        Problem: 400.
    """
    encoding = json.detect_encoding(body)
    if encoding.startswith("utf-8"):
        return
    try:
        json.loads(body.decode(encoding))
    except (ValueError, RecursionError):
        return  # it is never read as JSON
    raise Problem(400, "INVALID_ENCODING", f"JSON must be UTF-8, not {encoding.upper()}; encode the body as UTF-8.")
