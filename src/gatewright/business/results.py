"""Results of business checks: of one field, and the report over all fields."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from gatewright.errors import FieldError
from gatewright.records import Record


@dataclass(slots=True)
class Outcome:
    """The normalized value (None where it is not valid), what is wrong, and what is merely odd."""

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


CRITICAL_FIELDS = frozenset({"business_license", "tax_id"})
"""Fields that say who a business is: one of them invalid, and nothing else counts for much."""

_ERROR_COST = 0.3
_CRITICAL_CEILING = 0.45
_MOSTLY_INVALID_CEILING = 0.25
_WARNING_COSTS = {"SUSPICIOUS_EMAIL_DOMAIN": 0.35, "LOOKALIKE_COMPANY_NAME": 0.25, "LOOKALIKE_DOMAIN": 0.25}
_SMALL_WARNING_COST = 0.04


class BusinessReport(Record, frozen=True, kw_only=True):
    """What was found in business data.

    ``normalised`` has the valid fields in their one spelling (phone as E.164, country as ISO code, and so on);
    ``checked`` counts the fields that were checked; ``security_score`` is from 0 (bad) to 1.
    """

    errors: list[FieldError]
    warnings: list[FieldError]
    normalised: dict[str, Any]
    checked: int
    security_score: float

    @property
    def is_valid(self) -> bool:
        """Whether nothing is wrong; warnings are allowed."""
        return not self.errors


def security_score(
    errors: Iterable[FieldError], warnings: Iterable[FieldError], *, checked: int, attacks: int = 0
) -> float:
    """How far business data can be trusted, 0 to 1.

    Without a finding 1.0. An invalid critical field or an attack leaves less than 0.5, a disposable mailbox less
    than 0.7, data of which more than half is invalid less than 0.3.

    Args:
        errors: what is invalid.
        warnings: what is odd.
        checked: how many fields were checked.
        attacks: how many attacks were found, in whatever field.
    """
    wrong = {error.field.partition(".")[0] for error in errors}
    critical = len(wrong & CRITICAL_FIELDS) + attacks
    cost = _ERROR_COST * len(wrong - CRITICAL_FIELDS)
    cost += sum(_WARNING_COSTS.get(warning.error_type, _SMALL_WARNING_COST) for warning in warnings)
    score = 1.0 - cost
    if critical:
        score = min(_CRITICAL_CEILING - 0.1 * (critical - 1) - 0.25 * cost, score)
    if len(wrong) * 2 > checked:
        score = min(score, _MOSTLY_INVALID_CEILING)
    return round(max(0.0, score), 4)


def risk_level(score: float) -> str:
    """``low`` above 0.8, ``medium`` from 0.5, ``high`` from 0.3, ``critical`` below."""
    if score > 0.8:
        return "low"
    if score >= 0.5:
        return "medium"
    return "high" if score >= 0.3 else "critical"
