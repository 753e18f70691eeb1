"""Bank accounts: IBAN (ISO 13616), BIC (ISO 9362), US routing numbers, and plain account numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gatewright.business.outcome import Outcome

_ERROR = "INVALID_BANK_ACCOUNT"


def check_bank_account(name: str, value: str | Mapping[str, Any]) -> Outcome:
    """Check an account: a string, or a mapping with ``iban`` or ``account_number``, ``routing_number`` and ``bic``.

    The normalised value is a string or a dictionary, as it came.
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
        found = check(f"{name}.{part}", str(given)[:64])
        outcome.errors.extend(found.errors)
        outcome.value[part] = found.value
    if not (value.get("iban") or value.get("account_number")):
        outcome.refuse(name, _ERROR, "A bank account needs an `iban` or an `account_number`.")
    if outcome.errors:
        outcome.value = None
    return outcome


def _check_account(name: str, value: str) -> Outcome:
    bare = value.replace(" ", "").replace("-", "")
    if bare[:2].isalpha():
        return _check_iban(name, value)
    if 4 <= len(bare) <= 34 and bare.isascii() and bare.isdigit():
        return Outcome(value=bare)
    return Outcome.refused(name, _ERROR, "A bank account is an IBAN, or 4 to 34 digits.")


def _check_iban(name: str, value: str) -> Outcome:
    from stdnum import iban
    from stdnum.exceptions import ValidationError

    try:
        return Outcome(value=str(iban.validate(value)))
    except ValidationError:
        return Outcome.refused(name, _ERROR, "The check digits of the IBAN do not fit; check it.")


def _check_routing(name: str, value: str) -> Outcome:
    from stdnum.exceptions import ValidationError
    from stdnum.us import rtn

    try:
        return Outcome(value=str(rtn.validate(value)))
    except ValidationError:
        return Outcome.refused(name, _ERROR, "The routing number is not one of a US bank; check its nine digits.")


def _check_bic(name: str, value: str) -> Outcome:
    from stdnum import bic
    from stdnum.exceptions import ValidationError

    try:
        return Outcome(value=str(bic.validate(value)))
    except ValidationError:
        return Outcome.refused(name, _ERROR, "A BIC has 8 or 11 letters and digits.")
