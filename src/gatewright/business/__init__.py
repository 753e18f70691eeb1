"""Validation of business data: licenses, tax numbers, addresses, email, phones, websites and bank accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewright._lazy import lazy_names

if TYPE_CHECKING:
    from gatewright.business.address import country_code
    from gatewright.business.company import KnownNames
    from gatewright.business.confusables import skeleton
    from gatewright.business.contact import canonical_email, is_disposable_domain
    from gatewright.business.results import BusinessReport, risk_level, security_score
    from gatewright.business.validate import validate_business_data

_NAMES = {
    "gatewright.business.company": ("KnownNames",),
    "gatewright.business.confusables": ("skeleton",),
    "gatewright.business.contact": (
        "canonical_email",
        "is_disposable_domain",
    ),
    "gatewright.business.address": ("country_code",),
    "gatewright.business.results": (
        "BusinessReport",
        "risk_level",
        "security_score",
    ),
    "gatewright.business.validate": ("validate_business_data",),
}

__all__ = [
    "BusinessReport",
    "KnownNames",
    "canonical_email",
    "country_code",
    "is_disposable_domain",
    "risk_level",
    "security_score",
    "skeleton",
    "validate_business_data",
]

__getattr__ = lazy_names(__name__, _NAMES)
