"""Website URLs of a business."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

from gatewright.business.confusables import imitates_latin
from gatewright.business.results import FieldResult

MAX_URL_LENGTH = 2048
_PRIVATE_SUFFIXES = (".local", ".localhost", ".internal", ".lan", ".home.arpa", ".invalid", ".onion", ".svc")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""A last label that makes browsers parse the host as an IPv4 address (WHATWG URL §3.5)."""


def check_website(name: str, value: str) -> FieldResult:
    """Validate an absolute ``http`` or ``https`` URL of a public host (RFC 3986).

    Other schemes, credentials and hosts in private networks are not accepted.
    """
    problem, parts = _parse(value.strip())
    if problem or parts is None:
        return FieldResult.invalid(name, "INVALID_URL_FORMAT", problem)
    result = FieldResult(value=parts.geturl())
    if _is_ip_address(parts.hostname or ""):
        result.add_warning(name, "SUSPICIOUS_WEBSITE", "The website is an IP address. Use the company's domain.")
    elif imitates_latin(_unicode_host(parts.hostname or "")):
        result.add_warning(
            name, "LOOKALIKE_DOMAIN", "The domain contains look-alike letters from another alphabet. Check it."
        )
    return result


def _parse(value: str) -> tuple[str, SplitResult | None]:
    if any(character <= " " or character in '\\<>"`{}|^' for character in value) or not value.isprintable():
        return "A URL must not contain spaces, control characters or quotes.", None
    try:
        parts = urlsplit(value)
        host = parts.hostname or ""
        valid_port = parts.port != 0
    except ValueError:
        return "Invalid URL. Use the form https://company.example.", None
    if parts.scheme not in ("http", "https") or not host or ("[" in parts.netloc and not _is_ip_address(host)):
        return "A URL must start with https:// or http:// and a host, such as https://company.example.", None
    if parts.username is not None or parts.password is not None:
        return "A URL must not contain a user name or password.", None
    if not valid_port or not _is_public_host(host):
        return "The host must be a public domain, such as company.example.", None
    return "", parts


def _is_public_host(host: str) -> bool:
    if _is_ip_address(host):
        return ipaddress.ip_address(host).is_global
    ascii_host = _ascii_host(host)
    if ascii_host is None:
        return False
    hostname = ascii_host.removesuffix(".")
    labels = hostname.split(".")
    if len(hostname) > 253 or len(labels) < 2 or hostname.endswith(_PRIVATE_SUFFIXES) or _NUMBER.fullmatch(labels[-1]):
        return False
    return all(map(_is_label, labels))


def _is_label(label: str) -> bool:
    return (
        0 < len(label) <= 63
        and label[0] != "-"
        and label[-1] != "-"
        and all(character.isalnum() or character == "-" for character in label)
    )


def _is_ip_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _ascii_host(host: str) -> str | None:
    if host.isascii():
        return host
    import idna

    try:
        return idna.encode(host, uts46=True).decode("ascii")
    except idna.IDNAError:
        return None


def _unicode_host(host: str) -> str:
    if host.isascii() and "xn--" not in host:
        return host
    import idna

    try:
        return idna.decode(host)
    except idna.IDNAError:
        return host
