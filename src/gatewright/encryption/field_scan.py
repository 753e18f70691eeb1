"""Field scan: one pass over a record before encryption, for types and sensitive content.

Records of one kind recur, so everything that follows from field names and types is computed once and cached as a
shape. A record of known shape costs a comparison of types and one scan of its text. Unusual records get a full scan,
with the same result.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any

from gatewright.caching import BoundedCache
from gatewright.encryption.classification import CARD_DIGITS, class_of_name, classify, may_be_sensitive
from gatewright.encryption.codec import is_plain

_MAX_SHAPES = 2048
_MAX_WIDTH = 64
_MAX_LIST_LENGTH = 64
_MAX_DEPTH = 8
_MAX_TEXT_LENGTH = 16_384
"""The maximum number of characters in a fast scan. Longer text gets a full scan."""

_SCALARS = frozenset({str, int, float, bool, type(None), bytes})
_SCALARS_OR_CONTAINERS = _SCALARS | {dict, list}
_INSIGNIFICANT = bytes(code for code in range(256) if not 0x30 <= code <= 0x39 and code != 0x40)
"""All bytes except digits and ``@``."""

_Record = dict[str, Any]
_Getter = Callable[[_Record], tuple[Any, ...]] | None


def _getter(names: list[str]) -> _Getter:
    """A function that reads these fields of a record as a tuple. None without fields."""
    if len(names) > 1:
        return itemgetter(*names)
    only = names[0] if names else None
    return None if only is None else lambda record: (record[only],)


class FieldScan:
    """The result: sensitive paths with their classes, and whether all types are plain."""

    __slots__ = ("classes", "fields", "plain")

    def __init__(self, fields: list[str], classes: list[str], plain: bool) -> None:
        self.fields = fields
        self.classes = classes
        self.plain = plain


class _Shape:
    """The field names and types of a record, and the fields to check in records like it."""

    __slots__ = ("integers", "kinds", "nested", "scan", "texts")

    def __init__(self, record: _Record, kinds: list[type]) -> None:
        self.kinds = kinds
        open_fields = {name: type(value) for name, value in record.items() if class_of_name(name) is None}
        self.texts = _getter([name for name, kind in open_fields.items() if kind is str])
        self.integers = _getter([name for name, kind in open_fields.items() if kind is int])
        self.nested = tuple(
            (name, name in open_fields) for name, value in record.items() if type(value) in (dict, list)
        )
        self.scan: FieldScan | None = None


class _NeedsFullScan(Exception):
    """The record does not qualify for a fast scan."""


_END_OF_LIST = _Shape({}, [])
_TEXT, _RECORDS, _NUMBERS = frozenset({str}), frozenset({dict}), frozenset({int, float, bool})


_shapes: BoundedCache[tuple[str, ...], _Shape] = BoundedCache(_MAX_SHAPES)
_scans: BoundedCache[tuple[_Shape, ...], FieldScan] = BoundedCache(_MAX_SHAPES)
"""Results by the sequence of shapes in a record."""


def scan_fields(data: Any) -> FieldScan:
    """Scan ``data``. The result is shared between calls and must not be modified."""
    if type(data) is not dict:
        return _full_scan(data)
    shape = _shapes.get(tuple(data))
    try:
        if shape is None or shape.kinds != list(map(type, data.values())):
            shape = _learn_shape(data)
        if shape.integers is not None and max(shape.integers(data)) >= CARD_DIGITS:
            return _full_scan(data)
        if not shape.nested and shape.scan is not None:
            if shape.texts is None:
                return shape.scan
            text = "\n".join(shape.texts(data))
            return _full_scan(data) if _needs_full_scan(text) else shape.scan
        texts: list[str] = []
        if shape.texts is not None:
            texts += shape.texts(data)
        visited = [shape]
        for name, is_open in shape.nested:
            _container(data[name], texts if is_open else [], visited, 1)
    except (_NeedsFullScan, UnicodeEncodeError):
        return _full_scan(data)
    if texts and _needs_full_scan("\n".join(texts)):
        return _full_scan(data)
    found = shape.scan if len(visited) == 1 else _scans.get(tuple(visited))
    return found if found is not None else _cache_scan(data, visited)


def _record(data: _Record, texts: list[str], visited: list[_Shape], depth: int) -> None:
    """Collect the shape and the unclassified texts of a nested record."""
    shape = _shapes.get(tuple(data))
    if shape is None or shape.kinds != list(map(type, data.values())):
        shape = _learn_shape(data)
    visited.append(shape)
    if shape.texts is not None:
        texts += shape.texts(data)
    if shape.integers is not None and max(shape.integers(data)) >= CARD_DIGITS:
        raise _NeedsFullScan
    for name, is_open in shape.nested:
        _container(data[name], texts if is_open else [], visited, depth + 1)


def _container(value: Any, texts: list[str], visited: list[_Shape], depth: int) -> None:
    if type(value) is dict:
        if depth > _MAX_DEPTH:
            raise _NeedsFullScan
        _record(value, texts, visited, depth)
        return
    if len(value) > _MAX_LIST_LENGTH:
        raise _NeedsFullScan
    kinds = set(map(type, value))
    if kinds <= _TEXT:
        texts += value
    elif kinds == _RECORDS and depth <= _MAX_DEPTH:
        for member in value:
            _record(member, texts, visited, depth + 1)
    elif not kinds <= _NUMBERS or max(value) >= CARD_DIGITS:
        raise _NeedsFullScan
    visited.append(_END_OF_LIST)


def _needs_full_scan(text: str) -> bool:
    """Whether the text may be sensitive: it contains ``@``, or seven digits close together."""
    if len(text) > _MAX_TEXT_LENGTH:
        return True
    # One search per character is faster than a loop over the text: most texts contain none of them.
    if not (
        ("@" in text or "0" in text or "1" in text or "2" in text or "3" in text or "4" in text or "5" in text)
        or ("6" in text or "7" in text or "8" in text or "9" in text)
    ):
        return False
    significant = text.encode(errors="replace").translate(None, _INSIGNIFICANT)
    return bool(significant) and (len(significant) > 6 or b"@" in significant) and may_be_sensitive(text)


def _full_scan(data: Any) -> FieldScan:
    findings = classify(data)
    return FieldScan(list(findings), list(findings.values()), is_plain(data))


def _cache_scan(data: _Record, visited: list[_Shape]) -> FieldScan:
    """Cache the scan for all records of these shapes, whose texts are not sensitive."""
    found = _full_scan(data)
    if len(visited) == 1:
        visited[0].scan = found
        return found
    _scans.put(tuple(visited), found)
    return found


def _learn_shape(data: dict[Any, Any]) -> _Shape:
    """Cache the shape of a record. Replaces a shape with the same names."""
    kinds = list(map(type, data.values()))
    names = tuple(data)
    if len(names) > _MAX_WIDTH or not _SCALARS_OR_CONTAINERS.issuperset(kinds):
        raise _NeedsFullScan
    if not all(type(name) is str for name in names):
        raise _NeedsFullScan
    shape = _Shape(data, kinds)
    _shapes.put(names, shape)
    return shape
