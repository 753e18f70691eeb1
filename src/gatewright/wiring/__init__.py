"""Wiring: the managers put together, with what one package needs of another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewright._lazy import lazy_names

if TYPE_CHECKING:
    from gatewright.wiring.posture_facts import PostureFacts

_NAMES = {
    "gatewright.wiring.posture_facts": ("PostureFacts",),
}

__all__ = [
    "PostureFacts",
]

__getattr__ = lazy_names(__name__, _NAMES)
