"""Find operators of MongoDB where they act: as keys of an object, or in the brackets of a form field's name.

``$where`` in a sentence, in a string or as a value does nothing. As a key it does, wherever the object stands: whole
JSON, relaxed JSON without quotes, or a piece that continues an object the application began.
"""

from __future__ import annotations

import re

LONGEST = 16_384
"""Characters that are read."""

_NAMES = (
    "ne|gte?|lte?|n?in|eq|regex|where|exists|n?or|and|not|expr|function|jsonschema|elemmatch|mod|accumulator|lookup|"
    "type|size|all|text|comment|geowithin|near|slice|rand|sample_?rate|options"
)
_KEY = re.compile(rf"[{{,]\s*(['\"]?)\$(?:{_NAMES})\1\s*:|^\s*\$(?:where|expr|function)\s*:", re.IGNORECASE)
_FIELD = re.compile(rf"\[\s*['\"]?\$(?:{_NAMES})['\"]?\s*\](?:\[[^\]]{{0,40}}\]){{0,4}}\s*(?:=|$)", re.IGNORECASE)
_STRING = re.compile(r"'(?:[^'\\]|\\.){0,400}'|\"(?:[^\"\\]|\\.){0,400}\"", re.DOTALL)
_IS_KEY = re.compile(r"\s*:")


def has_operator_key(text: str) -> bool:
    """Whether an operator stands as a key or in the brackets of a field's name."""
    text = text[:LONGEST]
    if _FIELD.search(text):
        return True
    return _KEY.search(_STRING.sub(_without_values, text)) is not None


def _without_values(found: re.Match[str]) -> str:
    """Strings are emptied, but for keys: what a string says is no key."""
    behind = found.string[found.end() : found.end() + 4]
    return found.group() if _IS_KEY.match(behind) else '""'
