"""Classification of fields by name and content: what is sensitive, and how much.

Checksums are verified (Luhn, ISO 7064 mod 97-10), so an order number is not mistaken for a card number. Every pattern
runs in linear time, and text is scanned up to ``MAX_TEXT_LENGTH`` characters. Results contain paths and classes,
never values.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

MAX_NAME_LENGTH = 200

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_A-Za-z]+")

# A phrase matches consecutive words of a name. The longest phrase wins.
_PHRASES = {
    "financial": """
        bank, bank account, account number, account holder, iban, bic, swift, swift code, routing number, sort code,
        credit card, debit card, card number, card, cvv, cvc, credit limit, revenue, revenues, turnover, profit,
        profits, profit margin, margin, margins, ebitda, earnings, salary, salaries, payroll, wage, wages, income,
        balance, payment, payments, payment details, payment terms, invoice amount, financial, finance, financials,
        budget, debt, loan, loans, credit score, annual sales, sales figures, cash flow, tax amount, commission""",
    "personal": """
        email, e mail, mail address, phone, telephone, mobile, mobile number, phone number, fax, fax number,
        first name, last name, surname, given name, family name, full name, middle name, maiden name, contact name,
        contact person, contact, owner name, person, birth, birthday, birth date, date of birth, dob, birthplace,
        address, street, street address, postal address, home address, gender, nationality, ssn, social security,
        social security number, national id, identity number, passport, passport number, driver license,
        drivers license, driving license, ip address, personal, employee, employees, signature, photo""",
    "business_confidential": """
        password, passphrase, secret, secrets, token, api key, private key, credential, credentials, confidential,
        wholesale price, purchase price, cost price, unit cost, unit costs, cost, costs, cost structure, price list,
        pricing, discount, discounts, supplier, suppliers, supplier list, vendor list, customer list, customers,
        customer data, client list, contract, contracts, contract terms, strategy, business plan, forecast, roadmap,
        merger, acquisition, negotiation, bid, tender, internal notes, production volume, production capacity,
        production costs, sensitive""",
    "regulatory": """
        tax id, tax number, tax identification, tax, taxes, ein, tin, vat, vat id, vat number, duns, duns number,
        lei, eori, business license, business licence, license, licence, license number, licence number,
        registration number, company number, commercial register, certificate, certificates, certification,
        certifications, compliance, audit report, customs, customs number, export control, eccn, permit,
        fda number, ce certificate, regulatory, sanctions""",
    "intellectual_property": """
        patent, patents, patent number, trade secret, trade secrets, formula, formulas, formulation, recipe, recipes,
        blueprint, blueprints, cad, cad file, source code, algorithm, prototype, prototypes, invention, inventions,
        proprietary, proprietary process, manufacturing process, process parameters, technical drawing,
        technical drawings, design file, design files, schematic, schematics, research, know how,
        intellectual property, bill of materials, bom""",
}  # fmt: skip

_CLASSES = {
    tuple(phrase.split()): kind
    for kind, phrases in _PHRASES.items()
    for phrase in (part.strip() for part in phrases.split(","))
}
_MAX_PHRASE_WORDS = max(map(len, _CLASSES))


@lru_cache(maxsize=8192)
def class_of_name(name: str) -> str | None:
    """The class of a field by its name (snake_case, camelCase or words). None if the name is not sensitive."""
    words = [word.lower() for word in _WORD.findall(name[:MAX_NAME_LENGTH])]
    for length in range(min(_MAX_PHRASE_WORDS, len(words)), 0, -1):
        for start in range(len(words) - length + 1):
            found = _CLASSES.get(tuple(words[start : start + length]))
            if found is not None:
                return found
    return None


MAX_TEXT_LENGTH = 65_536

_SEVEN_DIGITS = b"0000000"
"""The shortest sensitive number has seven digits."""
_SEPARATORS = b" -./()\t"
_DIGITS_AS_ZERO = bytes(0x30 if 0x30 <= code <= 0x39 else 0x20 for code in range(256))

_EMAIL = re.compile(r"[A-Za-z0-9._%+\-]{1,64}@[A-Za-z0-9\-]{1,63}(?:\.[A-Za-z0-9\-]{1,63}){1,8}")
_IBAN = re.compile(r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]){11,30}")
_NUMBER = re.compile(r"(?<![\w.,])\+?\(?[0-9][0-9 ().\-/]{5,28}[0-9](?!\w)")
_SSN = re.compile(r"(?!000|666|9)[0-9]{3}-(?!00)[0-9]{2}-(?!0000)[0-9]{4}")
_EIN = re.compile(r"[0-9]{2}-[0-9]{7}")
_VAT = re.compile(
    r"\b(?:ATU[0-9]{8}|BE[01][0-9]{9}|DE ?[0-9]{9}|DK[0-9]{8}|ES[A-Z][0-9]{7}[A-Z0-9]|FI[0-9]{8}"
    r"|FR[A-Z0-9]{2}[0-9]{9}|GB ?[0-9]{9}|IE[0-9][A-Z0-9][0-9]{5}[A-Z]{1,2}|IT ?[0-9]{11}|LU[0-9]{8}"
    r"|NL[0-9]{9}B[0-9]{2}|PL[0-9]{10}|PT[0-9]{9}|SE[0-9]{12})\b"
)
_PHONE_BY_GROUPS = re.compile(r"(?:1[ \-.])?(?:\([0-9]{3}\) ?|[0-9]{3}[ \-.])[0-9]{3}[ \-.][0-9]{4}")
_CARD = re.compile(  # Visa; Mastercard; American Express; Diners; JCB; Discover, UnionPay and Maestro
    r"4[0-9]{12}(?:[0-9]{3}){0,2}|5[1-5][0-9]{14}|2[2-7][0-9]{14}|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}"
    r"|35[0-9]{14}|6[0-9]{15,18}"
)

_COUNTRIES_AND_LENGTHS = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 EE20 EG29 ES24"
    " FI18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32"
    " LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MR27 MT31 MU30 NL18 NO15 PK24 PL28 PS29 PT25 QA29 RO24 RS22"
    " SA24 SC31 SE24 SI19 SK24 SM27 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20"
)
_IBAN_LENGTHS = {entry[:2]: int(entry[2:]) for entry in _COUNTRIES_AND_LENGTHS.split()}
_BY_PRIORITY = ("financial", "regulatory", "personal")


class Match(NamedTuple):
    """The position and class of sensitive content in a text."""

    start: int
    end: int
    kind: str


def may_be_sensitive(text: str) -> bool:
    """Whether the text contains ``@``, or seven digits with only separators between them."""
    if "@" in text:
        return True
    raw = text[:MAX_TEXT_LENGTH].encode(errors="replace")
    return _SEVEN_DIGITS in raw.translate(_DIGITS_AS_ZERO, _SEPARATORS)


def class_of_text(text: str) -> str | None:
    """The class of the sensitive content in a text, or None. Of several classes, the most important one."""
    kinds = {match.kind for match in find_matches(text)}
    return next((kind for kind in _BY_PRIORITY if kind in kinds), None)


def find_matches(text: str) -> Iterator[Match]:
    """All sensitive content in a text."""
    bounded = text[:MAX_TEXT_LENGTH]
    for match in _IBAN.finditer(bounded):
        end = _iban_end(match.group())
        if end:
            yield Match(match.start(), match.start() + end, "financial")
    for match in _VAT.finditer(bounded):
        yield Match(match.start(), match.end(), "regulatory")
    if "@" in bounded:
        for match in _EMAIL.finditer(bounded):
            yield Match(match.start(), match.end(), "personal")
    for match in _NUMBER.finditer(bounded):
        kind = _class_of_number(match.group())
        if kind is not None:
            yield Match(match.start(), match.end(), kind)


def luhn(digits: str) -> bool:
    """Whether the last digit is the Luhn check digit of the others (ISO/IEC 7812-1)."""
    total = 0
    for place, character in enumerate(reversed(digits)):
        value = int(character) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _class_of_number(number: str) -> str | None:
    digits = "".join(filter(str.isdecimal, number))
    if _CARD.fullmatch(digits) and not number.startswith("+") and luhn(digits):
        return "financial"
    if _EIN.fullmatch(number):
        return "regulatory"
    international = number.startswith("+") and 8 <= len(digits) <= 15
    if international or _SSN.fullmatch(number) or _PHONE_BY_GROUPS.fullmatch(number):
        return "personal"
    return None


def _iban_end(candidate: str) -> int:
    """The length of the IBAN at the start of ``candidate``, or 0 (ISO 13616, ISO 7064 mod 97-10)."""
    length = _IBAN_LENGTHS.get(candidate[:2], 0)
    compact, end = "", 0
    for end, character in enumerate(candidate, 1):  # noqa: B007 - the final position is the result
        compact += "" if character == " " else character
        if len(compact) == length:
            break
    if len(compact) != length:
        return 0
    number = "".join(str(int(character, 36)) for character in compact[4:] + compact[:4])
    return end if int(number) % 97 == 1 else 0


MAX_FIELDS = 256
"""The maximum number of sensitive fields named for one record. Further fields are encrypted, too, but not named."""

_MAX_DEPTH = 16
_MAX_CACHED_WIDTH = 64
CARD_DIGITS = 10**12
"""Integers of this size or more may be card numbers."""

ClassifiedFields = dict[str, str]
"""Classes by path. The items of a list share the path ``name[]``."""


class _Shape:
    """The fields of a record that are sensitive by name, and those that depend on their content."""

    __slots__ = ("named", "open")

    def __init__(self, names: Iterable[str]) -> None:
        classes = {name: class_of_name(name) for name in names}
        self.named = {name: found for name, found in classes.items() if found is not None}
        self.open = tuple(name for name, found in classes.items() if found is None)


@lru_cache(maxsize=2048)
def _shape(names: tuple[str, ...]) -> _Shape:
    return _Shape(names)


def classify(data: Any) -> ClassifiedFields:
    """The sensitive fields of ``data`` with their classes, in order of appearance."""
    found: ClassifiedFields = {}
    if type(data) is dict:
        _record(data, "", found, 0)
    else:
        _value(data, "", found, 0)
    return found


def _record(data: dict[Any, Any], path: str, found: ClassifiedFields, depth: int) -> None:
    try:
        shape = _shape(tuple(data)) if len(data) <= _MAX_CACHED_WIDTH else _Shape(map(str, data))
    except (TypeError, AttributeError):  # keys that are not strings
        shape = _Shape(key for key in data if isinstance(key, str))
    for name, kind in shape.named.items():
        if len(found) < MAX_FIELDS and data[name] is not None:
            found[path + name] = kind
    texts = []
    for name in shape.open:
        value = data[name]
        value_type = type(value)
        if value_type is str:
            texts.append(value)
        elif value_type in (dict, list, tuple) or (value_type is int and value >= CARD_DIGITS):
            _value(value, path + name, found, depth + 1)
    if texts and may_be_sensitive("\n".join(texts)):
        for name in shape.open:
            if type(data[name]) is str:
                _value(data[name], path + name, found, depth)


def _value(value: Any, path: str, found: ClassifiedFields, depth: int) -> None:
    if depth > _MAX_DEPTH or len(found) >= MAX_FIELDS:
        return
    if type(value) is dict:
        _record(value, f"{path}." if path else "", found, depth)
    elif isinstance(value, list | tuple):
        for member in value:
            _value(member, f"{path}[]", found, depth + 1)
    elif isinstance(value, str | int) and not isinstance(value, bool):
        text = value if isinstance(value, str) else str(value) if abs(value) < 10**20 else ""
        kind = class_of_text(text) if may_be_sensitive(text) else None
        if kind is not None:
            found.setdefault(path, kind)
