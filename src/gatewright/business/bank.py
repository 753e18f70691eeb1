"""Bank accounts: IBAN (ISO 13616), BIC (ISO 9362), US routing numbers and plain account numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gatewright.business.results import FieldResult

MAX_PART_LENGTH = 64
"""The maximum number of characters in a part of a bank account."""

_ERROR = "INVALID_BANK_ACCOUNT"


def check_bank_account(name: str, value: str | Mapping[str, Any]) -> FieldResult:
    """Validate an account: a string, or a mapping with ``iban`` or ``account_number``, ``routing_number`` and ``bic``.

    The normalized value has the type of the input.
    """
    if isinstance(value, str):
        return _check_account(name, value)
    result = FieldResult(value={})
    for part, check in (
        ("iban", _check_iban),
        ("account_number", _check_account),
        ("routing_number", _check_routing),
        ("bic", _check_bic),
    ):
        raw = value.get(part)
        if raw is None or raw == "":
            continue
        part_result = _check_part(f"{name}.{part}", raw, check)
        result.errors.extend(part_result.errors)
        result.warnings.extend(part_result.warnings)
        result.value[part] = part_result.value
    if not (value.get("iban") or value.get("account_number")):
        result.add_error(name, _ERROR, "A bank account requires `iban` or `account_number`.")
    if result.errors:
        result.value = None
    return result


def _check_part(name: str, raw: Any, check: Callable[[str, str], FieldResult]) -> FieldResult:
    text = str(raw) if isinstance(raw, str | int) and not isinstance(raw, bool) else None
    if text is None or len(text) > MAX_PART_LENGTH:
        return FieldResult.invalid(name, _ERROR, f"{name} must be text of at most {MAX_PART_LENGTH} characters.")
    return check(name, text)


def _check_account(name: str, value: str) -> FieldResult:
    compact = value.replace(" ", "").replace("-", "")
    if compact[:2].isalpha():
        return _check_iban(name, value)
    if 4 <= len(compact) <= 34 and compact.isascii() and compact.isdigit():
        return FieldResult(value=compact)
    return FieldResult.invalid(name, _ERROR, "A bank account must be an IBAN, or 4 to 34 digits.")


def _check_iban(name: str, value: str) -> FieldResult:
    from stdnum import iban
    from stdnum.exceptions import ValidationError

    try:
        result = FieldResult(value=str(iban.validate(value, check_country=False)))
        if not _bank_is_known(value):
            result.add_warning(name, "UNVERIFIED_BANK_ACCOUNT", "The bank of this IBAN is unknown. Check it manually.")
        return result
    except ValidationError:
        return FieldResult.invalid(name, _ERROR, "Invalid IBAN: the check digits are wrong.")


def _bank_is_known(number: str) -> bool:
    """Whether the bank is in the country's tables. Raises ValidationError if national check digits are wrong."""
    from stdnum import iban
    from stdnum.exceptions import InvalidComponent

    try:
        iban.validate(number)
    except InvalidComponent:  # the tables may lack new banks
        return False
    return True


def _check_routing(name: str, value: str) -> FieldResult:
    from stdnum.exceptions import ValidationError
    from stdnum.us import rtn

    try:
        return FieldResult(value=str(rtn.validate(value)))
    except ValidationError:
        return FieldResult.invalid(
            name, _ERROR, "Invalid US routing number: it must have nine digits with a correct check digit."
        )


def _check_bic(name: str, value: str) -> FieldResult:
    from stdnum import bic
    from stdnum.exceptions import ValidationError

    try:
        return FieldResult(value=str(bic.validate(value)))
    except ValidationError:
        return FieldResult.invalid(name, _ERROR, "Invalid BIC: it must have 8 or 11 letters and digits.")
