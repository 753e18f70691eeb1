"""Griffe extension for the documentation site: Sphinx roles in docstrings become Markdown code."""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":\w+:`~?(?:[\w.]+\.)?(\w+)`")


class DocstringRoles(griffe.Extension):
    """Turns ``:meth:`Store.close``` into `close`, as the generated reference pages do."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite one docstring."""
        if obj.docstring is not None:
            obj.docstring.value = _ROLE.sub(r"`\1`", obj.docstring.value)
