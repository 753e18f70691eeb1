"""Masking of sensitive data for logs and pages."""

from __future__ import annotations

import re
from typing import Any

from gatewright.encryption.classification import class_of_name, find_matches, may_be_sensitive
from gatewright.records import Record

MASK = "*"
_SECRET = re.compile(r"pass(?:word|phrase|wd)|secret|token|credential|private.?key|api.?key|\bpin\b|otp|cookie", re.I)
_MAX_DEPTH = 32
_HIDDEN = MASK * 8


def mask(data: Any) -> Any:
    """A copy of ``data`` with sensitive values masked, for display and logs.

    Fields with sensitive names are masked completely. In other text, IBANs, card numbers, tax ids, email addresses and
    phone numbers are masked. Masked text of 8 or more characters keeps its last two to four. Passwords, tokens and
    keys keep none. Never raises.
    """
    return _mask(data, 0)


def mask_value(value: Any) -> Any:
    """Mask one sensitive value. Text keeps its last characters, and other values are hidden completely."""
    if value is None or isinstance(value, bool):
        return value
    if not isinstance(value, str):
        return _HIDDEN
    if "@" in value:
        return _mask_address(value)
    kept = min(4, len(value) // 4) if len(value) >= 8 else 0
    return MASK * (len(value) - kept if len(value) <= 40 else 8) + (value[-kept:] if kept else "")


def _mask(data: Any, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        return _HIDDEN
    if isinstance(data, Record):
        data = data.to_dict()
    if isinstance(data, dict):
        return {key: _mask_field(key, value, depth) for key, value in data.items()}
    if isinstance(data, list | tuple | set | frozenset):
        return [_mask(member, depth + 1) for member in data]
    if isinstance(data, str):
        return _mask_text(data)
    if isinstance(data, bytes | bytearray | memoryview):
        return f"({len(data)} bytes)"
    if isinstance(data, int) and not isinstance(data, bool) and abs(data) >= 10**11:
        return _mask_text(str(data)) if abs(data) < 10**30 else _HIDDEN
    return data


def _mask_field(key: Any, value: Any, depth: int) -> Any:
    if isinstance(key, str):
        if _SECRET.search(key[:200]):
            return _HIDDEN if value is not None else None
        if class_of_name(key) is not None and not isinstance(value, dict | list | tuple):
            return mask_value(value)
        if class_of_name(key) is not None:
            return _mask_all(value, depth + 1)
    return _mask(value, depth + 1)


def _mask_all(value: Any, depth: int) -> Any:
    """Mask every value within a sensitive field."""
    if depth > _MAX_DEPTH:
        return _HIDDEN
    if isinstance(value, dict):
        return {key: _mask_all(member, depth + 1) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_mask_all(member, depth + 1) for member in value]
    return mask_value(value)


def _mask_text(text: str) -> str:
    if not may_be_sensitive(text):
        return text
    for match in sorted(find_matches(text), reverse=True):
        text = text[: match.start] + mask_value(text[match.start : match.end]) + text[match.end :]
    return text


def _mask_address(address: str) -> str:
    """``anna@example.com`` as ``a***@e***.com``."""
    local, _, domain = address.rpartition("@")
    name, dot, top = domain.rpartition(".")
    return f"{local[:1]}***@{name[:1]}***{dot}{top}" if dot else f"{local[:1]}***@***"
