"""Phone numbers, by Google's numbering data."""

from __future__ import annotations

from gatewright.business.outcome import Outcome

_PUNCTUATION = frozenset(" +-().,;/#*=:")


def check_phone(name: str, value: str, *, region: str = "US") -> Outcome:
    """Check a number; the normalised form is E.164, with ``;ext=12`` behind it where there is an extension (RFC 3966).

    Args:
        name: the field.
        value: the number as a person writes it, extension allowed (``ext. 12``, ``x12``).
        region: ISO 3166 alpha-2 country whose national form is meant where there is no ``+``.
    """
    import phonenumbers

    refused = Outcome.refused(
        name,
        "INVALID_PHONE_FORMAT",
        "This is no phone number; write it with country code, such as +1 415 555 2671.",
    )
    if not _written_as_number(value):
        return refused
    try:
        number = phonenumbers.parse(value, region)
    except phonenumbers.NumberParseException:
        return refused
    if not phonenumbers.is_possible_number(number):
        return refused
    plain = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    outcome = Outcome(value=f"{plain};ext={number.extension}" if number.extension else plain)
    if not phonenumbers.is_valid_number(number):
        outcome.warn(
            name,
            "UNASSIGNED_PHONE_NUMBER",
            "The number has the right form, but its range is assigned to nobody; check the digits.",
        )
    return outcome


def _written_as_number(value: str) -> bool:
    """Digits and punctuation, with no letters but those of an extension: a keypad word is no business number."""
    main = value.lower()
    for mark in ("ext", "x"):
        head, found, tail = main.partition(mark)
        if found:
            main = head + tail.lstrip(".:= ")
            break
    return all(character.isdecimal() or character in _PUNCTUATION for character in main)
