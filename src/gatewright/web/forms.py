"""URL-encoded forms, and names that may come more than once."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from gatewright.web.charsets import is_utf8, refuse_other_charset
from gatewright.web.problems import Problem

MAX_FIELDS = 1_000
"""Form fields and parts in one request."""

CHARSET_FIELD = "_charset_"
"""The field in which a form names its own charset (RFC 7578 §4.6, and HTML)."""


def parse_form(body: bytes, charset: str | None) -> dict[str, Any]:
    """The fields of an ``application/x-www-form-urlencoded`` body.

    Raises:
        Problem: 400 where it is not UTF-8, or has more than :data:`MAX_FIELDS` fields.
    """
    try:
        pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
    except UnicodeDecodeError:
        raise Problem(400, "INVALID_ENCODING", "A form must be UTF-8. Encode it as UTF-8.") from None
    except ValueError:
        raise Problem(400, "TOO_MANY_FIELDS", f"A form may have at most {MAX_FIELDS} fields.") from None
    if charset is not None:
        refuse_other_charset("A form", charset, pairs)
    for name, value in pairs:
        check_charset_field(name, value)
    return collect(pairs)


def check_charset_field(name: str, value: str) -> None:
    """Refuse a form whose ``_charset_`` field says that the others are not UTF-8. Raises Problem, 400."""
    if name.lower() == CHARSET_FIELD and value.strip() and not is_utf8(value):
        raise Problem(
            400, "INVALID_ENCODING", "A form must be UTF-8, but its _charset_ field names another. Encode it as UTF-8."
        )


def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Pairs as a mapping; a name that comes more than once keeps all its values."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            before = found[name]
            found[name] = [*before, value] if isinstance(before, list) else [before, value]
        else:
            found[name] = value
    return found
