"""The HTTP API: one module for each group of routes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from fastapi.routing import APIRoute


class DocumentedRoute(APIRoute):
    """A route with the first sentence of its docstring as OpenAPI summary."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        if options.get("summary") is None:
            first, _, _ = (inspect.getdoc(endpoint) or "").partition("\n\n")
            options["summary"] = first.replace("\n", " ").partition(". ")[0].rstrip(".") or None
        super().__init__(path, endpoint, **options)
