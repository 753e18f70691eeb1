"""Answers: records as JSON, times as RFC 3339 UTC, nothing cached that is somebody's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi import Response


def answer(value: Any, status: int = 200, *, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response of records, mappings and lists of them."""
    return Response(
        msgspec.json.encode(value, enc_hook=_plain),
        status_code=status,
        media_type="application/json",
        headers={"cache-control": "no-store", **(headers or {})},
    )


def page(items: list[Any], cursor: str | None) -> dict[str, Any]:
    """One page of a list; ``next`` is the cursor of the following one, None at the end."""
    return {"items": items, "next": cursor}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
