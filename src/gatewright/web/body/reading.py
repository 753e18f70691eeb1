"""The reading pipeline: receive, decompress, parse, and replay a request body."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from gatewright.web.body.charsets import looks_like_text, read_text, refuse_other_charset
from gatewright.web.body.content_coding import MAX_RATIO, RATIO_FREE, body_too_large, decompress, is_compressed
from gatewright.web.body.forms import parse_form, parse_multipart
from gatewright.web.body.json import UTF8_BOM, is_json, parse_json, refuse_other_encodings
from gatewright.web.body.media_type import MediaType, is_text, media_type
from gatewright.web.problems import Problem

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Headers = list[tuple[bytes, bytes]]

_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"content-encoding"})

INLINE = 1_048_576
"""Bytes decompressed on the event loop, which takes a few milliseconds. Larger bodies go to a thread."""


async def read_body(receive: Receive, content_length: bytes | None, limit: int) -> bytes | None:
    """Read the whole body. None if the client disconnected before its end.

    Raises:
        Problem: 413 for more than ``limit`` bytes, announced or received.
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
    """A ``receive`` that returns ``body`` once, then the server's own messages."""
    sent = False

    async def receive_again() -> MutableMapping[str, Any]:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


async def decode_body(raw: bytes, headers: Iterable[tuple[bytes, bytes]], limit: int) -> tuple[bytes, Any]:
    """Decompress and parse a body: the bytes to pass on, and the value to inspect.

    JSON is passed on without a byte order mark, which some parsers refuse and others skip. The value is None if the
    body contains no text.

    Args:
        raw: the body as received, not empty.
        headers: the headers of the request.
        limit: size limit in bytes, before and after decompression.

    Raises:
        Problem: 400 for a body that does not match its headers, or for a repeated ``Content-Type`` or
            ``Content-Encoding`` (the application may use the other one, RFC 9110 §5.3); 413 or 415 as
            :func:`~gatewright.web.body.content_coding.decompress`.
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
    if content_type == "application/json":  # as nearly every client sends it
        body = body.removeprefix(UTF8_BOM)
        return body, parse_json(body) if body else None
    declared = media_type(content_type)
    if is_json(declared.kind):
        body = body.removeprefix(UTF8_BOM)
    return body, parse_body(body, declared, content_type) if body else None


def _repeated_header() -> Problem:
    return Problem(
        400,
        "REPEATED_HEADER",
        "Repeated Content-Type or Content-Encoding: each header is allowed once. Remove the repetition.",
    )


async def _decompressed(raw: bytes, content_encoding: str, limit: int) -> bytes:
    if not is_compressed(content_encoding):
        return raw
    if min(limit, max(RATIO_FREE, len(raw) * MAX_RATIO)) > INLINE:
        return await asyncio.to_thread(decompress, raw, content_encoding, limit)
    return decompress(raw, content_encoding, limit)


def headers_for(headers: Iterable[tuple[bytes, bytes]], body: bytes) -> Headers:
    """The request's headers with framing that matches ``body``, once it was decompressed or shortened."""
    kept = [(name, value) for name, value in headers if name not in _FRAMING]
    return [*kept, (b"content-length", str(len(body)).encode())]


def parse_body(body: bytes, declared: MediaType, content_type: str | None) -> Any:
    """Parse a decompressed body by its media type. None if it contains no text.

    Raises:
        Problem: 400 for a body that does not match its media type.
    """
    kind = declared.kind
    if is_json(kind):
        if declared.charset is not None:
            refuse_other_charset("JSON", declared.charset, body)
        return parse_json(body)
    if kind == "application/x-www-form-urlencoded":
        return parse_form(body, declared.charset)
    if kind == "multipart/form-data":
        return parse_multipart(body, declared, content_type or "")
    return _text_or_json(body, kind, declared.charset)


def _text_or_json(body: bytes, kind: str, charset: str | None) -> Any:
    """XML and plain text as one string; an undeclared body as JSON or text, as an application may guess it."""
    refuse_other_encodings(body)
    declared_text = is_text(kind)
    if not declared_text:
        try:
            body.decode("utf-8")
        except UnicodeDecodeError:
            if not looks_like_text(body):
                return None
        if charset is not None and charset.lower() == "binary":
            charset = None
    text = read_text(body, charset, wide=not declared_text)
    if isinstance(text, str) and text.lstrip()[:1] in ("{", "["):
        try:
            return parse_json(body)
        except Problem as problem:
            if problem.code in ("NESTING_TOO_DEEP", "REPEATED_MEMBER"):
                raise
    return text
