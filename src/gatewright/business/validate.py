"""Validation of business data, field by field."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gatewright.business.address import check_address, country_code, country_of
from gatewright.business.bank import check_bank_account
from gatewright.business.company import MAX_NAME_LENGTH, KnownNames, check_company_name, check_license
from gatewright.business.contact import MAX_EMAIL_LENGTH, check_email, check_phone
from gatewright.business.results import BusinessReport, FieldResult, security_score
from gatewright.business.tax import check_tax_id
from gatewright.business.website import MAX_URL_LENGTH, check_website
from gatewright.errors import ValidationError

REQUIRED_FIELDS = ("company_name", "email")
"""The required fields. ``business_email`` counts as ``email``."""

_MAX_LENGTHS = {
    "company_name": MAX_NAME_LENGTH,
    "email": MAX_EMAIL_LENGTH,
    "business_email": MAX_EMAIL_LENGTH,
    "business_license": 64,
    "tax_id": 40,
    "website": MAX_URL_LENGTH,
    "phone": 40,
    "address": 500,
    "bank_account": 64,
}
_STRUCTURED = frozenset({"address", "bank_account"})

Check = Callable[[str, Any], FieldResult]


def validate_business_data(
    data: Mapping[str, Any],
    *,
    require: Iterable[str] = REQUIRED_FIELDS,
    known_names: KnownNames | None = None,
    default_country: str = "US",
) -> BusinessReport:
    """Validate the business fields in ``data``. Other keys are ignored.

    Fields are ``company_name``, ``email`` or ``business_email``, ``business_license``, ``tax_id``, ``website``,
    ``phone``, ``address`` and ``bank_account``. The country for ``tax_id`` and ``phone`` is that of the address, or
    ``country``.

    Args:
        data: the data. Empty fields are errors. Missing fields are errors only if required.
        require: the required fields.
        known_names: companies that a new name must not imitate.
        default_country: the country if the data contains none, as an ISO 3166 alpha-2 code.

    Raises:
        ValidationError: ``data`` is not a mapping.
    """
    if not isinstance(data, Mapping):
        raise ValidationError("Business data must be a mapping of field names to values.", code="INVALID_FIELD_TYPE")
    country = _country(data)
    total = FieldResult(value={})
    missing = _missing(data, require)
    for name in missing:
        total.add_error(name, "EMPTY_REQUIRED_FIELD", f"{name} is required.")
    checks = _checks(country, default_country, known_names)
    present = [name for name in checks if name in data]
    for name in present:
        result = _check_field(name, data[name], checks[name])
        total.errors.extend(result.errors)
        total.warnings.extend(result.warnings)
        if not result.errors:
            total.value[name] = result.value
    checked = len(present) + len(missing)
    return BusinessReport(
        errors=total.errors,
        warnings=total.warnings,
        normalized=total.value,
        checked=checked,
        security_score=security_score(total.errors, total.warnings, checked=checked),
    )


def _checks(country: str | None, default: str, known_names: KnownNames | None) -> dict[str, Check]:
    return {
        "company_name": lambda name, value: check_company_name(name, value, known=known_names),
        "email": check_email,
        "business_email": check_email,
        "business_license": check_license,
        "tax_id": lambda name, value: check_tax_id(name, value, country=country or default),
        "website": check_website,
        "phone": lambda name, value: check_phone(name, value, region=country or default),
        "address": lambda name, value: check_address(name, value, country=country or default),
        "bank_account": check_bank_account,
    }


def _check_field(name: str, value: Any, check: Check) -> FieldResult:
    if value is None or (isinstance(value, str) and not value.strip()) or value == {}:
        return FieldResult.invalid(
            name, "EMPTY_REQUIRED_FIELD", f"{name} must not be empty. Enter a value, or omit the field."
        )
    if isinstance(value, str):
        if len(value) > _MAX_LENGTHS[name]:
            return FieldResult.invalid(
                name, "FIELD_TOO_LONG", f"{name} must have at most {_MAX_LENGTHS[name]} characters."
            )
        return check(name, value)
    if name in _STRUCTURED and isinstance(value, Mapping):
        return check(name, value)
    return FieldResult.invalid(name, "INVALID_FIELD_TYPE", f"{name} must be text.")


def _missing(data: Mapping[str, Any], require: Iterable[str]) -> list[str]:
    return [
        name for name in require if name not in data and not (name in ("email", "business_email") and _has_email(data))
    ]


def _has_email(data: Mapping[str, Any]) -> bool:
    return "email" in data or "business_email" in data


def _country(data: Mapping[str, Any]) -> str | None:
    country = country_of(data.get("address"))
    if country is None and isinstance(data.get("country"), str):
        country = country_code(data["country"])
    return country
