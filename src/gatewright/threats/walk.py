"""Walk any JSON-like value: every text in it, keys as well as values, within bounds, with its path."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

MAX_DEPTH = 40
MAX_TEXTS = 20_000
MAX_CHARACTERS = 4_000_000

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


class Text(NamedTuple):
    """One text. ``key`` is the key of the mapping under which it stands (or that it is)."""

    text: str
    path: str
    is_key: bool
    key: str


_Waiting = tuple[Any, str, int, str]
"""A value that is still to be looked at, its path, its depth, and its key."""

_SILENT = (int, float, type(None))
"""Numbers, truth values and nothing at all: no text is in them."""


class Walk:
    """One pass over a value. After iteration ``truncated`` tells whether a bound was met."""

    def __init__(self, value: Any) -> None:
        self._value = value
        self.truncated = False
        self._texts = 0
        self._characters = 0

    def __iter__(self) -> Iterator[Text]:
        # An explicit stack: nesting of the value must not be nesting of calls.
        stack: list[_Waiting] = [(self._value, "$", 0, "")]
        while stack:
            value, path, depth, key = stack.pop()
            if isinstance(value, str):
                text = self._text(value, path, False, key)
                if text is not None:
                    yield text
            elif isinstance(value, _SILENT):
                continue
            elif depth >= MAX_DEPTH:
                self.truncated = True
            elif isinstance(value, (dict, Mapping)):
                for name in _odd_keys(value):
                    text = self._text(name, path, True, name)
                    if text is not None:
                        yield text
                stack.extend(self._members(value, path, depth + 1))
            elif isinstance(value, (list, tuple, set, frozenset)):
                items = list(value)[: self._room(len(value))]
                below = [(v, f"{path}[{i}]", depth + 1, key) for i, v in enumerate(items) if not isinstance(v, _SILENT)]
                stack.extend(reversed(below))
            else:
                text = self._text(_read(value), path, False, key)
                if text is not None:
                    yield text

    def _members(self, value: Mapping[Any, Any], path: str, depth: int) -> list[_Waiting]:
        """The members of a mapping, the last one first."""
        room = self._room(len(value))
        members = list(value.items())
        if len(members) > room:
            del members[room:]
        members.reverse()
        return [
            (v, path + _step(k), depth, k) if isinstance(k, str) else (v, f"{path}[{k!r:.64}]", depth, "")
            for k, v in members
            if not isinstance(v, _SILENT)
        ]

    def _room(self, wanted: int) -> int:
        left = MAX_TEXTS - self._texts
        if wanted > left:
            self.truncated = True
        return max(0, left)

    def _text(self, text: str, path: str, is_key: bool, key: str) -> Text | None:
        if not text:
            return None
        self._texts += 1
        self._characters += len(text)
        over = self._characters - MAX_CHARACTERS
        if over > 0 or self._texts > MAX_TEXTS:
            self.truncated = True
            text = text[: max(0, len(text) - over)] if self._texts <= MAX_TEXTS else ""
            if not text:
                return None
        return Text(text, path, is_key, key)


def _read(value: Any) -> str:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value[:MAX_CHARACTERS]).decode("utf-8", "replace")
    return str(value)


def _odd_keys(value: Mapping[Any, Any]) -> list[str]:
    """Keys that are no plain names, and the one that leads to a prototype."""
    odd = [name for name in value if isinstance(name, str) and (name[:2] == "__" or _step(name)[0] == "[")]
    constructor = value.get("constructor")
    if isinstance(constructor, Mapping) and "prototype" in constructor:
        odd.append("constructor.prototype")
    return odd


def _step(key: str) -> str:
    """What a key adds to a path. Field names come again and again; odd ones do not."""
    return _known_step(key) if len(key) <= 64 else f"[{key[:64]!r}]"


@lru_cache(maxsize=8_192)
def _known_step(key: str) -> str:
    return f".{key}" if _PLAIN_KEY.fullmatch(key) else f"[{key!r}]"
