"""Masking of sensitive data for logs and pages."""

from __future__ import annotations

import re
from typing import Any

from gatewright.encryption.classification import class_of_name, may_be_sensitive, sightings
from gatewright.records import Record

MASK = "*"
_SECRET = re.compile(r"pass(?:word|phrase|wd)|secret|token|credential|private.?key|api.?key|\bpin\b|otp|cookie", re.I)
_DEEPEST = 32
_ALL = MASK * 8


def mask(data: Any) -> Any:
    """A copy of ``data`` with everything sensitive masked, to be shown or logged.

    Fields that are sensitive by name are masked whatever they hold; in other text, whatever looks like an IBAN, a
    card, a tax id, an email address or a phone number. A masked text keeps its last characters where it is
    long enough for them to give nothing away (two of 8, at most four); passwords, tokens and keys keep none.
    Never raises.
    """
    return _masked(data, 0)


def mask_value(value: Any) -> Any:
    """One sensitive value, masked: text keeps its end, containers and numbers show nothing."""
    if value is None or isinstance(value, bool):
        return value
    if not isinstance(value, str):
        return _ALL
    if "@" in value:
        return _masked_address(value)
    kept = min(4, len(value) // 4) if len(value) >= 8 else 0
    return MASK * (len(value) - kept if len(value) <= 40 else 8) + (value[-kept:] if kept else "")


def _masked(data: Any, depth: int) -> Any:
    if depth > _DEEPEST:
        return _ALL
    if isinstance(data, Record):
        data = data.to_dict()
    if isinstance(data, dict):
        return {key: _masked_field(key, value, depth) for key, value in data.items()}
    if isinstance(data, list | tuple | set | frozenset):
        return [_masked(member, depth + 1) for member in data]
    if isinstance(data, str):
        return _masked_text(data)
    if isinstance(data, bytes | bytearray | memoryview):
        return f"({len(data)} bytes)"
    if isinstance(data, int) and not isinstance(data, bool) and abs(data) >= 10**11:
        return _masked_text(str(data)) if abs(data) < 10**30 else _ALL
    return data


def _masked_field(key: Any, value: Any, depth: int) -> Any:
    if isinstance(key, str):
        if _SECRET.search(key[:200]):
            return _ALL if value is not None else None
        if class_of_name(key) is not None and not isinstance(value, dict | list | tuple):
            return mask_value(value)
        if class_of_name(key) is not None:
            return _all_masked(value, depth + 1)
    return _masked(value, depth + 1)


def _all_masked(value: Any, depth: int) -> Any:
    """Everything within a field that is sensitive as a whole."""
    if depth > _DEEPEST:
        return _ALL
    if isinstance(value, dict):
        return {key: _all_masked(member, depth + 1) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_all_masked(member, depth + 1) for member in value]
    return mask_value(value)


def _masked_text(text: str) -> str:
    if not may_be_sensitive(text):
        return text
    for sighting in sorted(sightings(text), reverse=True):
        text = text[: sighting.start] + mask_value(text[sighting.start : sighting.end]) + text[sighting.end :]
    return text


def _masked_address(address: str) -> str:
    """``anna@example.com`` as ``a***@e***.com``."""
    local, _, domain = address.rpartition("@")
    name, dot, top = domain.rpartition(".")
    return f"{local[:1]}***@{name[:1]}***{dot}{top}" if dot else f"{local[:1]}***@***"
