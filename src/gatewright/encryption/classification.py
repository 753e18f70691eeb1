"""Which fields of a record are sensitive, and in which way: by their names, and by what stands in them.

Only paths and classes are found and kept, never values.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache
from typing import Any

from gatewright.encryption.content import class_of_text, may_be_sensitive
from gatewright.encryption.names import class_of_name


class DataClass(StrEnum):
    """The classes of business data."""

    FINANCIAL = "financial"
    PERSONAL = "personal"
    BUSINESS_CONFIDENTIAL = "business_confidential"
    REGULATORY = "regulatory"
    INTELLECTUAL_PROPERTY = "intellectual_property"


MOST_FIELDS = 256
"""Sensitive fields that are named for one record; the rest goes unnamed (and is encrypted all the same)."""

_DEEPEST = 16
_WIDEST_SHAPE = 64
CARD_DIGITS = 10**12
"""Integers from here on may be card numbers."""

Findings = dict[str, str]
"""Path to class. The members of a list share the path ``name[]``."""


class _Shape:
    """What the names of a record's fields say: its sensitive fields, and those whose content decides."""

    __slots__ = ("named", "open")

    def __init__(self, names: Iterable[str]) -> None:
        classes = {name: class_of_name(name) for name in names}
        self.named = {name: found for name, found in classes.items() if found is not None}
        self.open = tuple(name for name, found in classes.items() if found is None)


@lru_cache(maxsize=2048)
def _shape(names: tuple[str, ...]) -> _Shape:
    return _Shape(names)


def classify(data: Any) -> Findings:
    """The sensitive fields of ``data`` and their classes, in the order in which they stand."""
    found: Findings = {}
    if type(data) is dict:
        _record(data, "", found, 0)
    else:
        _value(data, "", found, 0)
    return found


def _record(data: dict[Any, Any], path: str, found: Findings, depth: int) -> None:
    try:
        shape = _shape(tuple(data)) if len(data) <= _WIDEST_SHAPE else _Shape(map(str, data))
    except (TypeError, AttributeError):  # keys that are no text
        shape = _Shape(key for key in data if isinstance(key, str))
    for name, kind in shape.named.items():
        if len(found) < MOST_FIELDS and data[name] is not None:
            found[path + name] = kind
    texts = []
    for name in shape.open:
        value = data[name]
        held = type(value)
        if held is str:
            texts.append(value)
        elif held is dict or held is list or held is tuple or (held is int and value >= CARD_DIGITS):
            _value(value, path + name, found, depth + 1)
    if texts and may_be_sensitive("\n".join(texts)):
        for name in shape.open:
            if type(data[name]) is str:
                _value(data[name], path + name, found, depth)


def _value(value: Any, path: str, found: Findings, depth: int) -> None:
    if depth > _DEEPEST or len(found) >= MOST_FIELDS:
        return
    if type(value) is dict:
        _record(value, f"{path}." if path else "", found, depth)
    elif isinstance(value, list | tuple):
        for member in value:
            _value(member, f"{path}[]", found, depth + 1)
    elif isinstance(value, str | int) and not isinstance(value, bool):
        text = value if isinstance(value, str) else str(value) if abs(value) < 10**20 else ""
        kind = class_of_text(text) if may_be_sensitive(text) else None
        if kind is not None:
            found.setdefault(path, kind)
