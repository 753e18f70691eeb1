"""Request bodies: read once within a bound, understood for inspection, handed on unchanged.

Whatever the application might make of the bytes must have been seen by the inspection, so what cannot be
read for certain is refused: a compressed body, JSON that is not UTF-8, a declared type that does not hold.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from gatewright.web.problems import Problem

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

_DECLARATIONS = frozenset({b"content-type", b"content-encoding"})

_PLAIN = frozenset({b"7bit", b"8bit", b"binary"})
"""Transfer encodings in which a part is as it was sent; others are undone by some frameworks only."""

_XML_ENCODING = re.compile(r"<\?xml[^>]{0,100}\bencoding\s{0,20}=\s{0,20}[\"']([A-Za-z0-9._-]{1,40})")
_LIKE_ASCII = re.compile(r"utf-?8|(?:us-)?ascii|iso-8859-\d{1,2}|windows-125\d|latin-?1", re.IGNORECASE)
"""Encodings in which markup is written as in UTF-8; in others (UTF-7, EBCDIC) it looks like something else."""

MAX_FIELDS = 1_000
"""Form fields and parts at the most."""


def _too_large(limit: int) -> Problem:
    return Problem(
        413, "BODY_TOO_LARGE", f"The body may have at most {limit:,} bytes; send less, or in several requests."
    )


async def read_body(receive: Receive, content_length: str | None, limit: int) -> bytes | None:
    """The whole body, or None when the client went away before its end.

    Raises:
        Problem: 413 over ``limit`` bytes, by what is announced or by what comes.
    """
    if content_length is not None and content_length.isdigit() and int(content_length) > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunk = message.get("body", b"")
        if chunk:
            size += len(chunk)
            if size > limit:
                raise _too_large(limit)
            chunks.append(chunk)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def replay(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that gives ``body`` once and then what the server still has to say."""
    sent = False

    async def again() -> MutableMapping[str, Any]:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def declared_once(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Refuse a body whose form is declared twice: the application may go by the other one (RFC 9110 §5.3).

    Raises:
        Problem: 400.
    """
    names = [name for name, _ in headers if name in _DECLARATIONS]
    if len(set(names)) < len(names):
        raise Problem(400, "REPEATED_HEADER", "Send Content-Type and Content-Encoding once each.")


def understand(body: bytes, content_type: str | None, content_encoding: str | None) -> Any:
    """The body as a value to inspect; None where there is nothing that text can be found in.

    Raises:
        Problem: 400 or 415 for a body that is not what it says it is.
    """
    if not body:
        return None
    if content_encoding is not None and content_encoding.strip().lower() not in {"", "identity"}:
        raise Problem(
            415, "ENCODING_NOT_SUPPORTED", "Send the body without Content-Encoding; compressed bodies are not read."
        )
    kind, options = _media_type(content_type)
    if kind == "application/json" or kind.endswith("+json"):
        return parse_json(body)
    if kind == "application/x-www-form-urlencoded":
        return _form(body)
    if kind == "multipart/form-data":
        return _multipart(body, options)
    return _text_or_json(body, kind)


def parse_json(body: bytes) -> Any:
    """JSON, strictly (I-JSON, RFC 7493): UTF-8, no NaN, bounded nesting, no member twice.

    Of a repeated member one parser takes the first and another the last: whichever is inspected, the application may
    act on the other.

    Raises:
        Problem: 400 with ``INVALID_ENCODING``, ``NESTING_TOO_DEEP``, ``REPEATED_MEMBER`` or ``INVALID_JSON``.
    """
    try:
        value = msgspec.json.decode(body)
        repeated = _has_repeated_member(body, value)
    except (UnicodeDecodeError, msgspec.DecodeError) as error:
        try:
            body.decode("utf-8")
        except UnicodeDecodeError as wrong:
            raise Problem(
                400, "INVALID_ENCODING", f"JSON must be UTF-8; byte {wrong.start} is not. Encode the body as UTF-8."
            ) from None
        raise Problem(
            400, "INVALID_JSON", f"The body is not valid JSON: {error}. Check it with a JSON parser."
        ) from None
    except RecursionError:
        raise Problem(400, "NESTING_TOO_DEEP", "The JSON is nested too deeply to be read; flatten the body.") from None
    if repeated:
        raise Problem(400, "REPEATED_MEMBER", "An object names one member twice; name each once.")
    return value


def _has_repeated_member(body: bytes, value: Any) -> bool:
    """Whether the text has more members than the value that was made of it.

    Each member has one colon, and the colons within strings are the same on both sides, so that counting tells, at the
    speed of C; but for a colon that is written as an escape, where the pairs themselves are looked at.
    """
    if b"\\u003" not in body and body.count(b":") == msgspec.json.encode(value).count(b":"):
        return False

    def unique(pairs: list[tuple[str, Any]]) -> None:
        if len({name for name, _ in pairs}) < len(pairs):
            raise _RepeatedMemberError

    try:
        json.loads(body, object_pairs_hook=unique, parse_int=len, parse_float=len)
    except _RepeatedMemberError:
        return True
    return False


class _RepeatedMemberError(Exception):
    """Ends the search."""


def _refuse_other_encodings(body: bytes) -> None:
    """Refuse JSON in UTF-16 or UTF-32: Python's own parser, and with it many a framework, reads it unasked."""
    encoding = json.detect_encoding(body)
    if encoding.startswith("utf-8"):
        return
    try:
        json.loads(body.decode(encoding))
    except (ValueError, RecursionError):
        return  # nobody reads it as JSON
    raise Problem(400, "INVALID_ENCODING", f"JSON must be UTF-8, not {encoding.upper()}; encode the body as UTF-8.")


def _media_type(content_type: str | None) -> tuple[str, Mapping[bytes, bytes]]:
    if content_type == "application/json":  # as nearly every client writes it
        return content_type, {}
    if not content_type:
        return "", {}
    kind, options = parse_options_header(content_type)
    return kind.decode("latin-1").lower(), options


def _form(body: bytes) -> dict[str, Any]:
    try:
        pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
    except UnicodeDecodeError:
        raise Problem(400, "INVALID_ENCODING", "The form must be UTF-8; encode it so.") from None
    except ValueError:
        raise Problem(400, "TOO_MANY_FIELDS", f"A form may have at most {MAX_FIELDS} fields.") from None
    return collect(pairs)


def collect(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """Pairs as a mapping; a name that comes more than once keeps all its values."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            before = found[name]
            found[name] = [*before, value] if isinstance(before, list) else [before, value]
        else:
            found[name] = value
    return found


def _multipart(body: bytes, options: Mapping[bytes, bytes]) -> dict[str, Any]:
    boundary = options.get(b"boundary")
    if not boundary:
        raise Problem(400, "INVALID_MULTIPART", "The Content-Type names no boundary; let your HTTP library set it.")
    collector = _Parts()
    try:
        parser = MultipartParser(boundary, collector.callbacks())
        parser.write(body)
        parser.finalize()
    except MultipartParseError:
        raise _unreadable_parts() from None
    if not collector.ended:  # some frameworks take what is there of the last part, others leave it
        raise _unreadable_parts()
    return collect(collector.pairs)


def _unreadable_parts() -> Problem:
    return Problem(400, "INVALID_MULTIPART", "The parts cannot be read; let your HTTP library build them.")


class _Parts:
    """Fields and file names of a multipart body; text in files is inspected too, binary files are not."""

    def __init__(self) -> None:
        self.pairs: list[tuple[str, str]] = []
        self.ended = False
        self._name = self._value = self._disposition = b""
        self._data: list[bytes] = []

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._add("_name", data[start:end]),
            "on_header_value": lambda data, start, end: self._add("_value", data[start:end]),
            "on_header_end": self._header_end,
            "on_part_data": lambda data, start, end: self._data.append(data[start:end]),
            "on_part_end": self._end,
            "on_end": self._all,
        }

    def _add(self, attribute: str, data: bytes) -> None:
        setattr(self, attribute, getattr(self, attribute) + data)

    def _begin(self) -> None:
        if len(self.pairs) >= MAX_FIELDS:
            raise Problem(400, "TOO_MANY_FIELDS", f"A form may have at most {MAX_FIELDS} parts.")
        self._name = self._value = self._disposition = b""
        self._data = []

    def _header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        elif self._name.lower() == b"content-transfer-encoding" and self._value.strip().lower() not in _PLAIN:
            raise Problem(400, "INVALID_MULTIPART", "Send parts without Content-Transfer-Encoding (RFC 7578 §4.7).")
        self._name = self._value = b""

    def _all(self) -> None:
        self.ended = True

    def _end(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode("utf-8", "replace")
        filename = options.get(b"filename")
        if filename is not None:
            self.pairs.append((f"{name}.filename", filename.decode("utf-8", "replace")))
        try:
            self.pairs.append((name, b"".join(self._data).decode("utf-8")))
        except UnicodeDecodeError:
            if filename is None:
                raise Problem(400, "INVALID_ENCODING", f"The field {name!r} must be UTF-8.") from None


def _text_or_json(body: bytes, kind: str) -> Any:
    """XML and plain text as one string; an undeclared body as whatever an application might take it for."""
    _refuse_other_encodings(body)
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        if kind.startswith("text/") or kind.endswith("xml"):
            raise Problem(400, "INVALID_ENCODING", "Text must be UTF-8; encode the body so.") from None
        return None
    declared = _XML_ENCODING.match(text.lstrip())
    if declared and not _LIKE_ASCII.fullmatch(declared[1]):
        raise Problem(400, "INVALID_ENCODING", f"XML must be UTF-8, not {declared[1]}; encode the body as UTF-8.")
    if text.lstrip()[:1] in ("{", "["):
        try:
            return parse_json(body)
        except Problem as problem:
            if problem.code in ("NESTING_TOO_DEEP", "REPEATED_MEMBER"):
                raise
    return text
