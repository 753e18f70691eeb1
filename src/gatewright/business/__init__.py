"""Rules of business data: licences, tax numbers, addresses, mail, phones, websites, bank accounts, names."""

from gatewright.business.company import KnownNames
from gatewright.business.confusables import skeleton
from gatewright.business.contact import canonical_email, is_disposable_domain
from gatewright.business.results import BusinessReport, risk_level, security_score
from gatewright.business.validate import validate_business_data

__all__ = [
    "BusinessReport",
    "KnownNames",
    "canonical_email",
    "is_disposable_domain",
    "risk_level",
    "security_score",
    "skeleton",
    "validate_business_data",
]
