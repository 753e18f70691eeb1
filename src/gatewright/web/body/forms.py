"""Form bodies: URL-encoded and multipart fields.

Form fields must be UTF-8. A text file may declare another charset in its ``Content-Type``, byte order mark or XML
declaration, and is decoded with it for inspection. Binary files are not inspected.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from gatewright.web.body.charsets import is_utf8, looks_like_text, read_text, refuse_other_charset
from gatewright.web.body.json import UTF8_BOM, is_json, parse_json
from gatewright.web.body.media_type import (
    MediaType,
    extended_value,
    is_text,
    is_unambiguous,
    media_type,
    parameters,
    utf8_or_latin1,
)
from gatewright.web.problems import Problem
from gatewright.web.rules import SECRET_FIELDS

MAX_FIELDS = 1_000
"""Maximum form fields, or parts, in one request."""

CHARSET_FIELD = "_charset_"
"""The field that declares a form's charset (HTML; RFC 7578 §4.6)."""


def parse_form(body: bytes, charset: str | None) -> dict[str, Any]:
    """Parse an ``application/x-www-form-urlencoded`` body.

    Raises:
        Problem: 400 if it is not UTF-8, or has more than :data:`MAX_FIELDS` fields.
    """
    try:
        pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
    except UnicodeDecodeError:
        raise Problem(400, "INVALID_ENCODING", "A form must be UTF-8. Encode it as UTF-8.") from None
    except ValueError:
        raise _too_many("fields") from None
    if charset is not None:
        refuse_other_charset("A form", charset, pairs)
    for name, value in pairs:
        check_charset_field(name, value)
    return collect(pairs)


def check_charset_field(name: str, value: str) -> None:
    """Raise Problem (400) if a ``_charset_`` field declares a charset other than UTF-8."""
    if name.lower() == CHARSET_FIELD and value.strip() and not is_utf8(value):
        raise Problem(
            400,
            "INVALID_ENCODING",
            "A form must be UTF-8, but its _charset_ field declares another charset. Encode it as UTF-8.",
        )


def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Pairs as a mapping. A repeated name maps to the list of its values."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            before = found[name]
            found[name] = [*before, value] if isinstance(before, list) else [before, value]
        else:
            found[name] = value
    return found


_AS_SENT = frozenset({b"", b"7bit", b"8bit", b"binary", b"identity"})
"""Transfer encodings that leave a part unchanged. Only some frameworks decode the others."""

_ENCODINGS = frozenset({b"content-transfer-encoding", b"content-encoding"})
_ONCE = frozenset({b"content-disposition", b"content-type"})
_ORDINARY_TYPE = re.compile(rb"[A-Za-z]++/[A-Za-z0-9.+-]++(?:;[ ]?charset=\"?[A-Za-z0-9-]++\"?)?")


def parse_multipart(body: bytes, declared: MediaType, content_type: str) -> dict[str, Any]:
    """Parse a ``multipart/form-data`` body: its fields, file names, text files and unusual part headers.

    Args:
        body: the whole body.
        declared: the parsed media type.
        content_type: the ``Content-Type`` as sent.

    Raises:
        Problem: 400 if two parsers might read it differently, or if the charset of a text is uncertain.
    """
    if not is_unambiguous(content_type):
        raise _malformed()
    boundary = declared.parameters.get("boundary")
    if not boundary:
        raise Problem(
            400,
            "INVALID_MULTIPART",
            "Content-Type has no boundary parameter, which multipart requires. Let your HTTP library set it.",
        )
    if declared.charset is not None and not is_utf8(declared.charset):
        raise _not_utf8("A multipart form")
    collector = _Parts()
    try:
        parser = MultipartParser(boundary.encode("latin-1"), collector.callbacks())
        parser.write(body)
        parser.finalize()
    except MultipartParseError:
        raise _malformed() from None
    if not collector.ended:  # frameworks differ on whether an unterminated last part counts
        raise _malformed()
    return collect(collector.pairs)


def _too_many(what: str) -> Problem:
    return Problem(400, "TOO_MANY_FIELDS", f"Too many form {what}: at most {MAX_FIELDS:,} are allowed. Send fewer.")


def _malformed(reason: str = "it must follow RFC 7578.") -> Problem:
    return Problem(400, "INVALID_MULTIPART", f"Malformed multipart body: {reason} Let your HTTP library build it.")


def _not_utf8(what: str) -> Problem:
    return Problem(
        400, "INVALID_ENCODING", f"{what} must be UTF-8 (RFC 7578). Encode it as UTF-8, and declare no other charset."
    )


class _Parts:
    """Collects the values to inspect, part by part."""

    def __init__(self) -> None:
        self.pairs: list[tuple[str, Any]] = []
        self.ended = False
        self._count = 0
        self._name = self._value = b""
        self._headers: dict[bytes, bytes] = {}
        self._repeated: list[tuple[bytes, bytes]] = []
        self._data: list[bytes] = []

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._add("_name", data[start:end]),
            "on_header_value": lambda data, start, end: self._add("_value", data[start:end]),
            "on_header_end": self._header_end,
            "on_part_data": lambda data, start, end: self._data.append(data[start:end]),
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def _add(self, attribute: str, data: bytes) -> None:
        setattr(self, attribute, getattr(self, attribute) + data)

    def _begin(self) -> None:
        self._count += 1
        if self._count > MAX_FIELDS:
            raise _too_many("parts")
        self._name = self._value = b""
        self._headers, self._repeated, self._data = {}, [], []

    def _header_end(self) -> None:
        name, value = self._name.lower(), self._value
        self._name = self._value = b""
        if name in _ENCODINGS and value.strip().lower() not in _AS_SENT:
            raise _malformed("Content-Transfer-Encoding is not allowed in a part (RFC 7578 §4.7).")
        if name not in self._headers:
            self._headers[name] = value
        elif name in _ONCE:
            raise _malformed("Content-Disposition and Content-Type are allowed once in each part.")
        else:
            self._repeated.append((name, value))

    def _finish(self) -> None:
        self.ended = True

    def _end(self) -> None:
        disposition = self._headers.get(b"content-disposition", b"")
        _, options = parse_options_header(disposition)
        name = utf8_or_latin1(options.get(b"name", b""))
        filename = options.get(b"filename")
        if filename is not None:
            self.pairs.append((f"{name}.filename", utf8_or_latin1(filename)))
        self._add_disposition(name, disposition)
        for header, value in [*self._headers.items(), *self._repeated]:
            if header != b"content-disposition" and not _is_ordinary(header, value):
                self.pairs.append((f"{name}.{header.decode('latin-1')}", utf8_or_latin1(value)))
        declared = media_type(self._headers.get(b"content-type", b"").decode("latin-1"))
        if declared.kind.startswith("multipart/"):
            raise _malformed("nested multipart parts are not allowed (RFC 7578 §4.3).")
        data = b"".join(self._data)
        value = self._field(name, data, declared) if filename is None else _file(name, data, declared)
        if value is not None:
            self.pairs.append((name, value))

    def _add_disposition(self, name: str, disposition: bytes) -> None:
        """Add what another parser might find in the header: ``filename*`` and unusual spellings."""
        header = disposition.decode("latin-1")
        kind, semicolon, rest = header.partition(";")
        for parameter, value in parameters(semicolon + rest).items():
            if parameter.endswith("*"):
                self.pairs.append((f"{name}.{parameter}", extended_value(value)))
            elif parameter not in ("name", "filename"):
                self.pairs.append((f"{name}.content-disposition.{parameter}", utf8_or_latin1(value.encode("latin-1"))))
        if not is_unambiguous(header) and (kind.strip().lower() != "" or rest):
            self.pairs.append((f"{name}.content-disposition", utf8_or_latin1(disposition)))

    @staticmethod
    def _field(name: str, data: bytes, declared: MediaType) -> Any:
        if declared.charset is not None and not is_utf8(declared.charset):
            raise _not_utf8(f"The field {name[:100]!r}")
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            raise _not_utf8(f"The field {name[:100]!r}") from None
        check_charset_field(name, text)
        return _json_or(text, data) if is_json(declared.kind) else text


def _file(name: str, data: bytes, declared: MediaType) -> Any:
    """Every plausible reading of a text file, or None for a binary file.

    A list, where the name is that of a password field: strings in those are not inspected, but files must be.
    """
    declared_text = is_text(declared.kind)
    if not declared_text and not _is_utf8_text(data) and not looks_like_text(data):
        return None
    charset = declared.charset
    if not declared_text and charset is not None and charset.lower() == "binary":
        charset = None
    value: Any = read_text(data, charset)
    if is_json(declared.kind) and isinstance(value, str):
        value = _json_or(value, data)
    return [value] if name in SECRET_FIELDS and isinstance(value, str) else value


def _json_or(text: str, data: bytes) -> Any:
    """Parse JSON. Content that is not valid stays text, since a file may contain anything."""
    try:
        return parse_json(data.removeprefix(UTF8_BOM))
    except Problem:
        return text


def _is_utf8_text(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _is_ordinary(header: bytes, value: bytes) -> bool:
    """Whether a part's header is one that every client sends, and so is not inspected."""
    if header == b"content-type":
        return _ORDINARY_TYPE.fullmatch(value) is not None
    if header == b"content-length":
        return value.isdigit()
    return header in _ENCODINGS
