"""What the name of a field says about what is in it."""

from __future__ import annotations

import re
from functools import lru_cache

LONGEST_NAME = 200

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_A-Za-z]+")

# A phrase matches where its words stand one after another in the name; the longest phrase wins.
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
_LONGEST_PHRASE = max(map(len, _CLASSES))


@lru_cache(maxsize=8192)
def class_of_name(name: str) -> str | None:
    """The class of a field called ``name`` (snake_case, camelCase, words), None when the name says nothing."""
    words = [word.lower() for word in _WORD.findall(name[:LONGEST_NAME])]
    for length in range(min(_LONGEST_PHRASE, len(words)), 0, -1):
        for start in range(len(words) - length + 1):
            found = _CLASSES.get(tuple(words[start : start + length]))
            if found is not None:
                return found
    return None
