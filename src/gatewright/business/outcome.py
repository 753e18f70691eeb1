"""Outcome: what one check of one field found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from gatewright.errors import FieldError


@dataclass(slots=True)
class Outcome:
    """The normalised value (None where it is not valid), what is wrong, and what is merely odd."""

    value: Any = None
    errors: list[FieldError] = field(default_factory=list)
    warnings: list[FieldError] = field(default_factory=list)

    @classmethod
    def refused(cls, name: str, error_type: str, message: str) -> Outcome:
        """An outcome with one error."""
        return cls(errors=[FieldError(field=name, error_type=error_type, message=message)])

    def warn(self, name: str, error_type: str, message: str) -> None:
        """Note something odd that does not make the value invalid."""
        self.warnings.append(FieldError(field=name, error_type=error_type, message=message))

    def refuse(self, name: str, error_type: str, message: str) -> None:
        """Note something that makes the value invalid."""
        self.errors.append(FieldError(field=name, error_type=error_type, message=message))
