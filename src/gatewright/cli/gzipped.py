"""Files that may be packed with gzip, whatever they are called."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from gatewright.errors import ValidationError

_MAGIC = b"\x1f\x8b"


def unpacked(raw: BufferedReader) -> BufferedReader | gzip.GzipFile:
    """``raw``, or what is packed in it where it begins as gzip does (RFC 1952)."""
    return gzip.open(raw) if raw.peek(len(_MAGIC)).startswith(_MAGIC) else raw


@contextmanager
def damage_told(file: Path) -> Iterator[None]:
    """What gzip says of damaged data becomes a ValidationError that names the file."""
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValidationError(f"{file}: the gzip data is damaged ({error}).") from None
