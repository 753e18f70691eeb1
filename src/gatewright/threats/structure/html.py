"""Tokenise markup as a browser does: is there an element that runs script?

Browsers are lenient: a slash parts attributes as a blank does, quotes may be missing, and a name may hold anything
but blanks, slashes, ``>`` and ``=``. Text that merely mentions a tag has neither handler nor scheme; a handler that
calls a named function of the page (``onclick="addToCart(5)"``) is what pages are made of, and not told either.
"""

from __future__ import annotations

import re

from gatewright.threats.structure.words import words

PLACES = 256
"""Elements of one text that are looked at."""

_TAG = re.compile(r"<[\s/]{0,8}([a-zA-Z!?][^\s/>]{0,40})")
_ATTRIBUTE = re.compile(
    r"[\s/\"'`]*([^\s/>=\"'`<]{1,60})(?:\s*=\s*(\"[^\"]{0,2000}(?:\"|$)|'[^']{0,2000}(?:'|$)|`[^`]{0,2000}(?:`|$)|[^\s>]{0,2000}))?"
)
_ATTRIBUTES = 32
_HANDLER = re.compile(r"on[a-z]{3,30}", re.IGNORECASE)
_NOISE = re.compile(r"[\x00-\x20]|&(?:tab|newline|nbsp);|/\*.{0,40}?\*/", re.IGNORECASE)
_SCHEME = re.compile(r"(?:java|vb|live)script:|data:(?:text/html|image/svg\+xml|application/x?html|text/xml)", re.I)
_LINKS = words(
    "href src action formaction data xlink:href background poster to from values srcdoc content code codebase "
    "dynsrc lowsrc manifest ping folder"
)
_PROBE = re.compile(
    r"(?:alert|prompt|confirm|print|eval|atob|fetch|import|settimeout|setinterval|execscript)\s*"
    r"(?:[(`]|\?\.|&lpar;|&#|/\*)|document\s*[.\[]|window\s*[.\[]|(?:top|self|parent|globalthis|this)\s*\[|location\s*[=.]|string\.fromcharcode|"
    r"javascript:|\\u00|\\x[0-9a-f]{2}|&#x?\d|constructor\s*[.(\[]|throw\s|onerror\s*=|new\s+image|\[\]\[|cookie|"
    r"[=,(]\s*(?:alert|prompt|confirm|eval)\b|new\s*\(?\s*function|getscript\s*\(|createelement|with\s*\(\s*document|"
    r"\.sendbeacon|xmlhttprequest|innerhtml\s*[=+]|reflect\s*\.|navigator\.vibrate|ownerdocument|defaultview|^\s*['\"`]?\s*name\b",
    re.IGNORECASE,
)


def runs_script(text: str) -> bool:
    """Whether an element has a handler that calls script at once, or leads to a scheme that is script."""
    return any(_running(text, tag) for _, tag in zip(range(PLACES), _TAG.finditer(text), strict=False))


def _running(text: str, tag: re.Match[str]) -> bool:
    place = tag.end()
    for _ in range(_ATTRIBUTES):
        found = _ATTRIBUTE.match(text, place)
        if found is None:
            return False
        place = found.end()
        name, value = found.group(1).lower(), found.group(2)
        if value and (
            (_HANDLER.fullmatch(name) and _PROBE.search(value))
            or (name in _LINKS and _SCHEME.search(_NOISE.sub("", value[:400])))
        ):
            return True
    return False
