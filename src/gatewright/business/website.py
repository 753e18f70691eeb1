"""Website URLs of a business."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

from gatewright.business.confusables import imitates_latin
from gatewright.business.results import Outcome

MAX_URL_LENGTH = 2048
_INNER_SUFFIXES = (".local", ".localhost", ".internal", ".lan", ".home.arpa", ".invalid", ".onion", ".svc")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""A last label by which browsers take a host for an IPv4 address, in whatever notation (WHATWG URL §3.5)."""


def check_website(name: str, value: str) -> Outcome:
    """Check an absolute ``http`` or ``https`` address of a public host (RFC 3986).

    Refused: other schemes, a user name or password in it, hosts of the inner network.
    """
    problem, parts = _problem(value.strip())
    if problem or parts is None:
        return Outcome.refused(name, "INVALID_URL_FORMAT", problem)
    outcome = Outcome(value=parts.geturl())
    if _is_ip_address(parts.hostname or ""):
        outcome.warn(name, "SUSPICIOUS_WEBSITE", "The website is a bare IP address. Use the company's domain.")
    elif imitates_latin(_unicode_host(parts.hostname or "")):
        outcome.warn(name, "LOOKALIKE_DOMAIN", "The domain contains look-alike letters of another alphabet. Check it.")
    return outcome


def _problem(value: str) -> tuple[str, SplitResult | None]:
    if any(character <= " " or character in '\\<>"`{}|^' for character in value) or not value.isprintable():
        return "A web address has no spaces, control characters or quotes.", None
    try:
        parts = urlsplit(value)
        host = parts.hostname or ""
        port_is_good = parts.port != 0
    except ValueError:
        return "Invalid web address. Write it as https://company.example.", None
    if parts.scheme not in ("http", "https") or not host or ("[" in parts.netloc and not _is_ip_address(host)):
        return "A website starts with https:// (or http://) and a host, such as https://company.example.", None
    if parts.username is not None or parts.password is not None:
        return "A website carries no user name or password.", None
    if not port_is_good or not _is_public_host(host):
        return "The host must be a public domain, such as company.example.", None
    return "", parts


def _is_public_host(host: str) -> bool:
    if _is_ip_address(host):
        return ipaddress.ip_address(host).is_global
    ascii_host = _ascii_host(host)
    if ascii_host is None:
        return False
    bare = ascii_host.removesuffix(".")
    labels = bare.split(".")
    if len(bare) > 253 or len(labels) < 2 or bare.endswith(_INNER_SUFFIXES) or _NUMBER.fullmatch(labels[-1]):
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
