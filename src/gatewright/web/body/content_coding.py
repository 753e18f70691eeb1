"""Decompression of request bodies in bounded steps, so that what is inspected is what is passed on.

The codings are those of the IANA registry that clients use: gzip (RFC 1952), deflate (RFC 1950, and the raw RFC 1951
that some clients send under this name), br (RFC 7932) and zstd (RFC 8878, with the 8 MB window of RFC 9659).
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol

from gatewright.web.problems import Problem

MAX_RATIO = 100
"""Largest expansion of a compressed body. JSON and CSV reach 5 to 50, a decompression bomb 1,000 and more."""

RATIO_FREE = 65_536
"""Decompressed bytes below which the ratio is not checked: a short body of spaces is not a bomb."""

MAX_MEMBERS = 100
"""Maximum gzip members or zstd frames in one body."""

STEP = 65_536
"""Bytes read or written per step. Nothing is inflated further than one step past a limit."""

_ZSTD_WINDOW_LOG = 23
_IDENTITY = frozenset({"", "identity"})


def body_too_large(limit: int) -> Problem:
    """The 413 for a body that exceeds ``limit`` bytes, as sent or decompressed."""
    return Problem(
        413,
        "BODY_TOO_LARGE",
        f"Request body too large: at most {limit:,} bytes are allowed. Send less, or split it into several requests.",
    )


def is_compressed(content_encoding: str | None) -> bool:
    """Whether a ``Content-Encoding`` names anything but identity."""
    return content_encoding is not None and content_encoding.strip().lower() not in _IDENTITY


def decompress(body: bytes, content_encoding: str, limit: int) -> bytes:
    """Decompress a body.

    Args:
        body: the bytes as sent.
        content_encoding: a single coding. A list is refused: no client needs one, and ratios multiply.
        limit: size limit of the result in bytes.

    Raises:
        Problem: 415 for an unsupported coding; 413 above ``limit`` or :data:`MAX_RATIO`; 400 for a stream that is
            damaged, truncated, or followed by other data.
    """
    name = content_encoding.strip().lower()
    make = _DECODERS.get(name)
    if make is None:
        raise _unsupported(name)
    try:
        make()
    except ModuleNotFoundError:
        raise _unsupported(name) from None
    by_ratio = max(RATIO_FREE, len(body) * MAX_RATIO)
    chunks: list[bytes] = []
    size = at = members = 0
    while at < len(body):
        members += 1
        if members > (MAX_MEMBERS if name in _HAVE_MEMBERS else 1):
            raise _damaged(name)
        decoder = make()
        while not decoder.ended:
            data = body[at : at + STEP] if decoder.hungry else b""
            if decoder.hungry and not data:
                raise _damaged(name)
            at += len(data)
            try:
                chunk = decoder.feed(data)
            except decoder.failures:
                raise _damaged(name) from None
            size += len(chunk)
            if size > limit:
                raise body_too_large(limit)
            if size > by_ratio:
                raise Problem(
                    413,
                    "COMPRESSION_RATIO_EXCEEDED",
                    f"Compression ratio too high: at most {MAX_RATIO}:1 is allowed. Send it uncompressed.",
                )
            if chunk:
                chunks.append(chunk)
            elif not (data or decoder.hungry or decoder.ended):
                raise _damaged(name)
        at -= decoder.unused
    return b"".join(chunks)


def _unsupported(name: str) -> Problem:
    return Problem(
        415,
        "ENCODING_NOT_SUPPORTED",
        f"Unsupported Content-Encoding: {', '.join(supported())} are supported. Use one of them, or send the body "
        "uncompressed.",
        headers={"Accept-Encoding": ", ".join(supported())},
    )


def _damaged(name: str) -> Problem:
    return Problem(
        400,
        "INVALID_COMPRESSION",
        f"The body cannot be decompressed: Content-Encoding {name} requires one complete stream and nothing after it. "
        "Compress it again, or send it uncompressed.",
    )


class _Decoder(Protocol):
    """A decompressor. ``feed`` accepts bytes only while ``hungry``, and returns at most about :data:`STEP` bytes."""

    failures: type[Exception]
    hungry: bool
    ended: bool
    unused: int

    def feed(self, data: bytes) -> bytes: ...


class _Zlib:
    failures: type[Exception] = zlib.error

    def __init__(self, window_bits: int) -> None:
        self._stream = zlib.decompressobj(window_bits)
        self._pending = b""
        self.hungry, self.ended, self.unused = True, False, 0

    def feed(self, data: bytes) -> bytes:
        chunk = self._stream.decompress(self._pending + data, STEP)
        self._pending = self._stream.unconsumed_tail
        self.ended = self._stream.eof
        self.unused = len(self._stream.unused_data)
        self.hungry = not self._pending and len(chunk) < STEP
        return chunk


class _Deflate:
    """Zlib format if the first two bytes are its header, raw deflate otherwise."""

    failures: type[Exception] = zlib.error

    def __init__(self) -> None:
        self._inner: _Zlib | None = None
        self._start = b""
        self.hungry, self.ended, self.unused = True, False, 0

    def feed(self, data: bytes) -> bytes:
        if self._inner is None:
            self._start += data
            if len(self._start) < 2:
                return b""
            first, second = self._start[0], self._start[1]
            has_header = first & 0x0F == 8 and first >> 4 <= 7 and (first << 8 | second) % 31 == 0
            self._inner = _Zlib(zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS)
            data = self._start
        chunk = self._inner.feed(data)
        self.hungry, self.ended, self.unused = self._inner.hungry, self._inner.ended, self._inner.unused
        return chunk


class _Brotli:
    def __init__(self) -> None:
        library = import_module("brotli")
        self._stream = library.Decompressor()
        self.failures: type[Exception] = library.error
        self.hungry, self.ended, self.unused = True, False, 0

    def feed(self, data: bytes) -> bytes:
        chunk: bytes = self._stream.process(data, output_buffer_limit=STEP)
        self.ended = self._stream.is_finished()
        self.hungry = not chunk and self._stream.can_accept_more_data()  # output may be pending without input
        return chunk


class _Zstd:
    def __init__(self) -> None:
        library = _zstd_library()
        self._stream = library.ZstdDecompressor(
            options={library.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
        )
        self.failures: type[Exception] = library.ZstdError
        self.hungry, self.ended, self.unused = True, False, 0

    def feed(self, data: bytes) -> bytes:
        chunk: bytes = self._stream.decompress(data, STEP)
        self.ended = self._stream.eof
        self.hungry = self._stream.needs_input
        self.unused = len(self._stream.unused_data)
        return chunk


def _zstd_library() -> Any:
    """The standard library's module on Python 3.14 and later, its backport before."""
    return import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")


_DECODERS: dict[str, Callable[[], _Decoder]] = {
    "gzip": lambda: _Zlib(zlib.MAX_WBITS | 16),
    "x-gzip": lambda: _Zlib(zlib.MAX_WBITS | 16),
    "deflate": _Deflate,
    "br": _Brotli,
    "zstd": _Zstd,
}
_HAVE_MEMBERS = frozenset({"gzip", "x-gzip", "zstd"})


def supported() -> list[str]:
    """The supported codings: br and zstd only if their libraries are installed."""
    found = []
    for name, make in _DECODERS.items():
        try:
            make()
        except ModuleNotFoundError:
            continue
        if not name.startswith("x-"):
            found.append(name)
    return found
