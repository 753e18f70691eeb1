"""Request bodies: read once within limits, decoded and parsed by media type.

Whatever the application might make of the bytes must have been seen by the inspection, so what cannot be
read for certain is refused: a damaged compressed body, JSON that is not UTF-8, a wrong declared type.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from gatewright.web.body.charsets import looks_like_text, read_text, refuse_other_charset
from gatewright.web.body.content_coding import MAX_RATIO, RATIO_FREE, body_too_large, decompress, is_compressed
from gatewright.web.body.forms import MAX_FIELDS, collect, parse_form, parse_multipart
from gatewright.web.body.json import UTF8_BOM, is_json, parse_json, refuse_other_encodings
from gatewright.web.body.media_type import MediaType, is_text, media_type
from gatewright.web.problems import Problem

__all__ = [
    "MAX_FIELDS",
    "collect",
    "declared_once",
    "headers_for",
    "parse_json",
    "plain_body",
    "read_body",
    "replay",
    "understand",
]

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Headers = list[tuple[bytes, bytes]]

_DECLARATIONS = frozenset({b"content-type", b"content-encoding"})
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})

INLINE = 1_048_576
"""Bytes that are decompressed on the event loop, in a few milliseconds; more go to a thread."""


async def read_body(receive: Receive, content_length: bytes | None, limit: int) -> bytes | None:
    """The whole body, or None when the client went away before its end.

    Raises:
        Problem: 413 over ``limit`` bytes, by what is announced or by what comes.
    """
    if content_length is not None and content_length.isdigit() and int(content_length) > limit:
        raise body_too_large(limit)
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
                raise body_too_large(limit)
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


async def decode_body(raw: bytes, headers: Iterable[tuple[bytes, bytes]], limit: int) -> tuple[bytes, Any]:
    """The body as it is passed on, and the value to inspect.

    The body is passed on decompressed, and JSON without a byte order mark: some JSON parsers refuse the mark and some
    skip it, but without it they all read the same. The value is None if there is no text in the body.

    Args:
        raw: the body as received, not empty.
        headers: the headers of the request.
        limit: size limit in bytes, also when decompressed.

    Raises:
        Problem: 400 for a body that is not what its headers say, or headers that say it twice (the application may
            use the other one, RFC 9110 §5.3); 413 or 415 as :func:`~gatewright.web.body.content_coding.decompress`.
    """
    content_type = content_encoding = None
    for name, value in headers:
        if name == b"content-type":
            if content_type is not None:
                raise _repeated_header()
            content_type = value.decode("latin-1")
        elif name == b"content-encoding":
            if content_encoding is not None:
                raise _repeated_header()
            content_encoding = value.decode("latin-1")
    body = raw if content_encoding is None else await _decompressed(raw, content_encoding, limit)
    declared = media_type(content_type)
    if body.startswith(UTF8_BOM) and is_json(declared.kind):
        body = body[len(UTF8_BOM) :]
    return body, parse_body(body, declared, content_type) if body else None


def _repeated_header() -> Problem:
    return Problem(400, "REPEATED_HEADER", "Send Content-Type and Content-Encoding once each.")


async def _decompressed(raw: bytes, content_encoding: str, limit: int) -> bytes:
    if not is_compressed(content_encoding):
        return raw
    if min(limit, max(RATIO_FREE, len(raw) * MAX_RATIO)) > INLINE:
        return await asyncio.to_thread(decompress, raw, content_encoding, limit)
    return decompress(raw, content_encoding, limit)


def headers_for(headers: Iterable[tuple[bytes, bytes]], body: bytes) -> Headers:
    """The headers of a request whose body was decompressed or shortened: they describe ``body``."""
    kept = [(name, value) for name, value in headers if name not in _FRAMING and name != b"content-encoding"]
    return [*kept, (b"content-length", str(len(body)).encode())]


def parse_body(body: bytes, declared: MediaType, content_type: str | None) -> Any:
    """The value in a decoded body, or None if there is no text in it.

    Raises:
        Problem: 400 for a body that is not what it says.
    """
    kind = declared.kind
    if kind == "application/json" or kind.endswith("+json"):
        if declared.parameters and declared.charset is not None:
            refuse_other_charset("JSON", declared.charset, body)
        return parse_json(body)
    if kind == "application/x-www-form-urlencoded":
        return parse_form(body, declared.charset)
    if kind == "multipart/form-data":
        return parse_multipart(body, declared, content_type or "")
    return _text_or_json(body, kind, declared.charset)


def _text_or_json(body: bytes, kind: str, charset: str | None) -> Any:
    """XML and plain text as one string; an undeclared body as whatever an application might take it for."""
    refuse_other_encodings(body)
    says_text = is_text(kind)
    if not says_text:
        try:
            body.decode("utf-8")
        except UnicodeDecodeError:
            if not looks_like_text(body):
                return None
        if charset is not None and charset.lower() == "binary":
            charset = None
    text = read_text(body, charset, wide=not says_text)
    if isinstance(text, str) and text.lstrip()[:1] in ("{", "["):
        try:
            return parse_json(body)
        except Problem as problem:
            if problem.code in ("NESTING_TOO_DEEP", "REPEATED_MEMBER"):
                raise
    return text
