"""Normalization: nested encodings undone within bounds, and reported as signals.

An attack hides in layers: percent over entity over escape. Each round undoes one layer of each kind that is
there; each leaves a signal, since ordinary text is rarely encoded twice. Text without any escape is returned
as it is after one look.
"""

from __future__ import annotations

import html
import re
import unicodedata
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

ROUNDS = 4
MAX_DECODED = 200_000
"""Characters of a text that are decoded; the rest of a longer one is left as it is."""

SIGNALS = (
    "url",
    "url_twice",
    "overlong",
    "percent_u",
    "entity",
    "escape",
    "wide",
    "null",
    "deep",
)

_PERCENT_BEGINS, _ENTITY_BEGINS, _ESCAPE_BEGINS = map(re.compile, ("%[0-9a-fA-FuU]", "&[#a-zA-Z]", r"\\[xu0-3]"))
"""How an escape begins, an expression a sign: a search for one that begins with a single sign leaps to it."""

_PERCENT = re.compile(r"%(?:[0-9a-fA-F]{2}|u[0-9a-fA-F]{4})")
_PERCENT_U = re.compile(r"%u([0-9a-fA-F]{4})")
_OVERLONG = re.compile(r"(?i)%c0%(?:ae|af|2f|5c|ab|bc|be|a7|a2)|%c1%(?:9c|1c)|%e0%80%(?:ae|af)|%f0%80%80%(?:ae|af)")
_OVERLONG_ENDS = {"ae": ".", "af": "/", "2f": "/", "5c": "\\", "9c": "\\", "1c": "\\", "bc": "<", "be": ">", "a7": "'"}
_OVERLONG_ENDS |= {"a2": '"', "ab": "+"}
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z]{2,12});?")
_JS_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|u\{0{0,4}([0-9a-fA-F]{1,6})\}|([0-3][0-7]{2}))")
_INVISIBLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\xad\u200b-\u200f\u2060\ufeff]+")


class Normal(NamedTuple):
    """A text with its encodings undone, and the signals they left."""

    text: str
    signals: frozenset[str]


NONE: frozenset[str] = frozenset()


def normalise(text: str) -> Normal:
    """Undo what is there. The cost is linear, bounded by rounds and length."""
    if text.isascii() and not _is_escaped(text):
        return Normal(text, NONE)
    head, rest = text[:MAX_DECODED], text[MAX_DECODED:]
    signals: set[str] = set()
    if "\x00" in rest:
        signals.add("null")
        rest = _without_nulls(rest)
    changed = 0
    for _ in range(ROUNDS):
        before = head
        head = _one_round(head, signals)
        if head == before:
            break
        changed += 1
    if changed > 2:
        signals.add("deep")
    return Normal(head + rest, frozenset(signals))


def _is_escaped(text: str) -> bool:
    """Whether an escape begins anywhere: to ask for its first sign is much faster than an expression."""
    return (
        "\x00" in text
        or ("%" in text and _PERCENT_BEGINS.search(text) is not None)
        or ("&" in text and _ENTITY_BEGINS.search(text) is not None)
        or ("\\" in text and _ESCAPE_BEGINS.search(text) is not None)
    )


def _one_round(text: str, signals: set[str]) -> str:
    if "%" in text:
        text = _percent(text, signals)
    if "&" in text and _ENTITY.search(text):
        decoded = html.unescape(text)
        if decoded != text:
            signals.add("entity")
            text = decoded
    if "\\" in text:
        decoded = _JS_ESCAPE.sub(_unescape, text)
        if decoded != text:
            signals.add("escape")
            text = decoded
    if "\x00" in text:
        signals.add("null")
        text = _without_nulls(text)
    if not text.isascii():
        text = _plain_forms(text, signals)
    return text


def _without_nulls(text: str) -> str:
    """By way of bytes, where it costs the same for one as for a hundred thousand of them."""
    return text.encode("utf-8", "surrogatepass").translate(None, b"\x00").decode("utf-8", "surrogatepass")


def _percent(text: str, signals: set[str]) -> str:
    if _OVERLONG.search(text):
        signals.add("overlong")
        text = _OVERLONG.sub(lambda m: _OVERLONG_ENDS.get(m.group(0)[-2:].lower(), "/"), text)
    if _PERCENT.search(text) is None:
        return text
    if "url" in signals:
        signals.add("url_twice")
    signals.add("url")
    if "%u" in text or "%U" in text:
        decoded = _PERCENT_U.sub(lambda m: chr(int(m.group(1), 16)), text)
        if decoded != text:
            signals.add("percent_u")
            text = decoded
    if "+" in text and " " not in text:
        text = text.replace("+", " ")
    raw = unquote_to_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _unescape(match: re.Match[str]) -> str:
    code = match.group(1) or match.group(2) or match.group(3)
    number = int(code, 16) if code else int(match.group(4), 8)
    return chr(number) if number < 0x110000 else ""


def _plain_forms(text: str, signals: set[str]) -> str:
    """Full-width and other compatibility forms as plain ones; invisible characters gone."""
    plain = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text))
    if plain != text and sum(map(str.isascii, plain)) > sum(map(str.isascii, text)):
        signals.add("wide")
        return plain
    return text


_SQL_VERSION = re.compile(r"/\*!\d{0,6}")
_SQL_COMMENT = re.compile(r"/\*[^*]*\*+(?:[^/*][^*]*\*+)*/|/\*|\*/")
_SPACES = re.compile(r"[\s\xa0]+")
_JOINED = re.compile(
    r"""['"]\s{0,3}(?:\|\||\+)\s{0,3}['"]|\$\{IFS\}|\$IFS(?:\$\d)?|\^(?=[a-z])|\\(?=[a-z])|''|\"\"""", re.I
)
_SQUASHABLE = re.compile(
    r"""/\*|\t|\r|\n|\v|\f|\xa0|'(?:'|\s{0,3}(?:\|\||\+))|"(?:"|\s{0,3}(?:\|\||\+))|\$\{?IFS|\^[a-zA-Z]|\\[a-zA-Z]"""
)
"""Every branch begins with a sign of its own: then the search leaps from sign to sign."""

_SQUASHABLE_BEGINS = ("  ", "$", "^", "\\", "/*", "\t", "\r", "\n", "\v", "\f", "\xa0", "''", '""', "+", "||")
"""Without any of these there is nothing to squash: much quicker to tell than by the expression."""


def squash(text: str) -> str:
    """A second form: comments as blanks, white space as one blank, pieces of words put together.

    The same text where there is nothing of the kind.
    """
    if not any(map(text.__contains__, _SQUASHABLE_BEGINS)):
        return text
    if "  " not in text and _SQUASHABLE.search(text) is None:
        return text
    head, rest = text[:MAX_DECODED], text[MAX_DECODED:]
    without = _SQL_COMMENT.sub(" ", _SQL_VERSION.sub(" ", head))
    joined = _JOINED.sub(lambda m: " " if m.group(0)[:1] == "$" else "", without)
    return _SPACES.sub(" ", joined) + rest
