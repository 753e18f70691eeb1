"""Sanitization of values for the context in which they are used.

Sanitizing is for output and for storage of free text. It does not replace inspection: what is sanitized for one
place is not safe in another.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from gatewright.errors import ValidationError
from gatewright.records import Record

MAX_CHARACTERS = 1_000_000
MAX_DEPTH = 32
MAX_VALUES = 10_000
MAX_FILENAME_BYTES = 255
MAX_IDENTIFIER_LENGTH = 64
MAX_LOG_LENGTH = 8_192
MAX_REMOVED = 200
"""Things taken out that are named one by one."""

_DECODE_ROUNDS = 4
_TAGS = frozenset(
    {"a", "abbr", "b", "blockquote", "br", "caption", "code", "dd", "div", "dl", "dt", "em", "figcaption", "figure"}
    | {"h1", "h2", "h3", "h4", "h5", "h6", "hr", "i", "img", "kbd", "li", "mark", "ol", "p", "pre", "q", "s", "small"}
    | {"span", "strong", "sub", "sup", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "u", "ul"}
)
_ATTRIBUTES = {
    "*": {"title", "lang", "dir"},
    "a": {"href"},
    "img": {"src", "alt", "width", "height"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan", "scope"},
}
_SCHEMES = {"http", "https", "mailto", "tel"}
_CONTENT_GOES_TOO = {"script", "style", "iframe", "object", "embed", "noscript", "template", "svg", "math", "title"}
_TAG = re.compile(r"<[!/?]?([a-zA-Z][a-zA-Z0-9-]{0,30})")
_ATTRIBUTE = re.compile(r"[\s/\"']([a-zA-Z][a-zA-Z-]{1,30})\s{0,20}=")
_COMMENT = re.compile(r"<(?:!--|!\[|[!?/](?![a-zA-Z]))")
_SCHEME = re.compile(r"\b(javascript|vbscript|data|file)\s{0,20}:", re.IGNORECASE)
_BARE_AMPERSAND = re.compile(r"&(?!(?:[a-zA-Z][a-zA-Z0-9]{1,31}|#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6});)")
_PLAIN_NUMBER = re.compile(r"[+-]?\d{1,30}(?:[.,]\d{1,30}){0,10}(?:[eE][+-]?\d{1,3})?%?")
_ANSI = re.compile(r"\x1b(?:\[[0-?]{0,64}[ -/]{0,16}[@-~]|\][^\x07\x1b]{0,256}(?:\x07|\x1b\\)|[@-Z\\^_])")
_FORMULA_STARTS = frozenset("=+-@＝＋－＠\t\r|%")
_UNSEEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
_FILLERS = frozenset("\u115f\u1160\u3164\uffa0")
_KEPT = frozenset("\n\t\u200c\u200d")
_STRAY_JOINERS = re.compile("(?<![^\x00-\x7f\u200c\u200d])[\u200c\u200d]+")
_AMPERSAND, _NO_BREAK_SPACE = "\ue000", "\ue001"
"""What represents ``&`` and a no-break space while the parser works, which takes a time that grows with the square
of how many of them there are. Private characters are taken out before, so that they mean nothing else."""
_WINDOWS_DEVICES = frozenset(
    {"con", "prn", "aux", "nul", "conin$", "conout$"}
    | {f"{name}{digit}" for name in ("com", "lpt") for digit in range(10)}
)


class SanitizedValue(Record, frozen=True, kw_only=True):
    """The harmless value, and what was taken out or defused, each named once (``<script>``, ``onclick``, ``../``)."""

    value: Any
    removed: list[str]


Removed = dict[str, None]
"""What was removed, in order, each once."""


def sanitise(data: Any, context: str) -> SanitizedValue:
    """Make ``data`` harmless where ``context`` says that it goes.

    Args:
        data: a string, or any JSON-like value, whose strings and keys are sanitized one by one.
        context: ``html`` (a fragment with harmless markup), ``text`` (no markup), ``filename`` (one path segment),
            ``identifier`` (ASCII letters, digits, ``_`` and ``-``), ``csv`` (one cell; spreadsheet formulas are
            defused), ``log`` (one line).

    Raises:
        ValidationError: an unknown context, a value that is not JSON-like, or one over a bound.
    """
    change = _CONTEXTS.get(str(context))
    if change is None:
        known = ", ".join(sorted(_CONTEXTS))
        raise ValidationError(f"Unknown sanitization context {str(context)[:40]!r}; use one of {known}.")
    walk = _Walk(change)
    value = walk.value(data, 0)
    removed = list(walk.removed)
    if len(removed) > MAX_REMOVED:
        removed[MAX_REMOVED:] = [f"{len(removed) - MAX_REMOVED} more"]
    return SanitizedValue(value=value, removed=removed)


class _Walk:
    """Applies one change to every string of a JSON-like value, within bounds."""

    def __init__(self, change: Callable[[str, Removed], str]) -> None:
        self._change = change
        self._values = 0
        self._characters = 0
        self.removed: Removed = {}

    def value(self, value: Any, depth: int) -> Any:
        self._values += 1
        if depth > MAX_DEPTH or self._values > MAX_VALUES:
            raise _too_large()
        if isinstance(value, str):
            return self._text(value)
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, Mapping):
            return self._mapping(value, depth)
        if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
            return [self.value(item, depth + 1) for item in value]
        raise ValidationError(f"A value of type {type(value).__name__} cannot be sanitized; pass text or JSON values.")

    def _text(self, text: str) -> str:
        self._characters += len(text)
        if self._characters > MAX_CHARACTERS:
            raise _too_large()
        return self._change(text, self.removed)

    def _mapping(self, mapping: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, item in mapping.items():
            name = self._text(str(key))
            if name in result:
                self.removed[f"duplicate key {name[:40]!r}"] = None
            else:
                result[name] = self.value(item, depth + 1)
        return result


def _too_large() -> ValidationError:
    return ValidationError(
        f"The value is too large to sanitize: at most {MAX_CHARACTERS} characters, {MAX_VALUES} values and "
        f"{MAX_DEPTH} levels.",
        code="INPUT_TOO_LARGE",
    )


# --- markup -----------------------------------------------------------------------------------------------------


def _html(text: str, removed: Removed) -> str:
    """Markup of an allow-list; scripts, handlers, styles and foreign schemes go, by an HTML5 parser."""
    visible = _without_unseen(text, removed)
    clean = _allowed_markup(visible)
    if (bare := _without_unseen(clean, removed)) != clean:  # written as entities; without them it reads otherwise
        clean = _allowed_markup(bare)
    _name_lost_markup(visible, clean, removed)
    return clean


def _allowed_markup(text: str) -> str:
    import nh3

    clean = nh3.clean(
        _BARE_AMPERSAND.sub(_AMPERSAND, text).replace("\xa0", _NO_BREAK_SPACE),
        tags=set(_TAGS),
        clean_content_tags=_CONTENT_GOES_TOO,
        attributes=_ATTRIBUTES,
        url_schemes=_SCHEMES,
        link_rel="noopener noreferrer nofollow",
    )
    return clean.replace(_AMPERSAND, "&amp;").replace(_NO_BREAK_SPACE, "&nbsp;")


def _text(text: str, removed: Removed) -> str:
    """Text without any markup, also none that appears when entities are decoded."""
    current = _without_unseen(text, removed)
    for _ in range(_DECODE_ROUNDS):
        if "<" not in current and "&" not in current:
            return current
        decoded = _without_unseen(html.unescape(current), removed)
        stripped = _without_unseen(_without_markup(decoded), removed)
        _name_lost_markup(decoded, stripped, removed)
        if stripped == current:
            return current
        current = stripped
    removed["nested entities"] = None
    return current.replace("<", "").replace("&", "")


def _without_markup(text: str) -> str:
    import nh3

    if "<" not in text:
        return text
    plain = text.replace("&", _AMPERSAND).replace("\xa0", _NO_BREAK_SPACE)
    stripped = nh3.clean(plain, tags=set(), clean_content_tags=_CONTENT_GOES_TOO)
    signs = stripped.replace("&lt;", "<").replace("&gt;", ">")
    return signs.replace(_AMPERSAND, "&").replace(_NO_BREAK_SPACE, "\xa0")


def _name_lost_markup(before: str, after: str, removed: Removed) -> None:
    if "<" not in before:
        return
    for name, found in (("<{}>", _TAG), ("{}", _ATTRIBUTE), ("{}:", _SCHEME)):
        kept = {word[1].lower() for word in found.finditer(after)}
        words = (word[1].lower() for word in found.finditer(before))
        removed.update((name.format(word), None) for word in words if word not in kept)
    if _COMMENT.search(before) and not _COMMENT.search(after):
        removed["comment"] = None


def _without_unseen(text: str, removed: Removed) -> str:
    """The text composed (NFC), without control characters, bidirectional overrides, fillers and zero-width spaces.

    Line feeds and tabs stay, and so do the two joiners behind a letter or sign of the scripts that need them.
    """
    if text.isascii() and text.isprintable():
        return text
    composed = unicodedata.normalize("NFC", text)
    unseen = [mark for mark in dict.fromkeys(composed) if _is_unseen(mark)]
    seen = composed.translate(dict.fromkeys(map(ord, unseen))) if unseen else composed
    joined = _STRAY_JOINERS.sub("", seen)
    if joined != seen:
        unseen.append("\u200d")
    removed.update((f"U+{ord(mark):04X}", None) for mark in unseen)
    return unicodedata.normalize("NFC", joined)  # what stood apart may now combine


def _is_unseen(mark: str) -> bool:
    return mark not in _KEPT and (mark in _FILLERS or unicodedata.category(mark) in _UNSEEN_CATEGORIES)


# --- names ------------------------------------------------------------------------------------------------------


def _filename(text: str, removed: Removed) -> str:
    """One path segment that every file system takes: no directories, devices, hidden or special names."""
    decoded = text
    for _ in range(_DECODE_ROUNDS):
        again = unquote(decoded)
        if again == decoded:
            break
        removed["percent encoding"] = None
        decoded = again
    plain = _without_unseen(unicodedata.normalize("NFKC", decoded), removed).replace("\\", "/")
    if "../" in plain or plain.endswith("/.."):
        removed["../"] = None
    directory, slash, name = plain.rpartition("/")
    if slash and directory.strip("./"):
        removed["directory"] = None
    elif slash:
        removed["/"] = None
    safe = _replace_each(name, lambda c: c not in "<>:\"|?*%$`;&'\n\t", removed)
    bare = safe.lstrip(" .-~").rstrip(" .")
    if bare != name.strip() and safe != bare:
        removed["leading or trailing mark"] = None
    if bare.partition(".")[0].strip().lower() in _WINDOWS_DEVICES:
        removed["device name"] = None
        bare = f"_{bare}"
    return _fit_filename(bare, removed) or "file"


def _fit_filename(name: str, removed: Removed) -> str:
    """The name in at most 255 bytes, its extension kept."""
    if len(name.encode()) <= MAX_FILENAME_BYTES:
        return name
    removed["excess length"] = None
    stem, dot, extension = name.rpartition(".")
    if not dot or len(extension.encode()) > 16:
        stem, dot, extension = name, "", ""
    room = MAX_FILENAME_BYTES - len((dot + extension).encode())
    return stem.encode()[:room].decode(errors="ignore").rstrip(" .") + dot + extension


def _identifier(text: str, removed: Removed) -> str:
    """ASCII letters, digits, ``_`` and ``-``, with a letter or ``_`` first, 64 at most."""
    spread = unicodedata.normalize("NFKD", text)
    bare = "".join(character for character in spread if not unicodedata.combining(character))
    name = _replace_each(bare, lambda c: c.isascii() and (c.isalnum() or c in "_-"), removed).strip("_-")
    if not name[:1].isalpha():
        name = f"_{name}"
    if len(name) > MAX_IDENTIFIER_LENGTH:
        removed["excess length"] = None
        name = name[:MAX_IDENTIFIER_LENGTH].rstrip("_-")
    return name


def _replace_each(text: str, keep: Callable[[str], bool], removed: Removed) -> str:
    """The text with one ``_`` for each run of characters that are not kept."""
    result: list[str] = []
    replaced = False
    for character in text:
        if keep(character):
            result.append(character)
            replaced = False
            continue
        removed[character if character.isprintable() else f"U+{ord(character):04X}"] = None
        if not replaced:
            result.append("_")
        replaced = True
    return "".join(result)


# --- lines ------------------------------------------------------------------------------------------------------


def _csv(text: str, removed: Removed) -> str:
    """One cell on one line; what a spreadsheet would run as a formula gets a leading apostrophe (CWE-1236).

    Plain numbers keep their sign, and what begins with an apostrophe is text already. Quoting the cell is the work of
    whoever writes the file.
    """
    start = text[:1]
    visible = _without_unseen(text.replace("\r\n", "\n").replace("\r", "\n"), removed)
    line = visible.replace("\n", " ").replace("\t", " ")
    if line != visible:
        removed["line break" if "\n" in visible else "tab"] = None
    first = line.lstrip(' \xa0"')[:1]
    if (first in _FORMULA_STARTS or start in _FORMULA_STARTS) and not _PLAIN_NUMBER.fullmatch(line.strip()):
        removed[f"formula {start if start in _FORMULA_STARTS else first!r}"] = None
        return f"'{line}"
    return line


def _log(text: str, removed: Removed) -> str:
    """One line: breaks become ``\\n``, terminal codes and invisible characters go, lookups are defused (CWE-117)."""
    line = _ANSI.sub("", text)
    if line != text:
        removed["terminal code"] = None
    escaped = line.replace("\\", "\\\\") if "\n" in line or "\r" in line else line
    one_line = escaped.replace("\r", "\\r").replace("\n", "\\n").replace("\t", " ")
    if one_line != escaped:
        removed["line break"] = None
    visible = _without_unseen(one_line, removed)
    defused = visible.replace("${", "$ {")
    if defused != visible:
        removed["${"] = None
    if len(defused) > MAX_LOG_LENGTH:
        removed["excess length"] = None
        defused = f"{defused[: MAX_LOG_LENGTH - 1]}…"
    return defused


_CONTEXTS: dict[str, Callable[[str, Removed], str]] = {
    "html": _html,
    "text": _text,
    "filename": _filename,
    "identifier": _identifier,
    "csv": _csv,
    "log": _log,
}
