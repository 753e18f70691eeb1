"""A walk over JSON-like values: every text, in keys and values, with its path, within bounds."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from enum import Enum
from itertools import islice
from typing import Any, NamedTuple

from gatewright.caching import BoundedCache

MAX_DEPTH = 40
MAX_TEXTS = 20_000
MAX_CHARACTERS = 4_000_000

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


class TextNode(NamedTuple):
    """One text. ``key`` is the key of the mapping under which it is (or that it is)."""

    text: str
    path: str
    is_key: bool
    key: str


_Waiting = tuple[Any, str, int, str, bool]
"""A value still to be visited, its path, its depth, its key, and whether it is a key itself."""

_SILENT = (int, float, type(None))
"""Numbers, truth values and nothing at all: no text is in them."""

_MAPPING = (dict, Mapping)
_HOLDING = (dict, list, tuple, set, frozenset, Mapping)
"""What holds other values; what is slowest to ask for comes last."""


class Walk:
    """One pass over a value. After iteration ``truncated`` tells whether a bound was met."""

    def __init__(self, value: Any) -> None:
        self._value = value
        self.truncated = False

    def __iter__(self) -> Iterator[TextNode]:
        # An explicit stack: nesting of the value must not be nesting of calls.
        stack: list[_Waiting] = [(self._value, "$", 0, "", False)]
        texts, characters = 0, 0
        while stack:
            value, path, depth, key, is_key = stack.pop()
            if isinstance(value, str):
                text = value
            elif isinstance(value, _SILENT):
                continue
            elif isinstance(value, _HOLDING):
                if depth >= MAX_DEPTH:
                    self.truncated = True
                    continue
                room = MAX_TEXTS - texts
                if len(value) > room:
                    self.truncated = True
                if isinstance(value, _MAPPING):
                    stack += _members(value, path, depth + 1, room)
                else:
                    stack += _items(value, path, depth + 1, key, room)
                continue
            else:
                text = _read(value)
            if not text:
                continue
            texts += 1
            characters += len(text)
            if characters > MAX_CHARACTERS or texts > MAX_TEXTS:
                self.truncated = True
                text = text[: max(0, len(text) - (characters - MAX_CHARACTERS))]
                if not text or texts > MAX_TEXTS:
                    continue
            yield TextNode(text, path, is_key, key)


def _members(value: Mapping[Any, Any], path: str, depth: int, room: int) -> list[_Waiting]:
    """What to visit in a mapping, last first: odd keys, and all values."""
    odd: list[_Waiting] = []
    below: list[_Waiting] = []
    for key, member in islice(value.items(), room):
        if isinstance(key, str):
            step = _STEPS.get(key) or _step(key)
            if step[0] == "[" or key[:2] == "__":
                odd.append((key, path, depth, key, True))
        else:
            if not isinstance(key, _SILENT):
                odd.append((_read(key), path, depth, "", True))
            key, step = "", f"[{key!r:.64}]"
        if not isinstance(member, _SILENT):
            below.append((member, path + step, depth, key, False))
    constructor = value.get("constructor")
    if isinstance(constructor, Mapping) and "prototype" in constructor:
        name = "constructor.prototype"  # the two keys that lead to a prototype
        odd.append((name, path, depth, name, True))
    below.reverse()
    below += reversed(odd)
    return below


def _items(value: Collection[Any], path: str, depth: int, key: str, room: int) -> list[_Waiting]:
    """What to visit in a list, last first."""
    items = enumerate(islice(value, room))
    below = [(item, f"{path}[{i}]", depth, key, False) for i, item in items if not isinstance(item, _SILENT)]
    below.reverse()
    return below


def _read(value: Any) -> str:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value[:MAX_CHARACTERS]).decode("utf-8", "replace")
    return str(value.value if isinstance(value, Enum) else value)


_STEPS: BoundedCache[str, str] = BoundedCache(8_192)
"""The path segments of keys. The names of fields recur, so that nearly every key is found here."""


def _step(key: str) -> str:
    """The path segment of a key."""
    if len(key) > 64:
        return f"[{key[:64]!r}]"
    step = f".{key}" if _PLAIN_KEY.fullmatch(key) else f"[{key!r}]"
    _STEPS.put(key, step)
    return step
