"""Grammars: where public lists are thin, attacks are made from what they are built of, and harmless look-alikes too.

Each file has productions; ``«name»`` represents a production of the symbol of that name, taken at random.
``attacks``, or ``harmless`` in the one file of that kind, gives texts, ``json`` whole bodies. The same seed gives the
same rows.
"""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

HERE = Path(__file__).parent
COMMON = "common"

_SYMBOL = re.compile("«([a-z0-9]+)»")
_MAX_DEPTH = 12
_BODIES_IN_TEN = 3


class Grammar:
    """The productions of one file, with those that all files share."""

    def __init__(self, document: dict[str, Any], common: dict[str, Any]) -> None:
        self.category = str(document.get("category", ""))
        symbols = {**common.get("symbols", {}), **document.get("symbols", {})}
        self._symbols = {name: _productions(said) for name, said in symbols.items()}
        self.texts = _productions(document.get("attacks", document.get("harmless", "")))
        self.bodies = [msgspec.json.decode(_quoted(line)) for line in _productions(document.get("json", ""))]

    def text(self, choose: random.Random) -> str:
        """One payload as a text."""
        return self._expand(choose.choice(self.texts), choose, 0)

    def body(self, choose: random.Random) -> Any:
        """One payload as a JSON body."""
        return self._filled(choose.choice(self.bodies), choose)

    def unknown(self) -> set[str]:
        """Symbols that are used and not defined, for tests."""
        texts = [*self.texts, *(text for texts in self._symbols.values() for text in texts)]
        texts.append(msgspec.json.encode(self.bodies).decode())
        return {name for text in texts for name in _SYMBOL.findall(text)} - set(self._symbols)

    def _expand(self, production: str, choose: random.Random, depth: int) -> str:
        if depth > _MAX_DEPTH:
            return ""
        return _SYMBOL.sub(lambda m: self._expand(choose.choice(self._symbols[m[1]]), choose, depth + 1), production)

    def _filled(self, value: Any, choose: random.Random) -> Any:
        if isinstance(value, str):
            return self._expand(value, choose, 0)
        if isinstance(value, dict):
            return {self._expand(key, choose, 0): self._filled(item, choose) for key, item in value.items()}
        if isinstance(value, list):
            return [self._filled(item, choose) for item in value]
        return value


@lru_cache(maxsize=1)
def grammars() -> tuple[Grammar, ...]:
    """All that ship, by name of their file."""
    common = tomllib.loads((HERE / f"{COMMON}.toml").read_text("utf-8"))
    files = (path for path in sorted(HERE.glob("*.toml")) if path.stem != COMMON)
    return tuple(Grammar(tomllib.loads(path.read_text("utf-8")), common) for path in files)


def generate(count: int, *, seed: int, categories: frozenset[str] | None = None) -> Iterator[tuple[str, Any]]:
    """Category and payload of up to ``count`` different payloads of every category, the same for the same seed."""
    for grammar in grammars():
        if categories is not None and grammar.category not in categories:
            continue
        choose = random.Random(f"{seed}:{grammar.category}")  # noqa: S311 - data for training, no secret
        seen: set[bytes] = set()
        for number in range(count):
            of_body = grammar.bodies and number % 10 < _BODIES_IN_TEN
            payload = grammar.body(choose) if of_body else grammar.text(choose)
            key = msgspec.json.encode(payload)
            if key not in seen and payload not in ("", " "):
                seen.add(key)
                yield grammar.category, payload


def _productions(said: str | list[str]) -> list[str]:
    """A list as it is; a text line by line, the line break after its opening left out."""
    if isinstance(said, list):
        return said
    return said.removesuffix("\n").split("\n") if said else []


def _quoted(line: str) -> str:
    """Numbers in a body are written bare (``«int»``): as JSON they become texts to be filled."""
    return re.sub(r"(: \[?|, )(«[a-z0-9]+»)(?=[,\]}])", r'\1"\2"', line)
