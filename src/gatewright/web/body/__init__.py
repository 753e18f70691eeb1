"""Request bodies: read once within limits, decompressed, and parsed by media type.

The inspection must see whatever the application may read in the bytes. A body that two parsers could read differently
is therefore refused: a damaged compressed stream, JSON that is not UTF-8, a duplicate key, a wrong declared type.
"""

from __future__ import annotations

from gatewright.web.body.reading import decode_body, headers_for, parse_body, read_body, replay

__all__ = ["decode_body", "headers_for", "parse_body", "read_body", "replay"]
