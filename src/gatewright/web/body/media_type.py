"""Media types and header parameters, parsed unambiguously or refused."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from gatewright.web.problems import Problem

_PARAMETER = re.compile(r';[ \t]*+([^=;"\s]*+)[ \t]*+(?:=[ \t]*+("(?:[^"\\]|\\.)*+"|[^;]*+))?+', re.DOTALL)
_NAME = r"[A-Za-z0-9!#$&^_.+*-]++"
_UNAMBIGUOUS = re.compile(
    rf'{_NAME}(?:/{_NAME})?+(?:[ \t]*+;[ \t]*+(?:{_NAME}=(?:"[^"\\\x00-\x1f]*+"|[^\s;",\\]++))?+)*+'
)
_TEXT_ENDINGS = ("xml", "html", "json", "csv", "javascript", "ecmascript", "yaml", "graphql", "sql")
_EXTENDED = frozenset({"utf-8", "iso-8859-1"})


class MediaType(NamedTuple):
    """A ``Content-Type``: ``kind`` in lower case, ``parameters`` by name in lower case."""

    kind: str
    parameters: dict[str, str]

    @property
    def charset(self) -> str | None:
        return self.parameters.get("charset")


_UNDECLARED = MediaType("", {})


def media_type(content_type: str | None) -> MediaType:
    """Parse a ``Content-Type``.

    Raises:
        Problem: 400 for a parameter with two values, repeated or by RFC 2231 (``charset*0``): the application may use
            the other one.
    """
    if not content_type:
        return _UNDECLARED
    kind, semicolon, rest = content_type.partition(";")
    found = parameters(semicolon + rest)
    if any("*" in name for name in found):
        raise _ambiguous()
    return MediaType(kind.strip(" \t").lower(), found)


def parameters(text: str) -> dict[str, str]:
    """Parse ``;name=value`` pairs: values without quotes, by name in lower case.

    Raises:
        Problem: 400 for a name that is repeated or split (``filename*0``, RFC 2231 §3).
    """
    found: dict[str, str] = {}
    for name, value in _PARAMETER.findall(text):
        name = name.lower()
        if not name:
            continue
        base, star, number = name.partition("*")
        if name in found or (star and number) or (star and not base):
            raise _ambiguous()
        found[name] = unquoted(value.rstrip(" \t"))
    return found


def unquoted(value: str) -> str:
    """Unquote a quoted string (RFC 9110 §5.6.4). Other values are returned unchanged."""
    if len(value) >= 2 and value[0] == value[-1] == '"':
        return re.sub(r"\\(.)", r"\1", value[1:-1], flags=re.DOTALL)
    return value


def is_unambiguous(header: str) -> bool:
    """Whether every parser reads a value with parameters the same way."""
    return _UNAMBIGUOUS.fullmatch(header) is not None


def extended_value(value: str) -> str:
    """Decode ``filename*=UTF-8''na%C3%AFve`` (RFC 8187). Values in any other form are returned unchanged.

    Raises:
        Problem: 400 for a charset other than UTF-8 and ISO-8859-1.
    """
    charset, quote, rest = value.partition("'")
    _language, second, encoded = rest.partition("'")
    if not quote or not second:
        return value
    if charset.lower() not in _EXTENDED:
        raise Problem(
            400,
            "INVALID_ENCODING",
            "An extended parameter such as filename* must be UTF-8 (RFC 8187). Encode it as UTF-8''….",
        )
    return utf8_or_latin1(unquote_to_bytes(encoded))


def utf8_or_latin1(raw: bytes) -> str:
    """Decode a name as frameworks do: UTF-8, or Latin-1 if that fails."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def is_text(kind: str) -> bool:
    """Whether a media type is textual."""
    return kind.startswith("text/") or kind.endswith(_TEXT_ENDINGS)


def _ambiguous() -> Problem:
    return Problem(
        400,
        "AMBIGUOUS_PARAMETER",
        "A header parameter is repeated or split: each is allowed once. Let your HTTP library write the header.",
    )
