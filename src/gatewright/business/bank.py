"""Bank accounts: IBAN (ISO 13616), BIC (ISO 9362), US routing numbers and plain account numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gatewright.business.results import Outcome

MAX_PART_LENGTH = 64
"""Characters in one part of a bank account."""

_ERROR = "INVALID_BANK_ACCOUNT"


def check_bank_account(name: str, value: str | Mapping[str, Any]) -> Outcome:
    """Check an account: a string, or a mapping with ``iban`` or ``account_number``, ``routing_number`` and ``bic``.

    The normalized value is a string or a dictionary, as it came.
    """
    if isinstance(value, str):
        return _check_account(name, value)
    outcome = Outcome(value={})
    for part, check in (
        ("iban", _check_iban),
        ("account_number", _check_account),
        ("routing_number", _check_routing),
        ("bic", _check_bic),
    ):
        given = value.get(part)
        if given is None or given == "":
            continue
        found = _check_part(f"{name}.{part}", given, check)
        outcome.errors.extend(found.errors)
        outcome.warnings.extend(found.warnings)
        outcome.value[part] = found.value
    if not (value.get("iban") or value.get("account_number")):
        outcome.refuse(name, _ERROR, "A bank account requires `iban` or `account_number`.")
    if outcome.errors:
        outcome.value = None
    return outcome


def _check_part(name: str, given: Any, check: Callable[[str, str], Outcome]) -> Outcome:
    text = str(given) if isinstance(given, str | int) and not isinstance(given, bool) else None
    if text is None or len(text) > MAX_PART_LENGTH:
        return Outcome.refused(name, _ERROR, f"Must be text of at most {MAX_PART_LENGTH} characters.")
    return check(name, text)


def _check_account(name: str, value: str) -> Outcome:
    bare = value.replace(" ", "").replace("-", "")
    if bare[:2].isalpha():
        return _check_iban(name, value)
    if 4 <= len(bare) <= 34 and bare.isascii() and bare.isdigit():
        return Outcome(value=bare)
    return Outcome.refused(name, _ERROR, "A bank account must be an IBAN, or 4 to 34 digits.")


def _check_iban(name: str, value: str) -> Outcome:
    from stdnum import iban
    from stdnum.exceptions import ValidationError

    try:
        outcome = Outcome(value=str(iban.validate(value, check_country=False)))
        if not _bank_is_known(value):
            outcome.warn(name, "UNVERIFIED_BANK_ACCOUNT", "The bank of this IBAN is unknown. Check it manually.")
        return outcome
    except ValidationError:
        return Outcome.refused(name, _ERROR, "The check digits of the IBAN are wrong. Check the number.")


def _bank_is_known(number: str) -> bool:
    """Whether the country's tables have the bank; raises ValidationError where its own check digits do not fit."""
    from stdnum import iban
    from stdnum.exceptions import InvalidComponent

    try:
        iban.validate(number)
    except InvalidComponent:  # banks are founded faster than tables are printed
        return False
    return True


def _check_routing(name: str, value: str) -> Outcome:
    from stdnum.exceptions import ValidationError
    from stdnum.us import rtn

    try:
        return Outcome(value=str(rtn.validate(value)))
    except ValidationError:
        return Outcome.refused(name, _ERROR, "The routing number is not that of a US bank. Check its nine digits.")


def _check_bic(name: str, value: str) -> Outcome:
    from stdnum import bic
    from stdnum.exceptions import ValidationError

    try:
        return Outcome(value=str(bic.validate(value)))
    except ValidationError:
        return Outcome.refused(name, _ERROR, "A BIC must have 8 or 11 letters and digits.")
