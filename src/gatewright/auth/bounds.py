"""Bounds: what a stranger gives, as text that is safe to hash, to look up and to store."""

from __future__ import annotations


def bounded_text(value: object, limit: int) -> str:
    """The text, or an empty one for what is no text, is longer than ``limit`` characters, or is no Unicode
    (a lone surrogate has no bytes)."""
    if not isinstance(value, str) or len(value) > limit:
        return ""
    try:
        value.encode()
    except UnicodeEncodeError:
        return ""
    return value
