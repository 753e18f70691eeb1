"""Email addresses and phone numbers."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from gatewright.business.confusables import imitates_latin
from gatewright.business.results import FieldResult

MAX_EMAIL_LENGTH = 254
"""The maximum number of characters in an address (RFC 5321 §4.5.3.1.3, without angle brackets)."""

_MORE_DISPOSABLE_DOMAINS = frozenset(
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
"""Disposable domains that the published list lacks."""

_PUNCTUATION = frozenset(" +-().,;/#*=:")


def canonical_email(address: str) -> str:
    """A key for comparing addresses: case-folded, with the domain in ASCII (RFC 5891).

    Do not send mail to it: use the original address. Dots and ``+tags`` are kept, since their meaning depends on the
    receiving domain.

    Args:
        address: any string. If it is not an address, it is only case-folded.
    """
    trimmed = address.strip()
    if trimmed.isascii():
        return trimmed.lower()
    local, at, domain = unicodedata.normalize("NFC", trimmed).rpartition("@")
    return f"{local.casefold()}{at}{_ascii_domain(domain)}"


def is_disposable_domain(domain: str) -> bool:
    """Whether the domain, or a parent domain, provides disposable mailboxes."""
    labels = domain.lower().rstrip(".").split(".")
    return any(".".join(labels[start:]) in _disposable_domains() for start in range(max(1, len(labels) - 1)))


def check_email(name: str, value: str) -> FieldResult:
    """Validate an email address by RFC 5321, 5322 and 6531, without network access.

    Domains reserved for tests (``.test`` and ``.example``, RFC 2606) are valid. ``localhost``, ``.local`` and
    ``.invalid`` are not.
    """
    from email_validator import EmailNotValidError, validate_email

    try:
        address = validate_email(value.strip(), check_deliverability=False, test_environment=True)
    except EmailNotValidError as error:
        return FieldResult.invalid(name, "INVALID_EMAIL_FORMAT", f"Invalid email address. {error}")
    result = FieldResult(value=address.normalized)
    if is_disposable_domain(address.ascii_domain or address.domain):
        result.add_warning(
            name,
            "SUSPICIOUS_EMAIL_DOMAIN",
            "The domain provides disposable mailboxes. Use an address at the company's own domain.",
        )
    if imitates_latin(address.domain):
        result.add_warning(
            name, "LOOKALIKE_DOMAIN", "The domain contains look-alike letters from another alphabet. Check it."
        )
    return result


def _ascii_domain(domain: str) -> str:
    import idna

    try:
        return idna.encode(domain, uts46=True).decode("ascii").lower()
    except idna.IDNAError:
        return domain.casefold()


@lru_cache(maxsize=1)
def _disposable_domains() -> frozenset[str]:
    from disposable_email_domains import blocklist

    return frozenset(blocklist) | _MORE_DISPOSABLE_DOMAINS


def check_phone(name: str, value: str, *, region: str = "US") -> FieldResult:
    """Validate a phone number. It is normalized to E.164, with extensions as ``;ext=12`` (RFC 3966).

    Args:
        name: the name of the field.
        value: the number in any usual format, with an optional extension (``ext. 12``, ``x12``).
        region: the country of numbers without ``+``, as an ISO 3166 alpha-2 code.
    """
    import phonenumbers

    invalid = FieldResult.invalid(
        name,
        "INVALID_PHONE_FORMAT",
        "Invalid phone number. Include the country code, such as +1 415 555 2671.",
    )
    if not _looks_like_number(value):
        return invalid
    try:
        number = phonenumbers.parse(value, region)
    except phonenumbers.NumberParseException:
        return invalid
    if not phonenumbers.is_possible_number(number):
        return invalid
    plain = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    result = FieldResult(value=f"{plain};ext={number.extension}" if number.extension else plain)
    if not phonenumbers.is_valid_number(number):
        result.add_warning(
            name,
            "UNASSIGNED_PHONE_NUMBER",
            "The number is well formed, but not assigned. Check the digits.",
        )
    return result


def _looks_like_number(value: str) -> bool:
    """Whether the text has only digits and punctuation, apart from an extension. Vanity numbers are not accepted."""
    main = value.lower()
    for mark in ("ext", "x"):
        head, found, tail = main.partition(mark)
        if found:
            main = head + tail.lstrip(".:= ")
            break
    return all(character.isdecimal() or character in _PUNCTUATION for character in main)
