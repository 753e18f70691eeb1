"""Field scan: one pass over a record before it is sealed, for types and sensitive content.

Records of one kind come again and again, so what follows from names and types alone is worked out once and
remembered as a shape. A record of known shapes costs a comparison of types and one scan of its text; whatever
is unusual goes the thorough way, with the same result.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any

from gatewright.encryption.classification import CARD_DIGITS, class_of_name, classify, may_be_sensitive
from gatewright.encryption.codec import is_plain

_REMEMBERED = 2048
_WIDEST = 64
_LONGEST_LIST = 64
_DEEPEST = 8
_LONGEST_TEXT = 16_384
"""Characters that are scanned at once; more goes the thorough way."""

_SCALARS = frozenset({str, int, float, bool, type(None), bytes})
_SCALARS_OR_CONTAINERS = _SCALARS | {dict, list}
_NOT_TELLING = bytes(code for code in range(256) if not 0x30 <= code <= 0x39 and code != 0x40)
"""Everything but digits and ``@``."""

_Record = dict[str, Any]
_Getter = Callable[[_Record], tuple[Any, ...]] | None


def _getter(names: list[str]) -> _Getter:
    """Reads those fields of a record as a tuple; None where there are none."""
    if len(names) > 1:
        return itemgetter(*names)
    only = names[0] if names else None
    return None if only is None else lambda record: (record[only],)


class FieldScan:
    """What was found: sensitive paths with their classes, and whether the data is of plain types alone."""

    __slots__ = ("classes", "fields", "plain")

    def __init__(self, fields: list[str], classes: list[str], plain: bool) -> None:
        self.fields = fields
        self.classes = classes
        self.plain = plain


class _Shape:
    """The names and types of one record, and what is to be checked in others like it."""

    __slots__ = ("integers", "kinds", "nested", "survey", "texts")

    def __init__(self, record: _Record, kinds: list[type]) -> None:
        self.kinds = kinds
        open_fields = {name: type(value) for name, value in record.items() if class_of_name(name) is None}
        self.texts = _getter([name for name, kind in open_fields.items() if kind is str])
        self.integers = _getter([name for name, kind in open_fields.items() if kind is int])
        self.nested = tuple(
            (name, name in open_fields) for name, value in record.items() if type(value) in (dict, list)
        )
        self.survey: FieldScan | None = None


class _Unusual(Exception):
    """The short way does not lead through this record."""


_END_OF_LIST = _Shape({}, [])
_TEXT, _RECORDS, _NUMBERS = frozenset({str}), frozenset({dict}), frozenset({int, float, bool})


_shapes: dict[tuple[str, ...], _Shape] = {}
_surveys: dict[tuple[_Shape, ...], FieldScan] = {}
"""By the shapes that were met on the way through a record, which say where each of them stood."""


def survey(data: Any) -> FieldScan:
    """Look at ``data``. The result is shared between calls and must not be changed."""
    if type(data) is not dict:
        return _thorough(data)
    shape = _shapes.get(tuple(data))
    try:
        if shape is None or shape.kinds != list(map(type, data.values())):
            shape = _learned(data)
        if shape.integers is not None and max(shape.integers(data)) >= CARD_DIGITS:
            return _thorough(data)
        if not shape.nested and shape.survey is not None:
            if shape.texts is None:
                return shape.survey
            text = "\n".join(shape.texts(data))
            return _thorough(data) if _telling(text) else shape.survey
        texts: list[str] = []
        if shape.texts is not None:
            texts += shape.texts(data)
        visited = [shape]
        for name, look in shape.nested:
            _container(data[name], texts if look else [], visited, 1)
    except (_Unusual, UnicodeEncodeError):
        return _thorough(data)
    if texts and _telling("\n".join(texts)):
        return _thorough(data)
    found = shape.survey if len(visited) == 1 else _surveys.get(tuple(visited))
    return found if found is not None else _remembered(data, visited)


def _record(data: _Record, texts: list[str], visited: list[_Shape], depth: int) -> None:
    """Note the shape of a nested record and collect its open texts."""
    shape = _shapes.get(tuple(data))
    if shape is None or shape.kinds != list(map(type, data.values())):
        shape = _learned(data)
    visited.append(shape)
    if shape.texts is not None:
        texts += shape.texts(data)
    if shape.integers is not None and max(shape.integers(data)) >= CARD_DIGITS:
        raise _Unusual
    for name, look in shape.nested:
        _container(data[name], texts if look else [], visited, depth + 1)


def _container(value: Any, texts: list[str], visited: list[_Shape], depth: int) -> None:
    if type(value) is dict:
        if depth > _DEEPEST:
            raise _Unusual
        _record(value, texts, visited, depth)
        return
    if len(value) > _LONGEST_LIST:
        raise _Unusual
    kinds = set(map(type, value))
    if kinds <= _TEXT:
        texts += value
    elif kinds == _RECORDS and depth <= _DEEPEST:
        for member in value:
            _record(member, texts, visited, depth + 1)
    elif not kinds <= _NUMBERS or max(value) >= CARD_DIGITS:
        raise _Unusual
    visited.append(_END_OF_LIST)


def _telling(text: str) -> bool:
    """Whether the text holds what needs a closer look: ``@``, or seven digits close together."""
    if len(text) > _LONGEST_TEXT:
        return True
    # One search for each is faster than a look at every character: most texts have none of them.
    if not (
        ("@" in text or "0" in text or "1" in text or "2" in text or "3" in text or "4" in text or "5" in text)
        or ("6" in text or "7" in text or "8" in text or "9" in text)
    ):
        return False
    left = text.encode(errors="replace").translate(None, _NOT_TELLING)
    return bool(left) and (len(left) > 6 or b"@" in left) and may_be_sensitive(text)


def _thorough(data: Any) -> FieldScan:
    findings = classify(data)
    return FieldScan(list(findings), list(findings.values()), is_plain(data))


def _remembered(data: _Record, visited: list[_Shape]) -> FieldScan:
    """The survey of all records of these shapes, since none of their texts says anything."""
    found = _thorough(data)
    if len(visited) == 1:
        visited[0].survey = found
        return found
    if len(_surveys) >= _REMEMBERED:
        _surveys.pop(next(iter(_surveys)))
    _surveys[tuple(visited)] = found
    return found


def _learned(data: dict[Any, Any]) -> _Shape:
    """Remember the shape of a record, replacing another one of the same names."""
    kinds = list(map(type, data.values()))
    names = tuple(data)
    if len(names) > _WIDEST or not _SCALARS_OR_CONTAINERS.issuperset(kinds):
        raise _Unusual
    if not all(type(name) is str for name in names):
        raise _Unusual
    if len(_shapes) >= _REMEMBERED:
        _shapes.pop(next(iter(_shapes)))
    shape = _shapes[names] = _Shape(data, kinds)
    return shape
