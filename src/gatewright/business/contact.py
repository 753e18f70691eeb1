"""Email addresses and phone numbers."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from gatewright.business.confusables import imitates_latin
from gatewright.business.results import Outcome

MAX_EMAIL_LENGTH = 254
"""Characters in an address (RFC 5321 §4.5.3.1.3, less the angle brackets)."""

_THROW_AWAY_TOO = frozenset(
    {
        "disposable.com",
        "disposable-email.com",
        "fakeemail.com",
        "tempmail.com",
        "tempmail.net",
        "tempmail.org",
        "throwaway.com",
        "throwaway.email",
    }
)
"""Domains named for it that the published list does not carry."""


def canonical_email(address: str) -> str:
    """The form under which two spellings of one address are equal: case folded, domain in ASCII (RFC 5891).

    It is a key to compare with, never an address to write to: mail goes to the address that was stored. Dots and
    ``+tags`` stay, since only the receiving domain knows what they mean.

    Args:
        address: any string; one that is no address at all comes back folded.
    """
    trimmed = address.strip()
    if trimmed.isascii():
        return trimmed.lower()
    local, at, domain = unicodedata.normalize("NFC", trimmed).rpartition("@")
    return f"{local.casefold()}{at}{_ascii_domain(domain)}"


def is_disposable_domain(domain: str) -> bool:
    """Whether the domain, or one above it, gives out throw-away mailboxes."""
    labels = domain.lower().rstrip(".").split(".")
    return any(".".join(labels[start:]) in _disposable_domains() for start in range(max(1, len(labels) - 1)))


def check_email(name: str, value: str) -> Outcome:
    """Check an address by RFC 5321, 5322 and 6531, without asking the network.

    Names reserved for tests (``.test``, ``.example``: RFC 2606) pass; ``localhost``, ``.local`` and ``.invalid``
    do not.
    """
    from email_validator import EmailNotValidError, validate_email

    try:
        address = validate_email(value.strip(), check_deliverability=False, test_environment=True)
    except EmailNotValidError as error:
        return Outcome.refused(name, "INVALID_EMAIL_FORMAT", f"Invalid email address. {error}")
    outcome = Outcome(value=address.normalized)
    if is_disposable_domain(address.ascii_domain or address.domain):
        outcome.warn(
            name,
            "SUSPICIOUS_EMAIL_DOMAIN",
            "The domain provides disposable mailboxes. Use an address at the company's own domain.",
        )
    if imitates_latin(address.domain):
        outcome.warn(name, "LOOKALIKE_DOMAIN", "The domain contains look-alike letters of another alphabet. Check it.")
    return outcome


def _ascii_domain(domain: str) -> str:
    import idna

    try:
        return idna.encode(domain, uts46=True).decode("ascii").lower()
    except idna.IDNAError:
        return domain.casefold()


@lru_cache(maxsize=1)
def _disposable_domains() -> frozenset[str]:
    from disposable_email_domains import blocklist

    return frozenset(blocklist) | _THROW_AWAY_TOO


_PUNCTUATION = frozenset(" +-().,;/#*=:")


def check_phone(name: str, value: str, *, region: str = "US") -> Outcome:
    """Check a number; the normalized form is E.164, with ``;ext=12`` behind it where there is an extension (RFC 3966).

    Args:
        name: the field.
        value: the number as a person writes it, extension allowed (``ext. 12``, ``x12``).
        region: ISO 3166 alpha-2 country whose national form is meant where there is no ``+``.
    """
    import phonenumbers

    refused = Outcome.refused(
        name,
        "INVALID_PHONE_FORMAT",
        "Invalid phone number. Include the country code, such as +1 415 555 2671.",
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
            "The number is well formed, but its range is not assigned. Check the digits.",
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
