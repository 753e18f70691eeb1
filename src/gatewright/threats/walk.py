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


class Walk:
    """One pass over a value. After iteration ``truncated`` tells whether a bound was met."""

    def __init__(self, value: Any) -> None:
        self._value = value
        self.truncated = False
        self._texts = 0
        self._characters = 0

    def __iter__(self) -> Iterator[Text]:
        # An explicit stack: nesting of the value must not be nesting of calls.
        stack: list[tuple[Any, str, int, str]] = [(self._value, "$", 0, "")]
        while stack:
            value, path, depth, key = stack.pop()
            if isinstance(value, str):
                yield from self._text(value, path, False, key)
            elif value is None or isinstance(value, (bool, int, float)):
                continue
            elif depth >= MAX_DEPTH:
                self.truncated = True
            elif isinstance(value, (dict, Mapping)):
                for name in value:
                    if isinstance(name, str) and _worth_a_look(name):
                        yield from self._text(name, path, True, name)
                if isinstance(value.get("constructor"), Mapping) and "prototype" in value["constructor"]:
                    yield from self._text("constructor.prototype", path, True, "constructor")
                below = depth + 1
                children = [
                    (v, path + _step(k), below, k) if isinstance(k, str) else (v, f"{path}[{k!r:.64}]", below, "")
                    for k, v in value.items()
                ]
                stack.extend(reversed(children[: self._room(len(children))]))
            elif isinstance(value, (list, tuple, set, frozenset)):
                items = list(value)[: self._room(len(value))]
                stack.extend(reversed([(v, f"{path}[{i}]", depth + 1, key) for i, v in enumerate(items)]))
            elif isinstance(value, (bytes, bytearray, memoryview)):
                yield from self._text(bytes(value[:MAX_CHARACTERS]).decode("utf-8", "replace"), path, False, key)
            else:
                yield from self._text(str(value), path, False, key)

    def _room(self, wanted: int) -> int:
        left = MAX_TEXTS - self._texts
        if wanted > left:
            self.truncated = True
        return max(0, left)

    def _text(self, text: str, path: str, is_key: bool, key: str) -> Iterator[Text]:
        if not text:
            return
        self._texts += 1
        room = MAX_CHARACTERS - self._characters
        if self._texts > MAX_TEXTS or room <= 0:
            self.truncated = True
            return
        if len(text) > room:
            self.truncated = True
            text = text[:room]
        self._characters += len(text)
        yield Text(text, path, is_key, key)


def _worth_a_look(key: str) -> bool:
    return key.startswith("__") or _step(key)[0] == "["


def _step(key: str) -> str:
    """What a key adds to a path. Field names come again and again; odd ones do not."""
    return _known_step(key) if len(key) <= 64 else f"[{key[:64]!r}]"


@lru_cache(maxsize=8_192)
def _known_step(key: str) -> str:
    return f".{key}" if _PLAIN_KEY.fullmatch(key) else f"[{key!r}]"
