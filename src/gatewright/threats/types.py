"""Threat types, their corpus categories, and families of related types."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from gatewright.errors import UnknownThreatTypeError


class ThreatType(StrEnum):
    """The kinds of injection that are distinguished."""

    SQL_INJECTION = "sql_injection"
    NOSQL_INJECTION = "nosql_injection"
    XSS = "xss"
    SCRIPT_INJECTION = "script_injection"
    COMMAND_INJECTION = "command_injection"
    PATH_TRAVERSAL = "path_traversal"
    LDAP_INJECTION = "ldap_injection"
    XML_INJECTION = "xml_injection"
    TEMPLATE_INJECTION = "template_injection"
    SSRF = "ssrf"
    JNDI_INJECTION = "jndi_injection"
    HEADER_INJECTION = "header_injection"
    PROTOTYPE_POLLUTION = "prototype_pollution"
    CODE_INJECTION = "code_injection"


CORPUS_CATEGORIES = {
    "sqli": ThreatType.SQL_INJECTION,
    "nosqli": ThreatType.NOSQL_INJECTION,
    "xss": ThreatType.XSS,
    "cmdi": ThreatType.COMMAND_INJECTION,
    "lfi": ThreatType.PATH_TRAVERSAL,
    "ldap": ThreatType.LDAP_INJECTION,
    "xxe": ThreatType.XML_INJECTION,
    "ssti": ThreatType.TEMPLATE_INJECTION,
    "ssrf": ThreatType.SSRF,
    "jndi": ThreatType.JNDI_INJECTION,
    "crlf": ThreatType.HEADER_INJECTION,
    "proto": ThreatType.PROTOTYPE_POLLUTION,
    "rce": ThreatType.CODE_INJECTION,
    "other": ThreatType.CODE_INJECTION,
}
"""The threat type that a row of the corpus represents."""

_FAMILIES = (
    {ThreatType.SQL_INJECTION, ThreatType.NOSQL_INJECTION},
    {ThreatType.XSS, ThreatType.SCRIPT_INJECTION},
    {ThreatType.COMMAND_INJECTION, ThreatType.CODE_INJECTION, ThreatType.TEMPLATE_INJECTION},
    {ThreatType.XML_INJECTION, ThreatType.SSRF, ThreatType.PATH_TRAVERSAL},
    {ThreatType.NOSQL_INJECTION, ThreatType.PROTOTYPE_POLLUTION},
)


def threat_type_of(name: Any) -> str:
    """The type that a name represents: a ThreatType, any enum of the same value, or the plain string.

    Raises:
        UnknownThreatTypeError: it names none; silence would hide a typing error.
    """
    value = getattr(name, "value", name)
    if isinstance(value, str) and value in ThreatType._value2member_map_:
        return str(value)
    raise UnknownThreatTypeError(f"Unknown threat type {str(value)[:60]!r}; there are {', '.join(ThreatType)}.")


def neighbours(threat_type: str) -> frozenset[str]:
    """The type itself and those of its families."""
    found = {threat_type}
    for family in _FAMILIES:
        if threat_type in family:
            found.update(member.value for member in family)
    return frozenset(found)
