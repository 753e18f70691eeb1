"""Results of business checks: per field, and the report on all fields."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from gatewright.errors import FieldError
from gatewright.records import Record


@dataclass(slots=True)
class FieldResult:
    """The result for one field: its normalized value (None if invalid), errors and warnings."""

    value: Any = None
    errors: list[FieldError] = field(default_factory=list)
    warnings: list[FieldError] = field(default_factory=list)

    @classmethod
    def invalid(cls, name: str, error_type: str, message: str) -> FieldResult:
        """A result with one error."""
        return cls(errors=[FieldError(field=name, error_type=error_type, message=message)])

    def add_warning(self, name: str, error_type: str, message: str) -> None:
        """Add a warning. The value stays valid."""
        self.warnings.append(FieldError(field=name, error_type=error_type, message=message))

    def add_error(self, name: str, error_type: str, message: str) -> None:
        """Add an error, which makes the value invalid."""
        self.errors.append(FieldError(field=name, error_type=error_type, message=message))


CRITICAL_FIELDS = frozenset({"business_license", "tax_id"})
"""Fields that identify a business. An invalid one caps the score."""

_ERROR_COST = 0.3
_CRITICAL_CEILING = 0.45
_MOSTLY_INVALID_CEILING = 0.25
_WARNING_COSTS = {"SUSPICIOUS_EMAIL_DOMAIN": 0.35, "LOOKALIKE_COMPANY_NAME": 0.25, "LOOKALIKE_DOMAIN": 0.25}
_SMALL_WARNING_COST = 0.04


class BusinessReport(Record, frozen=True, kw_only=True):
    """The report on business data.

    ``normalized`` contains the valid fields in canonical form (phone numbers as E.164, countries as ISO codes).
    ``checked`` is the number of checked fields. ``security_score`` ranges from 0 (bad) to 1 (good).
    """

    errors: list[FieldError]
    warnings: list[FieldError]
    normalized: dict[str, Any]
    checked: int
    security_score: float

    @property
    def is_valid(self) -> bool:
        """Whether there are no errors. Warnings are allowed."""
        return not self.errors


def security_score(
    errors: Iterable[FieldError], warnings: Iterable[FieldError], *, checked: int, attacks: int = 0
) -> float:
    """The trustworthiness of business data, from 0 to 1.

    The score is 1.0 without errors and warnings, below 0.5 with an invalid critical field or an attack, below 0.7 with
    a disposable mailbox, and below 0.3 if more than half of the fields are invalid.

    Args:
        errors: the errors.
        warnings: the warnings.
        checked: the number of checked fields.
        attacks: the number of attacks found in any field.
    """
    invalid = {error.field.partition(".")[0] for error in errors}
    critical = len(invalid & CRITICAL_FIELDS) + attacks
    cost = _ERROR_COST * len(invalid - CRITICAL_FIELDS)
    cost += sum(_WARNING_COSTS.get(warning.error_type, _SMALL_WARNING_COST) for warning in warnings)
    score = 1.0 - cost
    if critical:
        score = min(_CRITICAL_CEILING - 0.1 * (critical - 1) - 0.25 * cost, score)
    if len(invalid) * 2 > checked:
        score = min(score, _MOSTLY_INVALID_CEILING)
    return round(max(0.0, score), 4)


def risk_level(score: float) -> str:
    """``low`` above 0.8, ``medium`` from 0.5, ``high`` from 0.3, otherwise ``critical``."""
    if score > 0.8:
        return "low"
    if score >= 0.5:
        return "medium"
    return "high" if score >= 0.3 else "critical"
