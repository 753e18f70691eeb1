"""Bodies as the middleware reads them."""

from typing import Any

from gatewright.web import media_type, parse_body


def understand(body: bytes, content_type: str | None) -> Any:
    """The value that is inspected of a decoded body."""
    return parse_body(body, media_type(content_type), content_type) if body else None
