"""Validation of business data, each field by its own rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gatewright.business.address import check_address, country_of
from gatewright.business.bank import check_bank_account
from gatewright.business.company import MAX_NAME_LENGTH, KnownNames, check_company_name, check_licence
from gatewright.business.contact import MAX_EMAIL_LENGTH, check_email, check_phone
from gatewright.business.countries import country_code
from gatewright.business.results import BusinessReport, Outcome, security_score
from gatewright.business.tax import check_tax_id
from gatewright.business.website import MAX_URL_LENGTH, check_website
from gatewright.errors import ValidationError

REQUIRED_FIELDS = ("company_name", "email")
"""What a business always gives; ``email`` is also met by ``business_email``."""

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

Check = Callable[[str, Any], Outcome]


def validate_business_data(
    data: Mapping[str, Any],
    *,
    require: Iterable[str] = REQUIRED_FIELDS,
    known_names: KnownNames | None = None,
    default_country: str = "US",
) -> BusinessReport:
    """Check the business fields in ``data``; other keys are left alone.

    Fields: ``company_name``, ``email`` or ``business_email``, ``business_license``, ``tax_id``, ``website``,
    ``phone``, ``address``, ``bank_account``. The country of ``tax_id`` and ``phone`` is the address's, or the
    one in ``country``.

    Args:
        data: what was given. A field that is present and empty is an error; one that is absent only if required.
        require: the fields that must be there.
        known_names: companies that a new name must not imitate.
        default_country: ISO 3166 alpha-2 code that is meant where the data names none.

    Raises:
        ValidationError: ``data`` is not a mapping.
    """
    if not isinstance(data, Mapping):
        raise ValidationError("Business data must be a mapping of field names to values.", code="INVALID_FIELD_TYPE")
    country = _country(data)
    total = Outcome(value={})
    missing = _missing(data, require)
    for name in missing:
        total.refuse(name, "EMPTY_REQUIRED_FIELD", f"{name} is required.")
    checks = _checks(country, default_country, known_names)
    given = [name for name in checks if name in data]
    for name in given:
        outcome = _check_field(name, data[name], checks[name])
        total.errors.extend(outcome.errors)
        total.warnings.extend(outcome.warnings)
        if not outcome.errors:
            total.value[name] = outcome.value
    checked = len(given) + len(missing)
    return BusinessReport(
        errors=total.errors,
        warnings=total.warnings,
        normalised=total.value,
        checked=checked,
        security_score=security_score(total.errors, total.warnings, checked=checked),
    )


def _checks(country: str | None, default: str, known_names: KnownNames | None) -> dict[str, Check]:
    return {
        "company_name": lambda name, value: check_company_name(name, value, known=known_names),
        "email": check_email,
        "business_email": check_email,
        "business_license": check_licence,
        "tax_id": lambda name, value: check_tax_id(name, value, country=country or default),
        "website": check_website,
        "phone": lambda name, value: check_phone(name, value, region=country or default),
        "address": lambda name, value: check_address(name, value, country=country or default),
        "bank_account": check_bank_account,
    }


def _check_field(name: str, value: Any, check: Check) -> Outcome:
    if value is None or (isinstance(value, str) and not value.strip()) or value == {}:
        return Outcome.refused(
            name, "EMPTY_REQUIRED_FIELD", f"{name} must not be empty. Enter a value, or omit the field."
        )
    if isinstance(value, str):
        if len(value) > _MAX_LENGTHS[name]:
            return Outcome.refused(name, "FIELD_TOO_LONG", f"{name} must have at most {_MAX_LENGTHS[name]} characters.")
        return check(name, value)
    if name in _STRUCTURED and isinstance(value, Mapping):
        return check(name, value)
    return Outcome.refused(name, "INVALID_FIELD_TYPE", f"{name} must be text.")


def _missing(data: Mapping[str, Any], require: Iterable[str]) -> list[str]:
    return [
        name for name in require if name not in data and not (name in ("email", "business_email") and _has_email(data))
    ]


def _has_email(data: Mapping[str, Any]) -> bool:
    return "email" in data or "business_email" in data


def _country(data: Mapping[str, Any]) -> str | None:
    named = country_of(data.get("address"))
    if named is None and isinstance(data.get("country"), str):
        named = country_code(data["country"])
    return named
