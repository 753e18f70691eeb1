"""What learning asks of a detector, so that it knows nothing of rules or n-grams."""

from __future__ import annotations

from typing import Any, Protocol, Self

from gatewright.threats.findings import Inspection
from gatewright.threats.learning.fit import Correction, Encoded


class Learnable(Protocol):
    """A detector over a frozen linear model that takes a correction."""

    @property
    def base_id(self) -> str:
        """Names the base model by its content; empty where rules alone decide."""
        ...

    def encode(self, text: str) -> Encoded:
        """The text as the model sees it, with the base's score, the correction left out."""
        ...

    def with_correction(self, correction: Correction | None) -> Self:
        """The same detector, rules shared, under another correction; this one stays as it is."""
        ...

    def inspect(self, data: Any, *, level: int = 1) -> Inspection:
        """Judge a value."""
        ...
